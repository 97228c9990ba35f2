"""From a row of a feed to a bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dedup.errors import InvalidSetting, SourceError
from tasks.bars import Bar
from tasks.sources.moments import Moments

NEEDED = ("start", "open", "high", "low", "close")
NAMES = (*NEEDED, "volume", "final")

ALIASES = {
    "start": ("start", "time", "timestamp", "datetime", "date", "open time", "opentime", "t", "ts"),
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c"),
    "volume": ("volume", "vol", "v"),
    "instrument": ("instrument", "symbol", "ticker"),
}
"""What each field is commonly called, in lower case with blanks for underscores."""

Place = tuple[str | int, ...]
"""Where in a row a value is: keys and indexes, outermost first."""


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reads one row, a list or an object as JSON has them.

    Attributes:
        places: where each field is. `volume` and `final` may be missing.
        moments: how times are written.
        final_value: what the field `final` holds for a final bar. True also takes 1, "true" and "1".
    """

    places: Mapping[str, Place]
    moments: Moments
    final_value: object = True

    def bar(self, row: Any) -> Bar | None:
        """The bar, or None where all four prices are null or empty, as some feeds write a span without trades.

        Its prices are not judged here; `tasks.bars.check_bars` does. `final` is True where the row has no such field.

        Raises:
            SourceError: a field is missing, or is no time or number.
        """
        prices = [_pick(row, name, self.places[name]) for name in NEEDED[1:]]
        if all(price is None or price == "" for price in prices):
            return None
        start = self.moments.read(_pick(row, "start", self.places["start"]))
        opened, high, low, close = (_number(n, p) for n, p in zip(NEEDED[1:], prices, strict=True))
        return Bar(start, opened, high, low, close, self._volume(row), self._final(row))

    def _volume(self, row: Any) -> float:
        volume = _pick(row, "volume", self.places["volume"]) if "volume" in self.places else None
        return 0.0 if volume is None or volume == "" else _number("volume", volume)

    def _final(self, row: Any) -> bool:
        if "final" not in self.places:
            return True
        flag = _pick(row, "final", self.places["final"])
        if self.final_value is True:
            return flag is True or str(flag).strip().lower() in {"true", "1"}
        return bool(flag == self.final_value)


def place_of(what: str, given: object) -> Place:
    """Where a field is, from an option: an index, a key, keys and indexes with dots between, or a list of those.

    A key that has a dot in it is written as a list: `["1. open"]`.

    Raises:
        InvalidSetting: neither a non-empty string nor an index nor a list of them.
    """
    if isinstance(given, list) and given and all(_is_part(part) for part in given):
        return tuple(given)
    if isinstance(given, int) and _is_part(given):
        return (given,)
    if isinstance(given, str) and all(given.split(".")):
        return tuple(int(part) if part.isdecimal() else part for part in given.split("."))
    raise InvalidSetting(what, given, "write a key such as close or mid.c, or an index counted from 0")


def _is_part(part: object) -> bool:
    return (isinstance(part, str) and bool(part)) or (type(part) is int and part >= 0)


def detect(names: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """Which of `names` hold the `wanted` fields, by what those are commonly called. Those not found are left out.

    Raises:
        SourceError: two names fit one field.
    """
    found: dict[str, str] = {}
    for field in wanted:
        fitting = [name for name in names if _plain(name) in ALIASES.get(field, ())]
        if len(fitting) > 1:
            raise SourceError(f"both {fitting[0]!r} and {fitting[1]!r} may be the {field}; name the one to read")
        if fitting:
            found[field] = fitting[0]
    return found


def _plain(name: str) -> str:
    return name.strip().strip("<>").replace("_", " ").lower()


def _pick(row: Any, field: str, place: Place) -> Any:
    value = row
    for part in place:
        try:
            value = value[part] if isinstance(value, list) == isinstance(part, int) else value[str(part)]
        except (KeyError, IndexError, TypeError):
            where = ".".join(str(p) for p in place)
            raise SourceError(f"a row has no {field} at {where!r}: {repr(row)[:200]}") from None
    return value


def _number(field: str, value: object) -> float:
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    raise SourceError(f"{field} {value!r} is no number")
