"""Timeframes and candles: which span of time a candle covers.

A candle's name is its start. Times are tz-aware UTC; a naive datetime is an error, because guessing its zone moves a
candle by hours. Where boundaries lie is the matter of `dedup.alignment`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dedup.errors import InvalidCandle, InvalidTimeframe

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_PATTERN = re.compile(r"([1-9][0-9]{0,4})([smhdw])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Timeframe:
    """A length of candle, such as `15m`: a count and one of the units s, m, h, d, w."""

    count: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> Timeframe:
        """Read `<int><s|m|h|d|w>`. Case matters: `1m` is a minute, and `1M` (a month) is not offered.

        Raises:
            InvalidTimeframe: anything else.
        """
        match = _PATTERN.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise InvalidTimeframe("timeframe", text, _remedy(text))
        return cls(int(match[1]), match[2])

    @property
    def seconds(self) -> int:
        """Nominal length in seconds. Under `ny17` a day may be an hour shorter or longer."""
        return self.count * _SECONDS[self.unit]

    @property
    def length(self) -> timedelta:
        """Nominal length."""
        return timedelta(seconds=self.seconds)

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"


def _remedy(text: object) -> str:
    if isinstance(text, str) and re.fullmatch(r"[0-9]+M", text):
        return "months are not offered; a minute is written with a small m, as in 1m"
    return "write a count from 1 to 99999 and one of s, m, h, d, w, as in 30s, 15m, 4h, 1d, 1w"


def as_utc(moment: datetime, what: str) -> datetime:
    """The same moment in UTC.

    Raises:
        InvalidCandle: `moment` is naive; `what` names it in the message.
    """
    if moment.tzinfo is None or moment.utcoffset() is None:
        remedy = "give a timezone-aware datetime, such as datetime.now(timezone.utc)"
        raise InvalidCandle(what, moment.isoformat(), remedy)
    return moment.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Candle:
    """One bar's span: `start` inclusive, `close` exclusive, both tz-aware UTC. Made by `dedup.alignment`."""

    instrument: str
    timeframe: Timeframe
    start: datetime
    close: datetime

    def closed(self, now: datetime) -> bool:
        """Whether the span is over at `now`."""
        return now >= self.close

    def __str__(self) -> str:
        return f"{_short(self.start)}–{_short(self.close)}"  # noqa: RUF001 a range is written with an en dash


def _short(moment: datetime) -> str:
    if moment.microsecond:
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ" if moment.second else "%Y-%m-%dT%H:%MZ")
