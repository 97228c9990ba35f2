"""Orders whose stop and target keep a distance in average true ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Literal

import numpy as np
import talib

from dedup.errors import InvalidSetting
from tasks.bars import Bar
from tasks.strategies import params
from tasks.strategies.protocol import Order


@dataclass(frozen=True, slots=True, kw_only=True)
class AtrOrders:
    """The parameters that the shipped strategies share, and the orders made by them.

    Attributes:
        atr_period: bars that the average true range looks back, 1 or more.
        sl_atr, tp_atr: distance of the stop loss and the take profit from the entry in average true ranges; 0 leaves
            them out.
        tick: the step of prices. Entry, stop and target are multiples of it; stop and target lie one from the entry at
            least, and never below the first.
    """

    atr_period: int = 14
    sl_atr: float = 2.0
    tp_atr: float = 3.0
    tick: str | float | Decimal = "0.01"

    def check_orders(self, strategy: str) -> None:
        """Refuse parameters that make no orders.

        Raises:
            InvalidSetting: names the strategy and the parameter.
        """
        params.whole(f"{strategy}.atr_period", self.atr_period, least=1)
        params.number(f"{strategy}.sl_atr", self.sl_atr, least=0)
        params.number(f"{strategy}.tp_atr", self.tp_atr, least=0)
        params.decimal(f"{strategy}.tick", self.tick)

    def atr(self, bars: Sequence[Bar]) -> float:
        """The average true range at the last bar, over `atr_period` + 1 bars or more."""
        high, low, close = (np.array([getattr(bar, name) for bar in bars]) for name in ("high", "low", "close"))
        return float(talib.ATR(high, low, close, timeperiod=self.atr_period)[-1])

    def order(
        self, side: Literal["buy", "sell"], close: float, atr: float, confidence: float, payload: dict[str, Any]
    ) -> Order:
        """An order to enter at `close`.

        Raises:
            InvalidSetting: the tick leaves no room for a price below the entry.
        """
        tick = params.decimal("tick", self.tick)
        entry = _to_tick(close, tick)
        if entry <= tick:
            raise InvalidSetting("tick", str(tick), f"is too coarse for the price {close!r}; write a finer one")
        up = 1 if side == "buy" else -1
        stop = _level(entry, -up, self.sl_atr * atr, tick) if self.sl_atr else None
        target = _level(entry, up, self.tp_atr * atr, tick) if self.tp_atr else None
        return Order(side, entry, stop, target, round(min(1.0, max(0.0, confidence)), 4), payload)


def _level(entry: Decimal, direction: int, distance: float, tick: Decimal) -> Decimal:
    return max(tick, entry + direction * max(tick, _to_tick(distance, tick)))


def _to_tick(price: float, tick: Decimal) -> Decimal:
    steps = (Decimal(repr(float(price))) / tick).to_integral_value(rounding=ROUND_HALF_EVEN)
    # With the tick's digits, so that one price is always written in one way.
    return (steps * tick).quantize(1 + tick % 1)
