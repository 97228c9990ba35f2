"""What has become of the last candles: one mark for each, from its record and those of its signals.

`mark_of` decides, without I/O; `look_at` reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from dedup.alignment import last_closed
from dedup.errors import InvalidCandle
from dedup.ops import Peeked
from dedup.records import Record, State
from dedup.signals import Signal, digest
from dedup.timeframe import Candle
from tasks.runtime import Pipeline
from tasks.sweep import signals_of
from tasks.watchlist import Watch


class Mark(StrEnum):
    """What has become of a candle; of a signal those that concern one."""

    POSTED = "posted"
    NO_SIGNAL = "no signal"
    TOO_FEW = "too few bars"
    WORKING = "working"
    EXPIRED = "expired"
    REJECTED = "rejected"
    CONFLICT = "conflict"
    HELD = "held"
    FAILED = "failed"
    MISSING = "missing"
    MARKET_CLOSED = "market closed"
    NOT_KEPT = "not kept"
    UNWATCHED = "not watched"


FOUND = frozenset({Mark.REJECTED, Mark.CONFLICT, Mark.HELD, Mark.FAILED, Mark.MISSING})
"""What somebody should look at."""

_GRAVEST = (Mark.HELD, Mark.CONFLICT, Mark.REJECTED, Mark.FAILED, Mark.WORKING, Mark.EXPIRED, Mark.POSTED)
_CANDLE_OUTCOMES = {
    "evaluated": Mark.NO_SIGNAL,
    "too_few_bars": Mark.TOO_FEW,
    "closed_market": Mark.MARKET_CLOSED,
    "missing": Mark.MISSING,
    "failed": Mark.FAILED,
    "expired": Mark.EXPIRED,
}
_SIGNAL_OUTCOMES = {"posted": Mark.POSTED, "expired": Mark.EXPIRED, "rejected": Mark.REJECTED}


@dataclass(frozen=True, slots=True)
class SignalSeen:
    """A signal that a candle carries, and its record."""

    signal: Signal
    record: Record | None
    mark: Mark


@dataclass(frozen=True, slots=True)
class Around:
    """What a judgement of a candle looks at beside records.

    Attributes:
        in_horizon: it may still be worked.
        young: it closed so short a time ago that nobody need have come to it yet.
        market_open: the market traded in it.
        watched: it closed within `WATCH_FROM` and `WATCH_UNTIL`.
        grace_ms: for how long something may be overdue.
    """

    in_horizon: bool
    young: bool
    market_open: bool
    watched: bool
    grace_ms: int


@dataclass(frozen=True, slots=True)
class Cell:
    """One candle of the picture.

    Attributes:
        record: of the candle.
    """

    candle: Candle
    mark: Mark
    why: str
    record: Record | None
    signals: tuple[SignalSeen, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """The last candles of one instrument and timeframe, oldest first."""

    instrument: str
    timeframe: str
    alignment: str
    cells: tuple[Cell, ...]


def mark_of(peeked: Peeked, signals: Sequence[SignalSeen], around: Around) -> tuple[Mark, str]:
    """What has become of a candle, and why in words."""
    record = peeked.record
    if not around.watched and record is None:
        return Mark.UNWATCHED, "outside WATCH_FROM and WATCH_UNTIL"
    if record is None:
        return _mark_of_none(around)
    if record.foreign:
        return Mark.NO_SIGNAL, "written by another program"
    if record.state is not State.DONE:
        return _mark_of_open(record, peeked.now_ms, around)
    mark = _CANDLE_OUTCOMES.get(record.outcome, Mark.NO_SIGNAL)
    marks = {seen.mark for seen in signals} | ({mark} if mark is Mark.FAILED or not signals else set())
    return next((grave for grave in _GRAVEST if grave in marks), mark), record.reason


def _mark_of_none(around: Around) -> tuple[Mark, str]:
    if not around.market_open:
        return Mark.MARKET_CLOSED, "the market did not trade"
    if not around.in_horizon:
        return Mark.NOT_KEPT, "older than the horizon: its record may have run out"
    if around.young:
        return Mark.WORKING, "has just closed"
    return Mark.MISSING, "no record: nobody has come to it"


def _mark_of_open(record: Record, now_ms: int, around: Around) -> tuple[Mark, str]:
    overdue_ms = now_ms - record.until_ms
    if record.state is State.RELEASED and record.reason.startswith("missing"):
        return Mark.MISSING, record.reason
    if not around.in_horizon:
        return Mark.MISSING, f"{record.state.value}, and older than the horizon: nobody comes back to it"
    if overdue_ms > around.grace_ms:
        return Mark.MISSING, f"{record.state.value}, and overdue for {overdue_ms / 1000:.0f} s"
    return Mark.WORKING, record.reason


def signal_mark(signal: Signal, record: Record | None, in_horizon: bool) -> Mark:
    """What has become of a signal."""
    if record is None:
        return Mark.WORKING if in_horizon else Mark.EXPIRED
    if record.foreign:
        return Mark.POSTED
    if record.digest and record.digest != digest(signal.body()):
        return Mark.CONFLICT
    if record.state is State.DONE:
        return _SIGNAL_OUTCOMES.get(record.outcome, Mark.POSTED)
    if record.waits:
        return Mark.HELD
    if in_horizon:
        return Mark.WORKING
    # Nobody comes back to it. Where nothing was sent it is too late; anything else nobody knows.
    return Mark.EXPIRED if record.state is State.RELEASED else Mark.HELD


def look_at(line: Pipeline, watches: Iterable[Watch], last: int) -> list[Row]:
    """The last closed candles of each watch.

    Raises:
        StoreError: Redis is away.
    """
    now = line.clock.now()
    rows: list[Row] = []
    for watch in watches:
        candles = last_candles(watch, now, last)
        cells = cells_of(line, watch, candles, now)
        rows.append(Row(watch.instrument, str(watch.timeframe), watch.alignment.name, tuple(cells)))
    return rows


def last_candles(watch: Watch, now: datetime, count: int) -> list[Candle]:
    """The last `count` closed candles, oldest first; fewer where the alignment's calendar begins."""
    found: list[Candle] = []
    at = now
    while len(found) < count:
        try:
            candle = last_closed(watch.alignment, watch.instrument, watch.timeframe, at)
        except InvalidCandle:
            break
        found.append(candle)
        # The candle before is the last one that has closed where this one has not.
        at = candle.close - timedelta(microseconds=1)
    return found[::-1]


