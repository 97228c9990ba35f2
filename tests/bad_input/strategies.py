"""Strategies that return rubbish, or raise until a test mends them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from math import nan
from pathlib import Path
from typing import Any

from tasks.bars import Bar
from tasks.strategies.protocol import Order

GOOD = Order("buy", Decimal("100"), Decimal("99"), Decimal("102"))


def order(**wrong: Any) -> Callable[[], Any]:
    """An order with something wrong about it."""
    return lambda: replace(GOOD, **wrong)


def fail(error: BaseException) -> Callable[[], Any]:
    """No order at all."""

    def raising() -> Any:
        raise error

    return raising


RUBBISH: Mapping[str, tuple[Callable[[], Any], str]] = {
    "WORD": (lambda: "buy", "returned a str: return an Order or None"),
    "TABLE": (lambda: {"side": "buy"}, "returned a dict: return an Order or None"),
    "TRUTH": (lambda: True, "returned a bool: return an Order or None"),
    "SIDE": (order(side="long"), "returned the side 'long': use one of buy, sell, close"),
    "FLOAT": (order(price=100.5), "returned price = 100.5: give a Decimal, finite and above 0"),
    "NAN": (order(price=Decimal("NaN")), "returned price = Decimal('NaN'): give a Decimal, finite and above 0"),
    "FREE": (order(price=Decimal(0)), "returned price = Decimal('0'): give a Decimal, finite and above 0"),
    "STOP": (order(stop_loss=Decimal("101")), "returned stop_loss = 101 for a buy at 100: it belongs below the price"),
    "TARGET": (
        order(take_profit=Decimal("90")),
        "returned take_profit = 90 for a buy at 100: it belongs above the price",
    ),
    "SURE": (order(confidence=1.5), "returned confidence = 1.5: give a number from 0 to 1"),
    "UNSURE": (order(confidence=nan), "returned confidence = nan: give a number from 0 to 1"),
    "PAYLOAD": (order(payload={"when": {1, 2}}), "returned a payload that is no JSON: Object of type set"),
    "RAISES": (fail(IndexError("list index out of range")), "raised IndexError: list index out of range"),
    "RECURSES": (fail(RecursionError("too deep")), "raised RecursionError: too deep"),
    "EXHAUSTS": (fail(MemoryError()), "raised MemoryError"),
}
"""By name: what the strategy does, and what is said about it."""


def rubbish(bars: Sequence[Bar], what: str) -> Any:
    """Never an order."""
    return RUBBISH[what][0]()


def recovers(bars: Sequence[Bar], mended: str) -> Order:
    """Raises until a file exists."""
    if not Path(mended).exists():
        raise ZeroDivisionError("no volume yet")
    return GOOD
