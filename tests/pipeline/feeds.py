"""Bars and candles of the deployments' market."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dedup.timeframe import Candle, Timeframe
from tasks.bars import Bar

ORIGIN = datetime(2025, 1, 4, 10, tzinfo=UTC)
"""Market time when a deployment begins: a Saturday, 10:00."""

HOUR = timedelta(hours=1)
HEADER = "start,open,high,low,close\n"


def bar_at(start: datetime) -> Bar:
    """The bar of that start."""
    return Bar(start, 100, 101, 99, 100 + start.hour / 100)


def row_at(start: datetime) -> str:
    """The bar of that start as a row under `HEADER`."""
    bar = bar_at(start)
    return f"{start.isoformat()},{bar.open},{bar.high},{bar.low},{bar.close}\n"


def candle_of(instrument: str, start: datetime = ORIGIN - HOUR, timeframe: str = "1h") -> Candle:
    """A candle; by default the one that closes at `ORIGIN`."""
    length = Timeframe.parse(timeframe)
    return Candle(instrument, length, start, start + length.length)
