"""Checks of strategy parameters."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation

from dedup.errors import InvalidSetting


def whole(what: str, value: object, *, least: int) -> int:
    """A whole number, `least` or more.

    Raises:
        InvalidSetting: anything else.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidSetting(what, value, f"write a whole number, {least} or more")
    return value


def number(what: str, value: object, *, least: float, most: float = math.inf) -> float:
    """A finite number from `least` to `most`.

    Raises:
        InvalidSetting: anything else.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        given = float(value)
        if math.isfinite(given) and least <= given <= most:
            return given
    span = f"{least:g} or more" if most == math.inf else f"from {least:g} to {most:g}"
    raise InvalidSetting(what, value, f"write a number, {span}")


def decimal(what: str, value: object) -> Decimal:
    """A decimal above 0, from a string, a number or a decimal.

    Raises:
        InvalidSetting: anything else.
    """
    if isinstance(value, str | int | float | Decimal) and not isinstance(value, bool):
        try:
            given = Decimal(str(value))
        except InvalidOperation:
            given = Decimal(0)
        if given.is_finite() and given > 0:
            return given
    raise InvalidSetting(what, value, 'write a decimal above 0, such as "0.01"')