def cells_of(line: Pipeline, watch: Watch, candles: Sequence[Candle], now: datetime) -> list[Cell]:
    """Read the records of candles and of their signals, in two round trips."""
    cache, signals = line.recorded_candles(), line.recorded_signals()
    peeked = cache.peek_many([cache.key(watch.instrument, watch.timeframe, candle.start) for candle in candles])
    carried = [list(signals_of(one, 0)) if _done(one) else [] for one in peeked]
    keys = [signals.key(s.instrument, s.candle_start, s.timeframe, s.strategy) for found in carried for s in found]
    records = iter(signals.peek_many(keys))
    cells: list[Cell] = []
    for candle, one, found in zip(candles, peeked, carried, strict=True):
        around = around_of(line, watch, candle, now)
        seen = tuple(_seen(signal, next(records).record, around.in_horizon) for signal in found)
        mark, why = mark_of(one, seen, around)
        cells.append(Cell(candle, mark, why, one.record, seen))
    return cells


def around_of(line: Pipeline, watch: Watch, candle: Candle, now: datetime) -> Around:
    """What to judge a candle by."""
    settings = line.settings
    grace_s = settings.sweep_grace + 2 * settings.sweep_interval
    return Around(
        in_horizon=candle.close > line.horizon_start(now),
        young=-line.clock.seconds_until(candle.close) < grace_s,
        market_open=_is_open(watch, candle),
        watched=line.watched(candle),
        grace_ms=int(grace_s * 1000),
    )


def _is_open(watch: Watch, candle: Candle) -> bool:
    try:
        return watch.calendar.is_open(candle.start, candle.close)
    except InvalidCandle:
        # Beyond the years that the calendar knows: a worker would say so, and that is no closed market.
        return True


def _done(peeked: Peeked) -> bool:
    return peeked.record is not None and peeked.record.state is State.DONE


def _seen(signal: Signal, record: Record | None, in_horizon: bool) -> SignalSeen:
    return SignalSeen(signal, record, signal_mark(signal, record, in_horizon))
