"""What each operation does to a record, as pure functions: the protocol in Python.

The in-memory store runs these; Redis runs the same in ``lua/*.lua``. The contract suite and a state machine compare the
two answer by answer, and the explorer in ``tests/model`` walks every interleaving of these.

`apply(op, stored, now_ms)` takes what is stored (a record or its text, None where there is none) and gives what to
store and the raw reply, in the shape that the Lua script answers and `op.parse` reads. A record stands for its text,
which is only made where somebody wants it: half the price of a claim in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from dedup.adopt import Adopt
from dedup.amnesia import Mark
from dedup.ops import Answer, Begin, Claim, Complete, Doubt, Op, Peek, Release, Remember, Resolve
from dedup.records import Record, State

Stored = str | Record
"""A record, or a text: one that is no record, or one whose value is kept to the byte."""


_NOTHING = Record(State.CLAIMED)


@dataclass(frozen=True, slots=True)
class Write:
    """Store this for `ttl_ms`; 0 keeps it for ever."""

    stored: Stored
    ttl_ms: int

    @property
    def text(self) -> str:
        """As Redis would hold it."""
        return text_of(self.stored)


@dataclass(frozen=True, slots=True)
class Step:
    """What an operation comes to: the raw reply, and what to store (None changes nothing)."""

    reply: tuple[Any, ...]
    write: Write | None = None


def text_of(stored: Stored) -> str:
    """What is stored, as a text."""
    return stored if isinstance(stored, str) else stored.dumps()


def record_of(stored: Stored) -> Record:
    """What is stored, as a record."""
    return Record.loads(stored) if isinstance(stored, str) else stored


def apply(op: Op[Any], stored: Stored | None, now_ms: int) -> Step:
    """Run one operation on what is stored under its key.

    Raises:
        TypeError: `op` is no operation of `dedup.ops`.
    """
    transition = _TRANSITIONS.get(type(op))
    if transition is None:
        raise TypeError(f"{type(op).__name__} is no operation of dedup.ops")
    return transition(op, stored, now_ms)


def _claim(op: Claim, stored: Stored | None, now_ms: int) -> Step:
    if stored is None:
        return _acquire(op, now_ms, attempt=1)
    record = record_of(stored)
    if record.foreign:
        return Step(("duplicate", 0, stored))
    if record.state is State.RELEASED:
        if not op.effect and record.failures >= op.max_failures:
            return _fail(op, record, record.reason, now_ms)
        return _acquire(op, now_ms, record.attempt + 1, record.failures, Record(State.CLAIMED, more=record.more))
    if op.digest and record.digest and op.digest != record.digest:
        return Step(("conflict", 0, stored))
    if record.state is State.DONE:
        return Step(("duplicate", 0, stored))
    if record.state is State.CLAIMED:
        return _claim_claimed(op, stored, record, now_ms)
    return _claim_unknown(op, stored, record, now_ms)


def _claim_claimed(op: Claim, stored: Stored, record: Record, now_ms: int) -> Step:
    if record.token == op.token:
        return _acquire(op, now_ms, record.attempt, record.failures, record)
    if record.until_ms > now_ms:
        return Step(("busy", record.until_ms - now_ms, stored))
    why = f"the lease ran out under attempt {record.attempt}"
    record = replace(record, failures=record.failures + 1)
    if op.effect:
        # What a person let go has had its delivery.
        lapsed = replace(record, state=State.UNKNOWN, until_ms=0, reason=record.reason or why, granted=False)
        return _claim_unknown(op, stored, lapsed, now_ms)
    if record.failures >= op.max_failures:
        return _fail(op, record, why, now_ms)
    return _acquire(op, now_ms, record.attempt + 1, record.failures, Record(State.CLAIMED, more=record.more))


def _claim_unknown(op: Claim, stored: Stored, record: Record, now_ms: int) -> Step:
    if record.held:
        return Step(("unknown", 0, stored))
    if record.granted or (op.resume and record.failures < op.max_failures):
        return _acquire(op, now_ms, record.attempt + 1, record.failures, replace(record, in_doubt=True))
    held = replace(record, held=True, at_ms=now_ms)
    return Step(("unknown", 0, held), Write(held, op.held_ttl_ms or op.ttl_ms))


def _acquire(op: Claim, now_ms: int, attempt: int, failures: int = 0, before: Record = _NOTHING) -> Step:
    """Claimed. Of what was there `before`, its doubt, what a person said about it and what is not ours go on."""
    record = Record(
        State.CLAIMED,
        token=op.token,
        attempt=attempt,
        failures=failures,
        until_ms=now_ms + op.lease_ms,
        at_ms=now_ms,
        in_doubt=before.in_doubt,
        reason=before.reason if before.in_doubt else "",
        digest=op.digest,
        granted=before.granted,
        by=before.by,
        by_why=before.by_why,
        more=before.more,
    )
    return Step((Answer.ACQUIRED, op.lease_ms, record), Write(record, max(op.ttl_ms, op.lease_ms)))


def _fail(op: Claim, record: Record, why: str, now_ms: int) -> Step:
    failed = Record(
        State.DONE,
        token=record.token,
        attempt=record.attempt,
        failures=record.failures,
        at_ms=now_ms,
        reason=why,
        digest=record.digest,
        outcome="failed",
        more=record.more,
    )
    return Step(("duplicate", 0, failed), Write(failed, op.ttl_ms))


def _complete(op: Complete, stored: Stored | None, now_ms: int) -> Step:
    record = record_of(stored) if stored is not None else None
    if record is not None and record.state is State.DONE:
        mine = not record.foreign and (record.token, record.outcome) == (op.token, op.outcome)
        return Step((int(mine), stored))
    if not op.fact and not (record is not None and _may_decide(op, record)):
        return Step((0, stored))
    done = _completed(op, record or Record(State.CLAIMED), now_ms)
    return Step((1, done), Write(done, op.ttl_ms))


def _may_decide(op: Complete, record: Record) -> bool:
    return record.token == op.token and record.state is not State.RELEASED and not record.in_doubt


def _completed(op: Complete, record: Record, now_ms: int) -> Stored:
    done = Record(
        State.DONE,
        token=op.token,
        attempt=record.attempt,
        failures=record.failures,
        at_ms=now_ms,
        in_doubt=record.in_doubt,
        reason=op.reason,
        digest=record.digest or op.digest,
        outcome=op.outcome,
        by=record.by,
        by_why=record.by_why,
        more=record.more,
    )
    return f'{done.dumps()[:-1]},"v":{op.value}}}' if op.value else done


def _release(op: Release, stored: Stored | None, now_ms: int) -> Step:
    if stored is None:
        return Step((0, None))
    record = record_of(stored)
    if record.token != op.token or record.state is State.DONE:
        return Step((0, stored))
    if record.state is State.RELEASED or (record.state is State.UNKNOWN and record.in_doubt):
        return Step((1, stored))
    record = replace(record, at_ms=now_ms, until_ms=now_ms + op.retry_ms, failures=record.failures + int(op.failed))
    if record.in_doubt:
        record = replace(record, state=State.UNKNOWN)
    else:
        record = replace(record, state=State.RELEASED, held=False, reason=op.reason)
    return Step((1, record), Write(record, max(op.ttl_ms, op.retry_ms)))


def _doubt(op: Doubt, stored: Stored | None, now_ms: int) -> Step:
    if stored is None:
        record = Record(State.UNKNOWN, token=op.token, digest=op.digest)
    else:
        record = record_of(stored)
        if record.token != op.token or record.state not in (State.CLAIMED, State.UNKNOWN):
            return Step((0, stored))
    doubted = replace(
        record,
        state=State.UNKNOWN,
        reason=op.reason,
        at_ms=now_ms,
        until_ms=now_ms + op.retry_ms,
        held=record.held or op.hold,
        granted=False,
    )
    return Step((1, doubted), Write(doubted, max(op.ttl_ms, op.retry_ms)))


def _resolve(op: Resolve, stored: Stored | None, now_ms: int) -> Step:
    if stored is None:
        return Step((0, None))
    record = record_of(stored)
    if _is_twin(op, record):
        return Step((1, stored))
    seen = (op.seen_token, op.seen_attempt, op.seen_at_ms)
    if not record.waits or (record.token, record.attempt, record.at_ms) != seen:
        return Step((0, stored))
    record = replace(record, token=op.token, at_ms=now_ms, until_ms=0, held=False, by=op.by, by_why=op.why)
    if op.outcome:
        record = replace(record, state=State.DONE, outcome=op.outcome, granted=False)
    else:
        record = replace(record, granted=True)
    return Step((1, record), Write(record, op.ttl_ms))


def _is_twin(op: Resolve, record: Record) -> bool:
    if record.foreign or record.token != op.token:
        return False
    if op.outcome:
        return record.state is State.DONE and record.outcome == op.outcome
    return record.state is State.UNKNOWN and record.granted


def _begin(op: Begin, stored: Stored | None, now_ms: int) -> Step:
    # This process is its own server: its memory ends with it, so that there is nobody to name.
    nobody = (now_ms, "", "", 0, 0, 0, 0)
    if stored is not None and Mark.loads(text_of(stored)) is not None:
        # Whoever wrote it may have given it an end; a mark has none.
        return Step((stored, 0, *nobody), Write(stored, 0))
    return Step((str(now_ms), 1, *nobody), Write(str(now_ms), 0))


def _remember(op: Remember, stored: Stored | None, now_ms: int) -> Step:
    found = "" if stored is None else text_of(stored)
    if found == op.text:
        return Step((1, found))
    if found != op.seen:
        return Step((0, found))
    return Step((1, op.text), Write(op.text, 0))


def _adopt(op: Adopt, stored: Stored | None, now_ms: int) -> Step:
    if stored is not None:
        found = text_of(stored)
        return Step((int(found == op.text), found))
    return Step((1, op.text), Write(op.text, op.ttl_ms))


def _peek(op: Peek, stored: Stored | None, now_ms: int) -> Step:
    # The time left of the key matters only to a record that Redis wrote with a plain SET.
    return Step((stored, now_ms, 0))


_TRANSITIONS: dict[type[Any], Callable[[Any, Stored | None, int], Step]] = {
    Claim: _claim,
    Complete: _complete,
    Release: _release,
    Doubt: _doubt,
    Resolve: _resolve,
    Begin: _begin,
    Remember: _remember,
    Adopt: _adopt,
    Peek: _peek,
}
