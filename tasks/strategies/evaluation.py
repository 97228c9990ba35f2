"""Running a strategy, and trusting nothing about it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import get_args

from celery.exceptions import SoftTimeLimitExceeded

from dedup.errors import StrategyError
from tasks.bars import Bar
from tasks.strategies.protocol import Order, Side, Strategy

_SIDES = get_args(Side)


def evaluate(strategy: Strategy, bars: Sequence[Bar]) -> Order | None:
    """The order that `strategy` makes of `bars`, checked.

    Celery's `SoftTimeLimitExceeded` passes through: it is about the task.

    Raises:
        StrategyError: the strategy raised, or returned something that is no order, or one whose numbers do not fit
            together. It names the strategy, and the error's type and message.
    """
    name = name_of(strategy)
    try:
        order = strategy(tuple(bars))
    except (SoftTimeLimitExceeded, StrategyError):
        raise
    except Exception as error:
        raise StrategyError(f"{name} raised {type(error).__name__}: {error}") from error
    if order is None:
        return None
    wrong = _what_is_wrong(order)
    if wrong:
        raise StrategyError(f"{name} returned {wrong}")
    return order


def name_of(strategy: object) -> str:
    """What a log calls a strategy."""
    function = getattr(strategy, "function", strategy)
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _what_is_wrong(order: object) -> str:
    """What an order's receiver would object to; empty where nothing is wrong."""
    if not isinstance(order, Order):
        return f"a {type(order).__name__}: return an Order or None"
    if order.side not in _SIDES:
        return f"the side {order.side!r}: use one of {', '.join(_SIDES)}"
    for name in ("price", "stop_loss", "take_profit"):
        price = getattr(order, name)
        if (price is not None or name == "price") and not _is_price(price):
            return f"{name} = {price!r}: give a Decimal, finite and above 0"
    return _wrong_stops(order) or _wrong_confidence(order.confidence) or _wrong_payload(order.payload)


def _is_price(price: object) -> bool:
    return isinstance(price, Decimal) and price.is_finite() and price > 0


def _wrong_stops(order: Order) -> str:
    if order.side == "close":
        given = order.stop_loss is not None or order.take_profit is not None
        return "a close with stop_loss or take_profit: leave them out" if given else ""
    up = 1 if order.side == "buy" else -1
    for name, level, direction in (("stop_loss", order.stop_loss, -up), ("take_profit", order.take_profit, up)):
        if level is not None and (level - order.price) * direction <= 0:
            side = "above" if direction > 0 else "below"
            return f"{name} = {level} for a {order.side} at {order.price}: it belongs {side} the price"
    return ""


def _wrong_confidence(confidence: object) -> str:
    fits = isinstance(confidence, int | float) and not isinstance(confidence, bool) and math.isfinite(confidence)
    return "" if fits and 0 <= confidence <= 1 else f"confidence = {confidence!r}: give a number from 0 to 1"  # type: ignore[operator]


def _wrong_payload(payload: object) -> str:
    if not isinstance(payload, dict):
        return f"a payload of type {type(payload).__name__}: give a dict"
    try:
        json.dumps(payload, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return f"a payload that is no JSON: {error}"
    return ""
