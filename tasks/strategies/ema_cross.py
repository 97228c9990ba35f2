"""Two exponential moving averages that cross."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import talib
from numpy.typing import NDArray

from dedup.errors import InvalidSetting
from tasks.bars import Bar
from tasks.strategies import params
from tasks.strategies.atr_orders import AtrOrders
from tasks.strategies.protocol import Order

# Averages of equal prices differ by rounding; less than this part of the price is no difference.
_NOISE = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class EmaCross(AtrOrders):
    """Buys when the fast average of closes crosses above the slow one, sells when it crosses below.

    Averages that touch and part again to the side they came from have not crossed. The confidence goes from
    0 to 1 with how far the bar drove the averages apart: 0.5 for what a close one average true range away from both
    would have done, 0.67 for twice as much.

    Attributes:
        fast, slow: periods in bars, 2 or more, `fast` the shorter.
        lookback: bars looked at; 0 takes four times `slow`, or what the average true range needs if that is more. An
            average never ends: at four times its period what came before weighs less than 0.1 %.

    Raises:
        InvalidSetting: names the parameter.
    """

    fast: int = 12
    slow: int = 26
    lookback: int = 0
    version: str = field(default="1", init=False)

    def __post_init__(self) -> None:
        params.whole("ema_cross.fast", self.fast, least=2)
        params.whole("ema_cross.slow", self.slow, least=3)
        self.check_orders("ema_cross")
        if self.fast >= self.slow:
            raise InvalidSetting("ema_cross.fast", self.fast, f"must be less than slow, which is {self.slow}")
        if params.whole("ema_cross.lookback", self.lookback, least=0) and self.lookback < self._least:
            remedy = f"slow = {self.slow} and atr_period = {self.atr_period} look at {self._least} bars at least"
            raise InvalidSetting("ema_cross.lookback", self.lookback, remedy)

    @property
    def warmup(self) -> int:
        """How many bars it looks at."""
        return self.lookback or max(4 * self.slow, self._least)

    @property
    def _least(self) -> int:
        return max(self.slow, self.atr_period) + 1

    def __call__(self, bars: Sequence[Bar]) -> Order | None:
        """The order that the last bar gives, or None."""
        closes = np.array([bar.close for bar in bars])
        distance = talib.EMA(closes, timeperiod=self.fast) - talib.EMA(closes, timeperiod=self.slow)
        distance = distance[self.slow - 1 :]
        distance[np.abs(distance) <= _NOISE * closes[self.slow - 1 :]] = 0.0
        side = crossing(distance)
        if side == 0:
            return None
        atr = self.atr(bars)
        pull = 2 / (self.fast + 1) - 2 / (self.slow + 1)
        driven = float(abs(distance[-1] - distance[-2])) / (pull * atr)
        payload = {"ema_distance": round(float(distance[-1]), 6), "atr": round(atr, 6)}
        return self.order("buy" if side > 0 else "sell", bars[-1].close, atr, driven / (1 + driven), payload)


def crossing(distance: NDArray[np.float64]) -> int:
    """1 where the last value is above zero and the one before it, other than zero, below; -1 the other way; else 0."""
    earlier = distance[:-1][distance[:-1] != 0]
    if earlier.size == 0:
        return 0
    now, before = np.sign(distance[-1]), np.sign(earlier[-1])
    return int(now) if now * before < 0 else 0
