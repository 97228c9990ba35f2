"""Rules 1, 3 and 8: what happens when a lease runs out, and how often it may."""

from __future__ import annotations

import pytest

from dedup.ops import Answer
from dedup.records import State
from dedup.stores.protocol import Store
from tests.contract.steps import (
    KEY,
    LEASE_MS,
    SHORT_MS,
    TTL_MS,
    claim,
    complete,
    doubt,
    in_doubt,
    lapse,
    record_of,
    release,
)
from tests.contract.subjects import Subject


def test_redoable_work_is_taken_over(subject: Subject) -> None:
    """A candle whose lease ran out is ACQUIRED by the next token: attempt 2, one failure, nothing in doubt."""
    lapse(subject, "a")
    claimed = subject.store.run(claim("b"))
    record = claimed.record
    assert (claimed.answer, claimed.left_ms, claimed.fresh) == (Answer.ACQUIRED, LEASE_MS, False)
    assert (record.token, record.attempt, record.failures, record.in_doubt) == ("b", 2, 1, False)


def test_effect_without_resume_becomes_held(subject: Subject) -> None:
    """An effect whose lease ran out is UNKNOWN and HELD, with the reason: its worker may have sent it."""
    lapse(subject, "a", effect=True)
    claimed = subject.store.run(claim("b", effect=True))
    record = claimed.record
    assert claimed.answer is Answer.UNKNOWN
    assert (record.state, record.token, record.attempt, record.failures) == (State.UNKNOWN, "a", 1, 1)
    assert (record.held, record.settled, record.until_ms) == (True, True, 0)
    assert record.reason == "the lease ran out under attempt 1"
    assert record_of(subject.store) == record


def test_effect_with_resume_is_acquired_in_doubt(subject: Subject) -> None:
    """Where the API is idempotent an effect whose lease ran out is ACQUIRED as the next attempt, marked in doubt."""
    claimed = in_doubt(subject)
    record = claimed.record
    assert claimed.answer is Answer.ACQUIRED
    assert (record.token, record.attempt, record.failures, record.in_doubt) == ("new", 2, 1, True)
    assert record.reason == "the lease ran out under attempt 1"


def test_lease_holds_until_its_last_moment(subject: Subject) -> None:
    """A lease that has run for most of its time is still BUSY, with only the rest of it left."""
    subject.store.run(claim("a", lease_ms=LEASE_MS))
    subject.pass_ms(SHORT_MS)
    busy = subject.store.run(claim("b"))
    assert (busy.answer, busy.left_ms <= LEASE_MS - SHORT_MS) == (Answer.BUSY, True)


@pytest.mark.parametrize("effect", [False, True])
def test_lapsed_owner_may_claim_again(subject: Subject, effect: bool) -> None:
    """A token whose lease ran out and whom nobody replaced is ACQUIRED again as the same attempt, without a failure."""
    lapse(subject, "a", effect=effect)
    claimed = subject.store.run(claim("a", effect=effect))
    record = claimed.record
    assert (claimed.answer, record.attempt, record.failures, record.in_doubt) == (Answer.ACQUIRED, 1, 0, False)


@pytest.mark.parametrize("effect", [False, True])
def test_twin_of_a_takeover_counts_once(subject: Subject, effect: bool) -> None:
    """A takeover that the client sent twice counts one attempt and one failure, and is as much in doubt as before."""
    lapse(subject, "a", effect=effect)
    first = subject.store.run(claim("b", effect=effect, resume=True)).record
    again = subject.store.run(claim("b", effect=effect, resume=True)).record
    assert (again.attempt, again.failures, again.in_doubt) == (2, 1, effect)
    assert (again.reason, again.token) == (first.reason, "b")


def test_twin_of_a_hold_answers_alike(subject: Subject) -> None:
    """A claim that made an effect HELD answers the same when the client sends it twice, and counts one failure."""
    lapse(subject, "a", effect=True)
    first = subject.store.run(claim("b", effect=True))
    again = subject.store.run(claim("b", effect=True))
    assert (again.answer, again.record) == (Answer.UNKNOWN, first.record)


def test_doubt_survives_the_next_takeover(subject: Subject) -> None:
    """An effect in doubt whose lease runs out again stays in doubt for the third attempt."""
    lapse(subject, "a", effect=True)
    lapse(subject, "b", effect=True, resume=True)
    record = subject.store.run(claim("c", effect=True, resume=True)).record
    assert (record.attempt, record.failures, record.in_doubt) == (3, 2, True)
    assert record.reason == "the lease ran out under attempt 1"


