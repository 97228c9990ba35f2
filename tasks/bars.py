"""Bars, and what it takes for a run of them to be fit for a strategy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dedup.errors import InvalidBars

_BARS = "a source gives a sequence of tasks.bars.Bar"
_NUMBERS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a feed.

    Attributes:
        start: open time, tz-aware UTC, inclusive. It is the bar's name.
        open, high, low, close: prices, finite and above zero.
        volume: traded units; 0 where the feed has none.
        final: the source vouches that the values will not change any more.
    """

    start: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float = 0.0
    final: bool = True


def as_bars(answer: object) -> tuple[Bar, ...]:
    """What a source answered, where it is bars that start at moments; their values are not looked at.

    Raises:
        InvalidBars: anything else.
    """
    if not isinstance(answer, Iterable):
        raise InvalidBars("bars", f"a {type(answer).__name__}", _BARS)
    bars = tuple(answer)
    for bar in bars:
        if not isinstance(bar, Bar):
            raise InvalidBars("bars", f"a {type(bar).__name__} in them", _BARS)
        if not isinstance(bar.start, datetime):
            raise InvalidBars("bar.start", bar.start, "give a timezone-aware UTC datetime")
    return bars


def check_bars(bars: Sequence[Bar]) -> None:
    """Refuse bars that no strategy should see.

    Raises:
        InvalidBars: naive or non-UTC start, NaN, infinite, zero or negative price, high below low, open or close
            outside high..low, negative volume, a value that is no number, a start that does not come after the one
            before (out of order, or the same bar twice).
    """
    before: datetime | None = None
    for bar in bars:
        _check_start(bar, before)
        try:
            _check_values(bar)
        except TypeError:
            raise _no_number(bar) from None
        before = bar.start


def _check_start(bar: Bar, before: datetime | None) -> None:
    if bar.start.tzinfo is None or bar.start.utcoffset() != UTC.utcoffset(None):
        raise InvalidBars("bar.start", bar.start.isoformat(), "give a timezone-aware UTC datetime")
    if before is not None and bar.start == before:
        raise InvalidBars("bar.start", bar.start.isoformat(), "the source gave this bar twice; give each bar once")
    if before is not None and bar.start < before:
        raise InvalidBars(
            "bar.start", bar.start.isoformat(), f"comes after {before.isoformat()}; give bars oldest first"
        )


def _check_values(bar: Bar) -> None:
    prices = {"open": bar.open, "high": bar.high, "low": bar.low, "close": bar.close}
    for name, price in prices.items():
        if not math.isfinite(price) or price <= 0:
            raise InvalidBars(f"bar {bar.start.isoformat()} {name}", price, "a price is a finite number above zero")
    if bar.high < bar.low:
        raise InvalidBars(f"bar {bar.start.isoformat()} high", bar.high, f"is below the low {bar.low}")
    for name in ("open", "close"):
        if not bar.low <= prices[name] <= bar.high:
            remedy = f"lies outside low..high, {bar.low}..{bar.high}"
            raise InvalidBars(f"bar {bar.start.isoformat()} {name}", prices[name], remedy)
    if not math.isfinite(bar.volume) or bar.volume < 0:
        raise InvalidBars(f"bar {bar.start.isoformat()} volume", bar.volume, "a volume is a finite number, 0 or more")


def _no_number(bar: Bar) -> InvalidBars:
    name = next((name for name in _NUMBERS if not isinstance(getattr(bar, name), int | float)), "close")
    return InvalidBars(f"bar {bar.start.isoformat()} {name}", getattr(bar, name), "give a number")
