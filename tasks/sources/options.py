"""Checks of the options that the shipped sources share."""

from __future__ import annotations

import math
from collections.abc import Mapping

from dedup.errors import InvalidSetting


def string(what: str, value: object) -> str:
    """A non-empty string.

    Raises:
        InvalidSetting: anything else.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidSetting(what, value, "write a non-empty string")
    return value


def choice(what: str, value: object, offered: tuple[str, ...]) -> str:
    """One of the strings offered.

    Raises:
        InvalidSetting: anything else.
    """
    if not isinstance(value, str) or value not in offered:
        raise InvalidSetting(what, value, f"write one of {', '.join(offered)}")
    return value


def number(what: str, value: object, *, least: float, above: bool = False) -> float:
    """A finite number, at least `least`, or above it.

    Raises:
        InvalidSetting: anything else.
    """
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or value < least or (above and value == least):  # type: ignore[operator]
        raise InvalidSetting(what, value, f"write a number {'above' if above else 'not below'} {least:g}")
    return float(value)  # type: ignore[arg-type]


def texts(what: str, value: object) -> dict[str, str]:
    """A table of strings; None is an empty one.

    Raises:
        InvalidSetting: anything else. The message shows keys and no values, as a table may hold secrets.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidSetting(what, f"a {type(value).__name__}", "write a table of strings")
    for key, text in value.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise InvalidSetting(f"{what}.{key}", f"a {type(text).__name__}", "write a string")
    return dict(value)