def test_candle_that_kills_its_workers_ends_failed(subject: Subject) -> None:
    """A candle under which as many leases ran out as the cap allows is DONE `failed`, with its reason."""
    for attempt in (1, 2, 3):
        assert lapse(subject, f"t{attempt}", max_failures=3).record.attempt == attempt
    for _ in range(2):
        claimed = subject.store.run(claim("t4", max_failures=3))
        assert (claimed.answer, claimed.record.state) == (Answer.DUPLICATE, State.DONE)
        assert (claimed.record.outcome, claimed.record.attempt, claimed.record.failures) == ("failed", 3, 3)
        assert claimed.record.reason == "the lease ran out under attempt 3"


def test_candle_whose_strategy_raises_ends_failed(store: Store) -> None:
    """A candle that was released as failed as often as the cap allows is DONE `failed`, with the last reason."""
    for attempt in (1, 2, 3):
        assert store.run(claim(f"t{attempt}", max_failures=3, digest="d1")).record.attempt == attempt
        store.run(release(f"t{attempt}", failed=True, reason=f"ValueError {attempt}"))
    claimed = store.run(claim("t4", max_failures=3))
    assert (claimed.answer, claimed.record.outcome) == (Answer.DUPLICATE, "failed")
    assert (claimed.record.reason, claimed.record.failures, claimed.record.digest) == ("ValueError 3", 3, "d1")


def test_released_without_failure_is_never_capped(store: Store) -> None:
    """Waiting for a bar is no failure: a candle may be released and claimed any number of times."""
    for attempt in range(1, 12):
        claimed = store.run(claim(f"t{attempt}", max_failures=3))
        assert (claimed.answer, claimed.record.attempt, claimed.record.failures) == (Answer.ACQUIRED, attempt, 0)
        store.run(release(f"t{attempt}"))


def test_failures_of_both_kinds_add_up(subject: Subject) -> None:
    """A lease that ran out and a failed attempt count alike."""
    lapse(subject, "a", max_failures=2)
    subject.store.run(claim("b", max_failures=2))
    subject.store.run(release("b", failed=True, reason="ValueError"))
    assert subject.store.run(claim("c", max_failures=2)).record.outcome == "failed"


def test_effect_that_kills_its_workers_ends_held(subject: Subject) -> None:
    """An effect under which as many leases ran out as the cap allows is HELD, even where it could be resumed."""
    effect = {"effect": True, "resume": True, "max_failures": 3}
    for attempt in (1, 2, 3):
        claimed = lapse(subject, f"t{attempt}", **effect)
        assert (claimed.answer, claimed.record.attempt) == (Answer.ACQUIRED, attempt)
    claimed = subject.store.run(claim("t4", **effect))
    assert (claimed.answer, claimed.record.held, claimed.record.failures) == (Answer.UNKNOWN, True, 3)


def test_effect_in_doubt_that_keeps_failing_ends_held(subject: Subject) -> None:
    """An effect in doubt whose attempts fail as often as the cap allows is HELD, never DONE `failed`."""
    in_doubt(subject)
    subject.store.run(release("new", failed=True))
    claimed = subject.store.run(claim("c", effect=True, resume=True, max_failures=2))
    assert (claimed.answer, claimed.record.held, claimed.record.failures) == (Answer.UNKNOWN, True, 2)


def test_failed_candle_may_be_redone_after_its_deletion(subject: Subject) -> None:
    """Deleting the record, as `backfill --force` does, makes a failed candle fresh again."""
    lapse(subject, "a", max_failures=1)
    assert subject.store.run(claim("b", max_failures=1)).record.outcome == "failed"
    assert subject.store.delete(KEY) == 1
    assert subject.store.run(claim("c", max_failures=1)).fresh


def test_replaced_owner_can_neither_release_nor_doubt(subject: Subject) -> None:
    """Whoever was taken over holds nothing: its release, doubt and decision change nothing for the new owner."""
    lapse(subject, "a")
    subject.store.run(claim("b"))
    text = subject.store.get(KEY)
    for op in (release("a"), doubt("a"), complete("a", "rejected", fact=False)):
        settled = subject.store.run(op)
        assert (settled.acted, settled.record and settled.record.token) == (False, "b")
    assert subject.store.get(KEY) == text
    assert subject.ttl_ms(KEY) <= TTL_MS


def test_replaced_owners_fact_stands(subject: Subject) -> None:
    """A replaced owner that learns that the API took its signal makes it DONE all the same."""
    in_doubt(subject)
    settled = subject.store.run(complete("old", "posted"))
    assert (settled.acted, settled.record and settled.record.state) == (True, State.DONE)
    assert subject.store.run(claim("c", effect=True, resume=True)).answer is Answer.DUPLICATE


def test_effect_that_was_not_sent_is_never_failed(store: Store) -> None:
    """An effect that certainly did not happen may be tried again after any number of failures, until it expires."""
    for attempt in range(1, 8):
        claimed = store.run(claim(f"t{attempt}", effect=True, max_failures=3))
        assert (claimed.answer, claimed.record.attempt) == (Answer.ACQUIRED, attempt)
        store.run(release(f"t{attempt}", failed=True, reason="connection refused"))
