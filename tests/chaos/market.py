"""The market of a chaos run: instruments whose every candle asks for a signal of every strategy, at a set pace.

What is expected is counted out here from the market's own numbers; nothing of the pipeline has a hand in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dedup.timeframe import Candle
from tasks.bars import Bar
from tests.chaos.judge import Due, Name
from tests.pipeline.feeds import ORIGIN

TIMEFRAME = "1m"
LENGTH = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Market:
    """How many signals are due, and when.

    Attributes:
        instruments, strategies, closes: their product is the number of signals.
        close_every_s: wall seconds from one close to the next.
        opens_at: wall time of the first close, UTC.
    """

    instruments: int
    strategies: int
    closes: int
    close_every_s: float
    opens_at: datetime

    @property
    def signals(self) -> int:
        """How many are due in all."""
        return self.instruments * self.strategies * self.closes

    @property
    def duration_s(self) -> float:
        """Wall seconds from the first close to the last."""
        return (self.closes - 1) * self.close_every_s

    @property
    def speed(self) -> float:
        """Market seconds per wall second."""
        return LENGTH.total_seconds() / self.close_every_s

    @property
    def clock(self) -> str:
        """As the setting `MARKET_CLOCK` has it: the first candle closes when the market opens."""
        first_close = ORIGIN + LENGTH
        return f"{_iso(first_close)}@{_iso(self.opens_at)}*{self.speed!r}"

    @property
    def span(self) -> tuple[datetime, datetime]:
        """`WATCH_FROM` and `WATCH_UNTIL`, market time."""
        return ORIGIN, ORIGIN + self.closes * LENGTH

    @property
    def instrument_names(self) -> list[str]:
        """What is watched."""
        return [f"I{number:03}" for number in range(self.instruments)]

    @property
    def strategy_names(self) -> list[str]:
        """Who looks at it."""
        return [f"s{number}" for number in range(self.strategies)]

    def expected(self) -> dict[Name, Due]:
        """Every signal that is due, by what tells it from others."""
        found: dict[Name, Due] = {}
        for number in range(self.closes):
            start = _iso(ORIGIN + number * LENGTH)
            close_at = self.opens_at + timedelta(seconds=number * self.close_every_s)
            for instrument in self.instrument_names:
                for strategy in self.strategy_names:
                    found[Name(strategy, instrument, TIMEFRAME, start)] = Due(close_at)
        return found

    def watchlist(self) -> str:
        """The watchlist file."""
        lines = ["[sources.feed]", 'kind = "tests.chaos.market:EveryBar"']
        for strategy in self.strategy_names:
            lines += ["[[watch]]", f"instruments = {json.dumps(self.instrument_names)}"]
            lines += [f'timeframe = "{TIMEFRAME}"', 'source = "feed"', f'name = "{strategy}"']
            lines += ['strategy = "tests.pipeline.strategies:always_buy"']
        return "\n".join(lines) + "\n"


class EveryBar:
    """A source that has every bar at its close: what is tested is not the feed."""

    def bars(self, candle: Candle, count: int) -> Sequence[Bar]:
        """The last `count` bars up to the candle, all final."""
        starts = (candle.start - number * candle.timeframe.length for number in reversed(range(count)))
        return [Bar(start, 100, 101, 99, 100 + start.minute / 100) for start in starts]


def market_of(signals: int, per_s: float, opens_at: datetime, instruments: int = 25, strategies: int = 2) -> Market:
    """A market in which at least so many signals are due, `per_s` of them a second on average."""
    one_close = instruments * strategies
    return Market(instruments, strategies, math.ceil(signals / one_close), one_close / per_s, opens_at)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
