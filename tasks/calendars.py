"""Market calendars: when a market trades, and candles that follow its sessions.

A calendar says whether a candle can hold any trade at all, so that a closed market is an outcome and no missing bar.

`24/7`
    Always open; the default.
`forex`
    Sunday 17:00 to Friday 17:00 America/New_York, without holidays: brokers differ in theirs.
Any name or alias of exchange-calendars, such as `XNYS`, `CMES`, `XHKG` or `24/5`
    Sessions with their holidays, early closes and lunch breaks, from 1990 (or what the calendar knows, where that is
    less) to the end of the year after next. The extra `candlelatch[calendars]` installs it. It is imported and the
    calendar computed on first use, once per process.
"""

from __future__ import annotations

import difflib
import functools
import warnings
from dataclasses import dataclass
from datetime import UTC, date, datetime
from types import ModuleType
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from dedup.alignment import ALIGNMENT_NAMES, NY17, Alignment, alignment_named
from dedup.errors import InvalidSetting
from dedup.timeframe import Timeframe, as_utc
from tasks.sessions import SessionAlignment, Sessions

_FIRST_DAY = date(1990, 1, 1)
_ONE_DAY = Timeframe(1, "d")
_NEW_YORK = ZoneInfo("America/New_York")
_FRIDAY, _SATURDAY = 4, 5


class MarketCalendar(Protocol):
    """When a market trades."""

    @property
    def name(self) -> str:
        """The name in the watchlist."""
        ...

    def is_open(self, start: datetime, close: datetime) -> bool:
        """Whether the market trades at any moment of `start <= moment < close`.

        Raises:
            InvalidCandle: a naive moment, or one outside the years that the calendar knows.
        """
        ...


@dataclass(frozen=True, slots=True)
class _AlwaysOpen:
    name: str = "24/7"

    def is_open(self, start: datetime, close: datetime) -> bool:
        return as_utc(start, "start") < as_utc(close, "close")


@dataclass(frozen=True, slots=True)
class _Forex:
    name: str = "forex"

    def is_open(self, start: datetime, close: datetime) -> bool:
        moment, close = as_utc(start, "start"), as_utc(close, "close")
        while moment < close:
            day = NY17.closing_after(moment, _ONE_DAY)
            if day.start.astimezone(_NEW_YORK).weekday() not in (_FRIDAY, _SATURDAY):
                return True
            moment = day.close
        return False


@dataclass(frozen=True, slots=True)
class _Exchange:
    name: str
    sessions: Sessions

    def is_open(self, start: datetime, close: datetime) -> bool:
        return self.sessions.trades_within(as_utc(start, "start"), as_utc(close, "close"))


_OWN_CALENDARS: dict[str, MarketCalendar] = {calendar.name: calendar for calendar in (_AlwaysOpen(), _Forex())}


def calendar_named(name: str = "24/7") -> MarketCalendar:
    """The market calendar of that name. `24/7` and `forex` import nothing beyond the standard library.

    Raises:
        InvalidSetting: unknown, not computable, or the extra is not installed.
    """
    if name in _OWN_CALENDARS:
        return _OWN_CALENDARS[name]
    return _Exchange(name, _sessions_of(name, "calendar", tuple(_OWN_CALENDARS)))


def alignment_for(name: str) -> Alignment:
    """The alignment of that name: those of `dedup.alignment`, then the sessions of a market, such as `XNYS`.

    Raises:
        InvalidSetting: unknown, not computable, or the extra is not installed.
    """
    if name in ALIGNMENT_NAMES:
        return alignment_named(name)
    return SessionAlignment(name, _sessions_of(name, "alignment", ALIGNMENT_NAMES))


def _sessions_of(name: str, what: str, own_names: tuple[str, ...]) -> Sessions:
    own = ", ".join(own_names)
    try:
        import exchange_calendars
    except ImportError:
        remedy = f"offered are {own}; for markets such as XNYS: pip install 'candlelatch[calendars]'"
        raise InvalidSetting(what, name, remedy) from None
    known = exchange_calendars.get_calendar_names(include_aliases=True)
    if name not in known:
        similar = difflib.get_close_matches(str(name).upper(), known, n=3)
        hint = f" (did you mean {' or '.join(similar)}?)" if similar else ""
        raise InvalidSetting(what, name, f"offered are {own} and the names of exchange-calendars, such as XNYS{hint}")
    return _load(exchange_calendars.resolve_alias(name))


@functools.cache
def _load(market: str) -> Sessions:
    import exchange_calendars
    import pandas

    # What exchange-calendars asks of pandas is no concern of who runs with warnings as errors.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            schedule = _computed(exchange_calendars, market).schedule
        except Exception as error:
            versions = f"exchange-calendars {exchange_calendars.__version__} with pandas {pandas.__version__}"
            cause = f"{type(error).__name__}: {error}"[:200]
            remedy = f"{versions} cannot compute it ({cause}); use another calendar or other versions"
            raise InvalidSetting("calendar", market, remedy) from None
    opens, closes = _moments(schedule["open"]), _moments(schedule["close"])
    breaks = list(zip(_moments(schedule["break_start"]), _moments(schedule["break_end"]), strict=True))
    parts = [
        part
        for opened, closed, (pause, resume) in zip(opens, closes, breaks, strict=True)
        for part in (((opened, pause), (resume, closed)) if pause and resume else ((opened, closed),))
    ]
    part_opens, part_closes = zip(*parts, strict=True)
    days = tuple(day.toordinal() for day in schedule.index)
    return Sessions(market, days, tuple(opens), tuple(closes), part_opens, part_closes)


def _computed(exchange_calendars: ModuleType, market: str) -> Any:
    first, last = _FIRST_DAY, date(datetime.now(UTC).year + 2, 12, 31)
    try:
        return exchange_calendars.get_calendar(market, start=first.isoformat(), end=last.isoformat())
    except ValueError:
        # Some calendars know fewer years, and only a calendar that was made says which.
        made = exchange_calendars.get_calendar(market)
        earliest, latest = made.bound_min(), made.bound_max()
        start = first if earliest is None else max(first, earliest.date())
        end = last if latest is None else min(last, latest.date())
        return exchange_calendars.get_calendar(market, start=start.isoformat(), end=end.isoformat())


def _moments(column: Any) -> list[Any]:
    """Of a column of UTC pandas Timestamps; None where it holds NaT."""
    naive = column.dt.tz_localize(None).to_numpy("datetime64[s]").tolist()
    return [None if moment is None else moment.replace(tzinfo=UTC) for moment in naive]
