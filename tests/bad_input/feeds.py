"""A source that gives bars no strategy should see, until a test mends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta, timezone
from math import inf, nan
from pathlib import Path
from typing import Any

from dedup.errors import SourceError
from dedup.timeframe import Candle
from tasks.bars import Bar

History = tuple[Bar, Bar, Bar]
Answer = Callable[[History], Any]


def last(**wrong: Any) -> Answer:
    """The history with something wrong about its last bar."""
    return lambda history: (*history[:2], replace(history[2], **wrong))


def raising(error: Exception) -> Answer:
    """No history at all."""

    def fail(history: History) -> Any:
        raise error

    return fail


REFUSED: Mapping[str, tuple[Answer, str]] = {
    "REVERSED": (lambda history: history[::-1], "give bars oldest first"),
    "SHUFFLED": (lambda history: (history[1], history[0], history[2]), "give bars oldest first"),
    "TWICE": (lambda history: (*history, history[2]), "the source gave this bar twice; give each bar once"),
    "NAN": (last(close=nan), "close = 'nan': a price is a finite number above zero"),
    "INFINITE": (last(high=inf), "high = 'inf': a price is a finite number above zero"),
    "NEGATIVE": (last(low=-1.0), "low = '-1.0': a price is a finite number above zero"),
    "ZERO": (last(open=0.0), "open = '0.0': a price is a finite number above zero"),
    "INVERTED": (last(high=98.0, low=99.0, open=98.5, close=98.5), "high = '98.0': is below the low 99.0"),
    "OUTSIDE": (last(close=120.0), "close = '120.0': lies outside low..high"),
    "SHORTED": (last(volume=-1.0), "volume = '-1.0': a volume is a finite number, 0 or more"),
    "TEXT": (last(close="100"), "close = '100': give a number"),
    "NOTHING": (last(open=None), "open = 'None': give a number"),
    "NAIVE": (lambda h: (*h[:2], replace(h[2], start=h[2].start.replace(tzinfo=None))), "timezone-aware UTC datetime"),
    "LOCAL": (
        lambda h: (*h[:2], replace(h[2], start=h[2].start.astimezone(timezone(timedelta(hours=2))))),
        "give a timezone-aware UTC datetime",
    ),
    "EPOCH": (lambda h: (*h[:2], replace(h[2], start=h[2].start.timestamp())), "give a timezone-aware UTC datetime"),
    "ASKEW": (last(start=None), "give a timezone-aware UTC datetime"),
    "UNALIGNED": (
        lambda h: (*h, replace(h[2], start=h[2].start + timedelta(minutes=30))),
        "set the watchlist's alignment to where the feed cuts its bars",
    ),
    "TABLES": (lambda history: [{"close": bar.close} for bar in history], "bars = 'a dict in them': a source gives"),
    "WORDS": (lambda history: "100", "bars = 'a str in them': a source gives a sequence of tasks.bars.Bar"),
    "NONE": (lambda history: None, "bars = 'a NoneType': a source gives a sequence of tasks.bars.Bar"),
    "BROKEN": (raising(KeyError("close")), "source feed raised KeyError: 'close'"),
    "DOWN": (raising(SourceError("feed.example answered 500")), "source feed: feed.example answered 500"),
}
"""By instrument: what it makes of its history, and what is said about it."""

SETTLED: Mapping[str, tuple[Answer, str, str]] = {
    "GAPPED": (
        lambda h: (*h[:2], replace(h[2], start=h[2].start + timedelta(hours=1))),
        "missing",
        "market had no bar",
    ),
    "YOUNG": (
        lambda history: history[2:],
        "too_few_bars",
        "always_buy: the strategy looks at 2 bars and the source has 1",
    ),
}
"""By instrument: what it makes of its history, the outcome, and the reason."""


class Feed:
    """Three final bars up to the candle; those of some instruments are wrong until `mended` exists.

    Args:
        mended: a file.
    """

    def __init__(self, mended: str) -> None:
        self._mended = Path(mended)

    def bars(self, candle: Candle, count: int) -> Any:
        """Right or wrong."""
        starts = [candle.start - back * candle.timeframe.length for back in (2, 1, 0)]
        first, second, third = (Bar(start, 100.0, 101.0, 99.0, 100.5, 10.0) for start in starts)
        history = (first, second, third)
        if self._mended.exists():
            return history
        answer = {**REFUSED, **SETTLED}.get(candle.instrument, (tuple,))[0]
        return answer(history)
