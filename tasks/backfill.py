"""Which candles of a span a backfill evaluates, and why it leaves the others alone. No I/O but for reading records.

A candle older than the horizon is refused: its record, and those of its signals, may have run out, so that nobody can
know whether it was worked before. What is evaluated late makes signals that have expired by then: they are evaluated,
recorded, and never posted. A signal that was posted is known by its own record, and never posted again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dedup.alignment import closed_between
from dedup.errors import InvalidCandle
from dedup.ops import Peeked
from dedup.records import State
from dedup.timeframe import Candle
from tasks.coverage import FOUND, Cell, Mark, cells_of
from tasks.runtime import Pipeline
from tasks.watchlist import Watch


class Verdict(StrEnum):
    """What a backfill does about a candle."""

    EVALUATE = "evaluate"
    REDO = "redo"
    """Its record is deleted first: it ended failed, missing or with too few bars, and is to be tried again."""
    DONE = "done"
    WORKING = "working"
    MARKET_CLOSED = "market closed"
    UNWATCHED = "not watched"
    NOT_CLOSED = "not closed yet"
    TOO_OLD = "older than the horizon"


GOES = frozenset({Verdict.EVALUATE, Verdict.REDO})
REDONE = frozenset({"failed", "missing", "too_few_bars"})


@dataclass(frozen=True, slots=True)
class Planned:
    """One candle, what is done about it, and why.

    Attributes:
        attempt: of its record as it was found; 0 where there was none.
    """

    watch: Watch
    candle: Candle
    verdict: Verdict
    why: str
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Situation:
    """What a candle's verdict depends on beside its record.

    Attributes:
        closed: its span is over.
        in_horizon: it closed within the horizon.
        watched: it closed within `WATCH_FROM` and `WATCH_UNTIL`.
        market_open: the market traded in it.
        force: redo what ended failed, missing or with too few bars.
    """

    closed: bool
    in_horizon: bool
    watched: bool
    market_open: bool
    force: bool


def verdict_of(peeked: Peeked, situation: Situation) -> tuple[Verdict, str]:
    """What is done about one candle, and why in words."""
    if not situation.closed:
        return Verdict.NOT_CLOSED, ""
    if not situation.in_horizon:
        return Verdict.TOO_OLD, "its record may have run out: nobody can know whether it was worked"
    if not situation.watched:
        return Verdict.UNWATCHED, "outside WATCH_FROM and WATCH_UNTIL"
    record = peeked.record
    if record is None:
        return (Verdict.EVALUATE, "no record") if situation.market_open else (Verdict.MARKET_CLOSED, "")
    if record.state is State.DONE:
        if record.outcome not in REDONE or record.foreign:
            return Verdict.DONE, record.outcome
        why = f"{record.outcome}: {record.reason}"
        return (Verdict.REDO, why) if situation.force else (Verdict.DONE, f"{why}; --force tries again")
    if record.state is State.CLAIMED and record.until_ms > peeked.now_ms:
        return Verdict.WORKING, "a worker is at it"
    if record.until_ms > peeked.now_ms and not (situation.force or record.reason.startswith("missing")):
        return Verdict.WORKING, f"its next try is due: {record.reason}"
    return Verdict.EVALUATE, record.reason or f"{record.state.value}, and nobody is at it"


def plan(line: Pipeline, watches: Iterable[Watch], first: datetime, last: datetime, force: bool) -> list[Planned]:
    """Every candle that closes within `first < close <= last`, oldest first.

    Raises:
        StoreError: Redis is away.
        InvalidCandle: a calendar does not know these years.
    """
    now = line.clock.now()
    found: list[Planned] = []
    for watch in watches:
        candles = list(closed_between(watch.alignment, watch.instrument, watch.timeframe, first, last))
        cache = line.recorded_candles()
        peeked = cache.peek_many([cache.key(one.instrument, one.timeframe, one.start) for one in candles])
        for candle, one in zip(candles, peeked, strict=True):
            verdict, why = verdict_of(one, _situation(line, watch, candle, now, force))
            found.append(Planned(watch, candle, verdict, why, one.record.attempt if one.record else 0))
    return sorted(found, key=lambda planned: (planned.candle.close, planned.candle.instrument))


def _situation(line: Pipeline, watch: Watch, candle: Candle, now: datetime, force: bool) -> Situation:
    try:
        market_open = watch.calendar.is_open(candle.start, candle.close)
    except InvalidCandle:
        market_open = True
    return Situation(
        closed=candle.closed(now),
        in_horizon=candle.close > line.horizon_start(now),
        watched=line.watched(candle),
        market_open=market_open,
        force=force,
    )


def counts(planned: Iterable[Planned]) -> Counter[str]:
    """How many candles of each verdict."""
    return Counter(one.verdict.value for one in planned)


def forget(line: Pipeline, planned: Sequence[Planned]) -> None:
    """Delete the records of what is redone, so that it is new to the next claim."""
    for one in planned:
        if one.verdict is Verdict.REDO:
            cache = line.recorded_candles()
            cache.delete(cache.key(one.candle.instrument, one.candle.timeframe, one.candle.start))


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a candle that was enqueued.

    Attributes:
        cell: what its records say.
        settled: candle and signals have come to an end.
    """

    cell: Cell
    settled: bool

    @property
    def wrong(self) -> bool:
        """Whether somebody should look at it."""
        return not self.settled or self.cell.mark in FOUND


def endings(line: Pipeline, planned: Sequence[Planned]) -> Iterator[Ended]:
    """What has become of candles that were enqueued, by now.

    Raises:
        StoreError: Redis is away.
    """
    now = line.clock.now()
    by_watch: dict[tuple[str, str], list[Planned]] = {}
    for one in planned:
        by_watch.setdefault((one.watch.instrument, str(one.watch.timeframe)), []).append(one)
    for several in by_watch.values():
        cells = cells_of(line, several[0].watch, [one.candle for one in several], now)
        yield from (Ended(cell, _is_settled(one, cell)) for one, cell in zip(several, cells, strict=True))


def _is_settled(planned: Planned, cell: Cell) -> bool:
    if any(one.mark is Mark.WORKING for one in cell.signals):
        return False
    record = cell.record
    if record is None:
        return False
    # A source that had no bar in time leaves the candle to the sweep, which may have been so before.
    missed = cell.mark is Mark.MISSING and planned.verdict is Verdict.EVALUATE and record.attempt > planned.attempt
    return record.settled or missed
