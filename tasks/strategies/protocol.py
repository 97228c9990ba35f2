"""What a strategy is: a function of closed bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, Protocol

from tasks.bars import Bar

Side = Literal["buy", "sell", "close"]


@dataclass(frozen=True, slots=True)
class Order:
    """What a strategy wants done. The pipeline turns it into a `Signal` with an id, times and an expiry.

    Attributes:
        side: buy, sell or close.
        price: entry price.
        stop_loss, take_profit: on the right side of the entry (buy: below and above; sell: above and below).
        confidence: 0 to 1.
        payload: anything JSON that the API should receive beside it.
    """

    side: Side
    price: Decimal
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    confidence: float = 1.0
    payload: dict[str, Any] = field(default_factory=dict)


class Strategy(Protocol):
    """A function of closed bars. It must be pure: the same bars give the same order, so that a redone candle gives
    the same signal. The shipped ones are frozen dataclasses whose fields are the parameters from the watchlist.
    """

    @property
    def version(self) -> str:
        """Sent with every signal. Change it when the rules change. An attribute will do."""
        ...

    @property
    def warmup(self) -> int:
        """How many bars the strategy looks at: it gets exactly the last `warmup` bars, the closed candle the last."""
        ...

    def __call__(self, bars: Sequence[Bar]) -> Order | None:
        """The order that these bars ask for, or None."""
        ...
