"""Reading the times that feeds write."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from dedup.errors import InvalidSetting, SourceError
from tasks.sources import options

FORMS = ("auto", "iso", "s", "ms")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?", re.ASCII)
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000}
# Seconds from 1973 to 2286 and milliseconds of the same years do not overlap. Smaller numbers, such as 20120518, are no
# epoch that anybody writes.
_AUTO = (("s", 10**8, 10**10), ("ms", 10**11, 10**13))


@dataclass(frozen=True, slots=True)
class Moments:
    """How a feed writes times.

    Attributes:
        form: `iso`, `s` or `ms` since 1970, or `auto` to tell them apart by their looks.
        zone: the zone of ISO times that carry none; None refuses them.
    """

    form: str = "auto"
    zone: ZoneInfo | None = None

    @classmethod
    def from_options(cls, source: str, form: object, timezone: object) -> Moments:
        """From a source's options `time` and `timezone`.

        Raises:
            InvalidSetting: an unknown form or zone.
        """
        return cls(options.choice(f"{source}.time", form, FORMS), _zone(f"{source}.timezone", timezone))

    def read(self, value: object) -> datetime:
        """The moment that `value` names, in UTC.

        Raises:
            SourceError: `value` is no time in this form, or one without a zone.
        """
        number = _number(value)
        if number is not None and self.form != "iso":
            return _from_epoch(number, self._unit(number))
        if not isinstance(value, str) or self.form not in {"auto", "iso"}:
            raise SourceError(f"{value!r} is no time in the form {self.form!r}")
        return self._from_iso(value.strip())

    def _unit(self, number: Decimal) -> str:
        if self.form != "auto":
            return self.form
        for unit, low, high in _AUTO:
            if low <= number < high:
                return unit
        raise SourceError(f"cannot tell what time {number} is; set the source's option time to one of iso, s, ms")

    def _from_iso(self, text: str) -> datetime:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise SourceError(f"{text!r} is no ISO-8601 time") from None
        if moment.tzinfo is not None:
            return _in_utc(moment, text)
        if self.zone is None:
            raise SourceError(f'{text!r} has no zone; set the source\'s option timezone, such as timezone = "UTC"')
        local = moment.replace(tzinfo=self.zone)
        if local.utcoffset() != local.replace(fold=1).utcoffset():
            raise SourceError(f"{text!r} is no single moment in {self.zone.key}, because the clocks change there")
        return _in_utc(local, text)


def _in_utc(moment: datetime, text: str) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise SourceError(f"{text!r} lies outside the years 1 to 9999") from None


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, float):
        value = repr(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return Decimal(value.strip())
    return None


def _from_epoch(number: Decimal, unit: str) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=int(number * _MICROSECONDS[unit]))
    except OverflowError:
        raise SourceError(f"{number} {unit} since 1970 is out of range") from None


def _zone(what: str, name: object) -> ZoneInfo | None:
    if name is None:
        return None
    try:
        return ZoneInfo(options.string(what, name))
    except (KeyError, ValueError, OSError):
        raise InvalidSetting(what, name, "write a zone's name, such as UTC or America/New_York") from None
