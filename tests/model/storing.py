"""Operations in the real in-memory store, from one canonical record to the next.

The store is filled, its clock set, the operation run, and what it then holds is made canonical. Tokens read `MINE` for
the delivery that acts and `OTHERS` for any other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dedup.ops import Began, Claimed, Op, Peeked, Resolution, Settled
from dedup.records import Record, State
from dedup.rules import SignalRules
from dedup.stores.memory import MemoryStore
from tests.model.scenario import MAX_FAILURES

KEY = "signal:publish:GOLD:2025-01-01T10:15:00"
SINCE_KEY = "dedup:since"
MINE, OTHERS = "mine", "others"

NOW_MS = 1_750_000_000_000
LEASE_MS = 60_000
KEPT_MS = 86_400_000
CLOSED_AT_MS = NOW_MS - 10_000
SINCE_BEFORE_MS = CLOSED_AT_MS - 100_000
SINCE_AFTER_MS = CLOSED_AT_MS + 5_000


class SetClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store holds: the record (its token left out: deliveries say who owns it) and the mark of its memory."""

    record: Record | None
    since_ms: int | None


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of an operation.

    Attributes:
        reply: canonical.
        stored: number of what the store holds now.
        owner: who owns the record now: `MINE`, `OTHERS`, or empty where there is none.
        broken: the rule of one record's life that the operation broke, in words; empty for none.
    """

    reply: Any
    stored: int
    owner: str
    broken: str


class Storing:
    """Runs operations and remembers what came of them."""

    def __init__(self, store: type[MemoryStore]) -> None:
        self._make = store
        self._numbers: dict[Stored, int] = {}
        self.all: list[Stored] = []
        self._ran: dict[tuple[int, bool, Op[Any]], Ran] = {}
        self._lapsed: dict[int, int] = {}

    def number(self, stored: Stored) -> int:
        """The number of a content, the same for the same content."""
        if stored not in self._numbers:
            self._numbers[stored] = len(self.all)
            self.all.append(stored)
        return self._numbers[stored]

    def run(self, number: int, mine: bool, op: Op[Any]) -> Ran:
        """Run one operation of a delivery that owns the record (`mine`) or does not."""
        at = (number, mine, op)
        if at not in self._ran:
            self._ran[at] = self._run(self.all[number], mine, op)
        return self._ran[at]

    def lapse(self, number: int) -> int:
        """Let a lease's time pass by the store's clock."""
        if number not in self._lapsed:
            stored, clock = self.all[number], SetClock()
            store = self._filled(stored, MINE, clock)
            clock.now_ms += LEASE_MS
            self._lapsed[number] = self.number(Stored(_record(store.get(KEY), clock.now_ms, ""), stored.since_ms))
        return self._lapsed[number]

    def resolve(self, number: int, resolution: Resolution) -> int:
        """A person settles what is held, as they see it."""
        record = self.all[number].record
        assert record is not None
        seen = replace(record, token=OTHERS)
        ran = self.run(number, False, SignalRules().resolve(KEY, "person", seen, resolution, "anna", "asked the API"))
        assert ran.reply.acted
        return ran.stored

    def forget(self, number: int, record: bool, mark: bool) -> int:
        """Let the store forget the record, its mark, or both."""
        stored = self.all[number]
        return self.number(Stored(None if record else stored.record, None if mark else stored.since_ms))

    def _run(self, before: Stored, mine: bool, op: Op[Any]) -> Ran:
        clock = SetClock()
        store = self._filled(before, MINE if mine else OTHERS, clock)
        reply = store.run(op)
        text = store.get(KEY)
        after = Stored(_record(text, clock.now_ms, ""), _since(store.get(SINCE_KEY)))
        owner = Record.loads(text).token if text is not None else ""
        return Ran(_reply(reply), self.number(after), owner, broken(before.record, after.record))

    def _filled(self, stored: Stored, token: str, clock: SetClock) -> MemoryStore:
        store = self._make(clock_ms=clock)
        if stored.record is not None:
            store.put(KEY, replace(stored.record, token=token).dumps(), KEPT_MS)
        if stored.since_ms is not None:
            store.put(SINCE_KEY, str(stored.since_ms), 0)
        return store


def broken(before: Record | None, after: Record | None) -> str:
    """Which rule of one record's life a change broke, in words."""
    if before is None or before == after:
        return ""
    if before.state is State.DONE:
        return "the first DONE stands"
    if after is None:
        return "no operation deletes a record"
    if after.attempt < before.attempt:
        return "attempt never falls while the key lives"
    if before.in_doubt and not after.in_doubt:
        return "a doubt is not forgotten"
    return ""


def _record(text: str | None, now_ms: int, token: str) -> Record | None:
    return None if text is None else _plain(Record.loads(text), now_ms, token)


def _plain(record: Record, now_ms: int, token: str) -> Record:
    running = record.state is State.CLAIMED and record.until_ms > now_ms
    return replace(
        record,
        token=token,
        attempt=min(record.attempt, 2),
        failures=min(record.failures, MAX_FAILURES),
        until_ms=NOW_MS + LEASE_MS if running else 0,
        at_ms=0,
        reason="",
        by_why="",
    )


def _since(text: str | None) -> int | None:
    return None if text is None else _mark(int(text))


def _mark(since_ms: int) -> int:
    return SINCE_AFTER_MS if since_ms > CLOSED_AT_MS else SINCE_BEFORE_MS


def _reply(reply: Any) -> Any:
    match reply:
        case Claimed(record=record, left_ms=left_ms):
            plain = _plain(record, NOW_MS, record.token)
            return replace(reply, record=plain, left_ms=LEASE_MS if left_ms else 0)
        case Began(since_ms=since_ms, just_now=just_now, source=source):
            return Began(_mark(since_ms), just_now, source)
        case Settled(record=record) | Peeked(record=record):
            return replace(reply, record=None if record is None else _plain(record, NOW_MS, record.token))
    raise TypeError(type(reply))
