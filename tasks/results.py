"""Task results: small dicts that a person reads in Flower. Empty fields are left out."""

from __future__ import annotations

from typing import Any

from dedup.publish_flow import Published
from dedup.signals import Signal
from dedup.timeframe import Candle, Timeframe

Result = dict[str, Any]


def candle_result(outcome: str, candle: Candle, **more: Any) -> Result:
    """How a delivery of `evaluate_candle` ended."""
    fields = {"outcome": outcome, "instrument": candle.instrument, "timeframe": str(candle.timeframe)}
    return fields | {"candle": str(candle)} | _filled(more)


def signal_result(signal: Signal, published: Published, **more: Any) -> Result:
    """How a delivery of `publish_signal` ended."""
    span = Candle(signal.instrument, Timeframe.parse(signal.timeframe), signal.candle_start, signal.candle_close)
    fields = {"outcome": published.outcome, "instrument": signal.instrument, "timeframe": signal.timeframe}
    fields |= {"candle": str(span), "side": signal.side, "strategy": signal.strategy, "signal": signal.id}
    return fields | _filled(
        {
            "source": published.source,
            "attempt": published.attempt,
            "token": published.token,
            "status": published.status,
            "first": published.first,
            "reason": published.reason,
            **more,
        }
    )


def _filled(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "", 0, [], False)}
