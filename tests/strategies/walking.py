"""What the tests of strategies share: bars from closes, and the recorded days."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from dedup.timeframe import Candle, Timeframe
from tasks.bars import Bar
from tasks.sources import ReplaySource, WindowState, window_of
from tasks.strategies import Order, Strategy, evaluate

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
DAY = Timeframe.parse("1d")
INSTRUMENTS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")


def bars_of(closes: Sequence[float], reach: float = 0.5) -> list[Bar]:
    """Hourly bars with these closes, each opening at the close before it and reaching a little beyond both."""
    bars = []
    for i, close in enumerate(closes):
        opened = closes[i - 1] if i else close
        high, low = max(opened, close) + reach, min(opened, close) - reach
        bars.append(Bar(FIRST + timedelta(hours=i), opened, high, low, close, 1.0))
    return bars


def decide(strategy: Strategy, closes: Sequence[float], reach: float = 0.5) -> Order | None:
    """What the strategy makes of the last bars of a walk."""
    return evaluate(strategy, bars_of(closes, reach)[-strategy.warmup :])


def recorded(strategy: Strategy, instrument: str, first: str, last: str) -> Iterator[tuple[str, Order]]:
    """The orders over the recorded days from `first` to `last`, each looked at as the pipeline would."""
    source = ReplaySource()
    day, end = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (first, last))
    while day <= end:
        candle = Candle(instrument, DAY, day, day + timedelta(days=1))
        window = window_of(source.bars(candle, strategy.warmup), candle, strategy.warmup)
        order = evaluate(strategy, window.bars) if window.state is WindowState.FINAL else None
        if order is not None:
            yield day.date().isoformat(), order
        day += timedelta(days=1)
