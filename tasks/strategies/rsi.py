"""A relative strength index that comes back from an extreme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import talib
from numpy.typing import NDArray

from dedup.errors import InvalidSetting
from tasks.bars import Bar
from tasks.strategies import params
from tasks.strategies.atr_orders import AtrOrders
from tasks.strategies.protocol import Order

_NEUTRAL = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RsiReversal(AtrOrders):
    """Buys when the index comes back above `low`, sells when it comes back below `high`.

    The confidence goes from 0.5 to 1 with how far beyond the level the index has been just before.

    Attributes:
        period: bars that the index looks back, 2 or more.
        low, high: levels, 0 < low < high < 100.
        lookback: bars looked at; 0 takes eight times `period`, or what the average true range needs if that is more.
            The index never ends: at eight times its period what came before weighs less than 0.1 %.

    Raises:
        InvalidSetting: names the parameter.
    """

    period: int = 14
    low: float = 30.0
    high: float = 70.0
    lookback: int = 0
    version: str = field(default="1", init=False)

    def __post_init__(self) -> None:
        params.whole("rsi.period", self.period, least=2)
        params.number("rsi.low", self.low, least=1, most=99)
        params.number("rsi.high", self.high, least=1, most=99)
        self.check_orders("rsi")
        if self.low >= self.high:
            raise InvalidSetting("rsi.low", self.low, f"must be less than high, which is {self.high}")
        if params.whole("rsi.lookback", self.lookback, least=0) and self.lookback < self._least:
            remedy = f"period = {self.period} and atr_period = {self.atr_period} look at {self._least} bars at least"
            raise InvalidSetting("rsi.lookback", self.lookback, remedy)

    @property
    def warmup(self) -> int:
        """How many bars it looks at."""
        return self.lookback or max(8 * self.period, self._least)

    @property
    def _least(self) -> int:
        return max(self.period + 2, self.atr_period + 1)

    def __call__(self, bars: Sequence[Bar]) -> Order | None:
        """The order that the last bar gives, or None."""
        index = self._index(np.array([bar.close for bar in bars]))
        now, before = index[-1], index[-2]
        if before < self.low <= now:
            beyond = (self.low - _extreme(index[:-1] < self.low, index[:-1])) / self.low
            return self._order("buy", bars, float(now), float(beyond))
        if before > self.high >= now:
            beyond = (_extreme(index[:-1] > self.high, index[:-1]) - self.high) / (100 - self.high)
            return self._order("sell", bars, float(now), float(beyond))
        return None

    def _index(self, closes: NDArray[np.float64]) -> NDArray[np.float64]:
        index = talib.RSI(closes, timeperiod=self.period)
        # Where no price has moved yet TA-Lib says 0, which is the strongest fall there is.
        unmoved = np.maximum.accumulate(closes) == np.minimum.accumulate(closes)
        index[unmoved] = _NEUTRAL
        return np.asarray(index[self.period :])

    def _order(self, side: Literal["buy", "sell"], bars: Sequence[Bar], index: float, beyond: float) -> Order:
        atr = self.atr(bars)
        payload = {"rsi": round(index, 4), "atr": round(atr, 6)}
        return self.order(side, bars[-1].close, atr, 0.5 + beyond / 2, payload)


def _extreme(outside: NDArray[np.bool_], index: NDArray[np.float64]) -> float:
    """The farthest value of the last unbroken run outside the level."""
    inside = np.flatnonzero(~outside)
    run = index[inside[-1] + 1 :] if inside.size else index
    return float(run[np.argmax(np.abs(run - _NEUTRAL))])
