"""The protocol's pure functions: what holds after any history."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.ops import Answer, Claim, Complete, Doubt, Op, Peek, Release
from dedup.records import Record, State
from dedup.transitions import apply

KEY = "k"
LEASE_MS, TTL_MS = 1_000, 100_000

tokens = st.sampled_from(["a", "b", "c"])
flags = st.booleans()
claims = st.builds(
    lambda token, effect, resume, cap: Claim(KEY, token, LEASE_MS, TTL_MS, "", effect, resume, cap),
    tokens,
    flags,
    flags,
    st.integers(1, 4),
)
effects = st.builds(lambda claim: replace(claim, effect=True), claims)
completes = st.builds(
    lambda token, outcome, fact: Complete(KEY, token, outcome, TTL_MS, fact=fact),
    tokens,
    st.sampled_from(["posted", "expired"]),
    flags,
)
releases = st.builds(lambda token, failed: Release(KEY, token, TTL_MS, 500, "why", failed), tokens, flags)
doubts = st.builds(lambda token, hold: Doubt(KEY, token, "why", TTL_MS, hold, 500), tokens, flags)
pauses = st.sampled_from([0, 1, LEASE_MS])


def steps(claiming: st.SearchStrategy[Claim]) -> st.SearchStrategy[list[tuple[int, Op[Any]]]]:
    """Histories: how long nothing happens, and then what is done."""
    return st.lists(st.tuples(pauses, claiming | claiming | completes | releases | doubts), max_size=15)


def replay(history: list[tuple[int, Op[Any]]]) -> list[tuple[int, Op[Any], str | None, Any, str | None]]:
    """Each step as: now, operation, the text before, the parsed reply, the text after."""
    now_ms, text = 1_750_000_000_000, None
    told = []
    for pause_ms, op in history:
        now_ms += pause_ms
        step = apply(op, text, now_ms)
        after = step.write.text if step.write else text
        told.append((now_ms, op, text, op.parse(step.reply, "memory"), after))
        text = after
    return told


@given(steps(claims))
def test_attempt_never_falls(history: list[tuple[int, Op[Any]]]) -> None:
    """Whatever is done to a record, its attempt and its failures stay or grow."""
    for _, _, before, _, after in replay(history):
        if before is not None and after is not None:
            old, new = Record.loads(before), Record.loads(after)
            assert new.attempt >= old.attempt
            assert new.failures >= old.failures


@given(steps(claims))
def test_done_stands(history: list[tuple[int, Op[Any]]]) -> None:
    """Once DONE, a record is never written again."""
    for _, _, before, _, after in replay(history):
        if before is not None and Record.loads(before).state is State.DONE:
            assert after == before


@given(steps(effects))
def test_doubt_about_an_effect_is_never_forgotten(history: list[tuple[int, Op[Any]]]) -> None:
    """An effect in doubt stays in doubt: it is never RELEASED and never claimed as if nothing had happened."""
    for _, _, before, _, after in replay(history):
        if before is not None and after is not None and Record.loads(before).in_doubt:
            new = Record.loads(after)
            assert new.in_doubt
            assert new.state is not State.RELEASED


@given(steps(effects))
def test_effect_is_acquired_without_doubt_only_where_nobody_can_have_sent_it(
    history: list[tuple[int, Op[Any]]],
) -> None:
    """A claim of an effect that is not in doubt comes from nothing, from a release, or from its own token."""
    for _, op, before, reply, _ in replay(history):
        if isinstance(op, Claim) and reply.answer is Answer.ACQUIRED and not reply.record.in_doubt:
            old = Record.loads(before) if before is not None else None
            assert old is None or old.state is State.RELEASED or old.token == op.token


@given(steps(claims))
def test_resent_twin_is_told_the_same(history: list[tuple[int, Op[Any]]]) -> None:
    """An operation that the client sends twice is told the same the second time and changes nothing but times."""
    for now_ms, op, _, reply, after in replay(history):
        again = apply(op, after, now_ms)
        second = op.parse(again.reply, "memory")
        told = ("answer",) if isinstance(op, Claim) else ("acted",)
        assert [getattr(second, name) for name in told] == [getattr(reply, name) for name in told]
        assert second.record == reply.record
        assert (again.write.text if again.write else after) == after


@given(steps(claims))
def test_at_most_one_token_holds_a_lease(history: list[tuple[int, Op[Any]]]) -> None:
    """A claim is ACQUIRED only where no other token's lease is running."""
    for now_ms, op, before, reply, _ in replay(history):
        if isinstance(op, Claim) and reply.answer is Answer.ACQUIRED and before is not None:
            old = Record.loads(before)
            assert old.state is not State.CLAIMED or old.token == op.token or old.until_ms <= now_ms


@given(steps(claims))
def test_strangers_change_only_what_a_fact_changes(history: list[tuple[int, Op[Any]]]) -> None:
    """`release`, `doubt` and a decision write only where the record bears their token, or where there is none."""
    for _, op, before, reply, after in replay(history):
        settling = isinstance(op, (Release, Doubt)) or (isinstance(op, Complete) and not op.fact)
        if settling and before is not None and Record.loads(before).token != op.token:
            assert (reply.acted, after) == (False, before)


def test_unknown_operation_is_refused() -> None:
    """What is no operation of this protocol raises, and names itself."""

    class Steal(Peek):
        pass

    with pytest.raises(TypeError, match="Steal"):
        apply(Steal(KEY), None, 0)
