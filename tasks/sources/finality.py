"""When a bar's values will not change any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dedup.errors import InvalidSetting
from dedup.timeframe import Candle
from tasks.bars import Bar
from tasks.sources import options

RULES = ("flag", "successor", "settle")


@dataclass(frozen=True, slots=True)
class Finality:
    """How to tell that a bar is final.

    Attributes:
        rule: `flag`: the feed says so, bar by bar. `successor`: a later bar exists. `settle`: its close lies `settle_s`
            seconds back.
        settle_s: seconds that the feed takes to settle; only for `settle`.
    """

    rule: str
    settle_s: float = 0.0

    @classmethod
    def from_options(cls, source: str, rule: object, settle_s: object) -> Finality:
        """From a source's options `finality` and `settle_s`.

        Raises:
            InvalidSetting: an unknown rule, or seconds where the rule is not `settle`, or none where it is.
        """
        name = options.choice(f"{source}.finality", rule, RULES)
        if name == "settle":
            return cls(name, options.number(f"{source}.settle_s", settle_s, least=0))
        if settle_s is not None:
            raise InvalidSetting(f"{source}.settle_s", settle_s, f'goes with finality = "settle", not "{name}"')
        return cls(name)

    def mark(self, bars: Sequence[Bar], candle: Candle, now: datetime) -> list[Bar]:
        """The same bars, each saying whether it is final at `now`.

        Args:
            bars: oldest first; under `flag` they say already whether they are final.
            candle: the candle in question, whose exact close is known. Others close one timeframe after their start.
            now: the source's clock.
        """
        if self.rule == "flag":
            return list(bars)
        if self.rule == "successor":
            newest = max((bar.start for bar in bars), default=None)
            return [replace(bar, final=bar.start != newest) for bar in bars]
        settled = now - timedelta(seconds=self.settle_s)
        return [replace(bar, final=close_of(bar, candle) <= settled) for bar in bars]


def close_of(bar: Bar, candle: Candle) -> datetime:
    """When a bar of the candle's instrument and timeframe closes: nominally, and exactly for the candle itself."""
    return candle.close if bar.start == candle.start else bar.start + candle.timeframe.length
