"""Alignment: where candle boundaries lie.

An alignment answers two questions, and everything else follows from them: which candle closes first after a moment,
and which closed last by it. Both make sense where candles tile time (`utc`, `ny17`) and where there are gaps between
them (the sessions of an exchange), so an alignment of your own needs no more than these two methods.

`utc`
    Counted from 1970-01-01T00:00Z in steps of the timeframe, whatever its length: `7m`, `36h`, `2d`. Weeks start on
    Monday; several weeks are counted from the week that holds the epoch (Monday 1969-12-29). `7d` is no `1w`: it is
    counted from the epoch, which was a Thursday.

`ny17`
    As OANDA and MetaTrader servers on New York + 7 draw them. Timeframes of two hours and more follow the trading day,
    which runs from 17:00 to 17:00 America/New_York; shorter ones are those of `utc`.

    - Boundaries are read off the New York clock, also within the day: `4h` candles start at 17, 21, 01, 05, 09 and 13
      o'clock all year round. The candle that holds the change of clocks is an hour shorter or longer (it falls on the
      weekend, when forex is closed), and that day has 23 or 25 hours. A boundary inside the repeated hour is its first
      occurrence; one inside the skipped hour is where it would have been, an hour further on the clock.
    - A timeframe that does not divide the day starts afresh at 17:00, so the last candle of the day is shorter.
    - Weeks start with the trading day Monday: Sunday 17:00 New York. OANDA's own default is Friday 17:00, which holds
      the same trades (the market is closed in between) under another name: ask OANDA for `weeklyAlignment=Sunday`.
      MetaTrader names the same week by the Sunday's midnight.
    - Several days or weeks are counted as in `utc`, with trading days in the place of UTC days.

The functions here take any tz-aware moment and give UTC. They raise `InvalidCandle` where a moment is naive, or where a
boundary would leave the years 1 to 9999.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from dedup.errors import InvalidCandle, InvalidSetting
from dedup.timeframe import Candle, Timeframe, as_utc

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MONDAY = datetime(1969, 12, 29, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_DAY = timedelta(days=1)

_NEW_YORK = ZoneInfo("America/New_York")
# 17:00 in New York is midnight on a clock seven hours ahead of it, so trading days become calendar days.
_TRADING_DAY_LEAD = timedelta(hours=7)
_NY17_FROM_S = 7_200


class Span(NamedTuple):
    """The time that a candle covers: `start` inclusive, `close` exclusive, both UTC."""

    start: datetime
    close: datetime


class Alignment(Protocol):
    """Where candle boundaries lie. Both methods are pure, take a UTC moment and may raise `InvalidCandle`.

    Candles of one timeframe never overlap; they may leave gaps. `closing_after(span.close)` is the candle after `span`.
    """

    @property
    def name(self) -> str:
        """The name in the watchlist."""
        ...

    def closing_after(self, moment: datetime, timeframe: Timeframe) -> Span:
        """The first candle with `close > moment`: the one that contains the moment, or the one after the gap."""
        ...

    def closed_by(self, moment: datetime, timeframe: Timeframe) -> Span:
        """The last candle with `close <= moment`."""
        ...


@dataclass(frozen=True, slots=True)
class _Utc:
    name: str = "utc"

    def closing_after(self, moment: datetime, timeframe: Timeframe) -> Span:
        origin, length = _origin(timeframe), timeframe.length
        start = origin + (moment - origin) // length * length
        return Span(start, start + length)

    def closed_by(self, moment: datetime, timeframe: Timeframe) -> Span:
        origin, length = _origin(timeframe), timeframe.length
        close = origin + (moment - origin) // length * length
        return Span(close - length, close)


@dataclass(frozen=True, slots=True)
class _NewYork17:
    name: str = "ny17"

    def closing_after(self, moment: datetime, timeframe: Timeframe) -> Span:
        if timeframe.seconds < _NY17_FROM_S:
            return UTC_ALIGNMENT.closing_after(moment, timeframe)
        start, close = _wall_span(_trading_wall(moment), timeframe)
        # Around a change of clocks a boundary may lie in the skipped or the repeated hour, and floor to a neighbour.
        if _from_trading_wall(start) > moment:
            start, close = _wall_span(start - _TICK, timeframe)
        elif _from_trading_wall(close) <= moment:
            start, close = _wall_span(close, timeframe)
        return Span(_from_trading_wall(start), _from_trading_wall(close))

    def closed_by(self, moment: datetime, timeframe: Timeframe) -> Span:
        if timeframe.seconds < _NY17_FROM_S:
            return UTC_ALIGNMENT.closed_by(moment, timeframe)
        return self.closing_after(self.closing_after(moment, timeframe).start - _TICK, timeframe)


def _origin(timeframe: Timeframe) -> datetime:
    return _FIRST_MONDAY if timeframe.unit == "w" else _EPOCH


def _trading_wall(moment: datetime) -> datetime:
    """The New York clock plus seven hours, naive: its midnight is 17:00 in New York."""
    return moment.astimezone(_NEW_YORK).replace(tzinfo=None) + _TRADING_DAY_LEAD


def _from_trading_wall(wall: datetime) -> datetime:
    return (wall - _TRADING_DAY_LEAD).replace(tzinfo=_NEW_YORK).astimezone(UTC)


def _wall_span(wall: datetime, timeframe: Timeframe) -> tuple[datetime, datetime]:
    origin, length = _origin(timeframe).replace(tzinfo=None), timeframe.length
    period = max(length, _DAY)
    restart = origin + (wall - origin) // period * period
    start = restart + (wall - restart) // length * length
    return start, min(start + length, restart + period)


UTC_ALIGNMENT: Alignment = _Utc()
NY17: Alignment = _NewYork17()
_OFFERED = {alignment.name: alignment for alignment in (UTC_ALIGNMENT, NY17)}
ALIGNMENT_NAMES = tuple(_OFFERED)


def alignment_named(name: str) -> Alignment:
    """The alignment of that name, `utc` or `ny17`. Exchanges are added by `tasks.calendars.alignment_for`.

    Raises:
        InvalidSetting: any other name.
    """
    alignment = _OFFERED.get(name)
    if alignment is None:
        raise InvalidSetting("alignment", name, f"offered are {', '.join(ALIGNMENT_NAMES)}")
    return alignment


def candle(alignment: Alignment, instrument: str, timeframe: Timeframe, start: datetime) -> Candle:
    """The candle that starts exactly at `start`.

    Raises:
        InvalidCandle: `start` is naive, or no candle starts there; the message names the nearest start.
    """
    moment = as_utc(start, "candle_start")
    span = _ask(alignment.closing_after, moment, timeframe)
    if span.start != moment:
        nearest = _nearest_start(alignment, timeframe, moment, span)
        remedy = f"no {timeframe} candle starts here under {alignment.name}; the nearest starts {_iso(nearest)}"
        raise InvalidCandle("candle_start", _iso(moment), remedy)
    return Candle(instrument, timeframe, *span)


def candle_at(alignment: Alignment, instrument: str, timeframe: Timeframe, moment: datetime) -> Candle | None:
    """The candle that contains the moment, closed or not: `start <= moment < close`. None between two sessions."""
    moment = as_utc(moment, "moment")
    span = _ask(alignment.closing_after, moment, timeframe)
    return Candle(instrument, timeframe, *span) if span.start <= moment else None


def last_closed(alignment: Alignment, instrument: str, timeframe: Timeframe, now: datetime) -> Candle:
    """The last candle with `close <= now`."""
    return Candle(instrument, timeframe, *_ask(alignment.closed_by, as_utc(now, "now"), timeframe))


def closed_between(
    alignment: Alignment, instrument: str, timeframe: Timeframe, after: datetime, until: datetime
) -> Iterator[Candle]:
    """Every candle with `after < close <= until`, oldest first."""
    return _closed_between(alignment, instrument, timeframe, as_utc(after, "after"), as_utc(until, "until"))


def _closed_between(
    alignment: Alignment, instrument: str, timeframe: Timeframe, after: datetime, until: datetime
) -> Iterator[Candle]:
    while after < until:
        span = _ask(alignment.closing_after, after, timeframe)
        if span.close > until:
            return
        yield Candle(instrument, timeframe, *span)
        after = span.close


def next_close(alignment: Alignment, timeframe: Timeframe, now: datetime) -> datetime:
    """The first close after `now`, UTC. At a boundary it is the next one."""
    return _ask(alignment.closing_after, as_utc(now, "now"), timeframe).close


def _nearest_start(alignment: Alignment, timeframe: Timeframe, moment: datetime, span: Span) -> datetime:
    before = _ask(alignment.closed_by, moment, timeframe)
    after = _ask(alignment.closing_after, span.close, timeframe)
    return min((before.start, span.start, after.start), key=lambda start: abs(start - moment))


def _ask(question: Callable[[datetime, Timeframe], Span], moment: datetime, timeframe: Timeframe) -> Span:
    try:
        return question(moment, timeframe)
    except OverflowError:
        remedy = f"a {timeframe} boundary beside it lies outside the years 1 to 9999; check the year"
        raise InvalidCandle("moment", _iso(moment), remedy) from None


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
