"""Trading sessions of an exchange, and candles that follow them.

Pure: `tasks.calendars` knows where sessions come from.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from dedup.alignment import Span
from dedup.errors import InvalidCandle, InvalidTimeframe
from dedup.timeframe import Timeframe

_TICK = timedelta(microseconds=1)
_DAY = timedelta(days=1)
# Proleptic ordinals of the days that multi-day and multi-week candles are counted from, as in `dedup.alignment`.
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIRST_MONDAY = date(1969, 12, 29).toordinal()


@dataclass(frozen=True, slots=True)
class Sessions:
    """Every session of a market in the years that its calendar knows, oldest first.

    Attributes:
        market: name of the calendar.
        days: the day of each session as a proleptic ordinal, as the exchange names it.
        opens, closes: of each session, UTC; the close is exclusive.
        part_opens, part_closes: of each uninterrupted stretch of trading; a lunch break makes two of a session.
    """

    market: str
    days: tuple[int, ...] = field(repr=False)
    opens: tuple[datetime, ...] = field(repr=False)
    closes: tuple[datetime, ...] = field(repr=False)
    part_opens: tuple[datetime, ...] = field(repr=False)
    part_closes: tuple[datetime, ...] = field(repr=False)

    def trades_within(self, start: datetime, close: datetime) -> bool:
        """Whether any trading lies in `start <= moment < close`."""
        self.check_known(start)
        self.check_known(close)
        part = bisect_right(self.part_closes, start)
        return start < close and part < len(self.part_opens) and self.part_opens[part] < close

    def check_known(self, moment: datetime) -> None:
        """Raises `InvalidCandle` for a moment before the first open or after the last close."""
        if not self.opens[0] <= moment <= self.closes[-1]:
            raise self.unknown(moment)

    def unknown(self, moment: datetime) -> InvalidCandle:
        """The error for a moment beside which the calendar cannot judge."""
        remedy = (
            f"the calendar {self.market} is known from {self.opens[0]:%Y-%m-%d} to {self.closes[-1]:%Y-%m-%d}; "
            "use another calendar, or a newer exchange-calendars"
        )
        return InvalidCandle("moment", moment.isoformat(), remedy)


@dataclass(frozen=True, slots=True)
class SessionAlignment:
    """Candles that follow the sessions of an exchange, with gaps between them. An `Alignment`.

    Timeframes in s, m and h count from the session's open, and afresh after a lunch break; the last one ends with the
    trading. `1d` is the session, open to close; `1w` runs from the first open to the last close of a Monday-to-Sunday
    week. Several days or weeks are counted from 1970 as in `utc`, so that `2d` holds the sessions of two calendar days;
    days and weeks without a session have no candle.
    """

    name: str
    sessions: Sessions

    def closing_after(self, moment: datetime, timeframe: Timeframe) -> Span:
        """The first candle with `close > moment`.

        Raises:
            InvalidCandle: the calendar does not know it.
            InvalidTimeframe: s, m or h over 24 hours.
        """
        self.sessions.check_known(moment)
        if moment == self.sessions.closes[-1]:
            raise self.sessions.unknown(moment)
        if timeframe.unit in "dw":
            return self._block(bisect_right(self.sessions.closes, moment), timeframe)
        part = bisect_right(self.sessions.part_closes, moment)
        return self._within(part, max(moment, self.sessions.part_opens[part]), timeframe)

    def closed_by(self, moment: datetime, timeframe: Timeframe) -> Span:
        """The last candle with `close <= moment`. Raises as `closing_after`."""
        self.sessions.check_known(moment)
        if timeframe.unit in "dw":
            span = self._block(bisect_right(self.sessions.closes, moment) - 1, timeframe)
            if span.close <= moment:
                return span
            return self._block(bisect_left(self.sessions.opens, span.start) - 1, timeframe)
        part = bisect_left(self.sessions.part_opens, moment) - 1
        latest = min(moment, self.sessions.part_closes[part])
        span = self._within(part, latest - _TICK, timeframe)
        if span.close <= moment:
            return span
        if span.start > self.sessions.part_opens[part]:
            return self._within(part, span.start - _TICK, timeframe)
        return self._within(part - 1, self.sessions.part_closes[part - 1] - _TICK, timeframe)

    def _within(self, part: int, moment: datetime, timeframe: Timeframe) -> Span:
        if part < 0:
            raise self.sessions.unknown(self.sessions.opens[0])
        length = timeframe.length
        if length > _DAY:
            remedy = f"no session of {self.sessions.market} is that long; count in days or weeks, as in 2d"
            raise InvalidTimeframe("timeframe", str(timeframe), remedy)
        opens, closes = self.sessions.part_opens[part], self.sessions.part_closes[part]
        start = opens + (moment - opens) // length * length
        return Span(start, min(start + length, closes))

    def _block(self, session: int, timeframe: Timeframe) -> Span:
        if session < 0:
            raise self.sessions.unknown(self.sessions.opens[0])
        days = self.sessions.days
        weeks = timeframe.unit == "w"
        origin, length = (_FIRST_MONDAY, 7 * timeframe.count) if weeks else (_EPOCH_DAY, timeframe.count)
        first_day = origin + (days[session] - origin) // length * length
        # A block that reaches beyond the known sessions might have more of them.
        if length > 1 and (first_day < days[0] or first_day + length > days[-1] + 1):
            raise self.sessions.unknown(self.sessions.opens[session])
        first, beyond = bisect_left(days, first_day), bisect_left(days, first_day + length)
        return Span(self.sessions.opens[first], self.sessions.closes[beyond - 1])
