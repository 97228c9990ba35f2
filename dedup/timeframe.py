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

    def __post_init__(self) -> None:
        if _PATTERN.fullmatch(str(self)) is None:
            raise InvalidTimeframe("timeframe", str(self), _remedy(str(self)))

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
        InvalidCandle: `moment` is naive, no datetime, or outside the years 1 to 9999 in UTC; `what` names it in the
            message.
    """
    remedy = "give a timezone-aware datetime, such as datetime.now(timezone.utc)"
    if not isinstance(moment, datetime):
        raise InvalidCandle(what, moment, remedy)
    if moment.utcoffset() is None:
        raise InvalidCandle(what, moment.isoformat(), remedy)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidCandle(what, moment.isoformat(), "lies outside the years 1 to 9999 in UTC") from None


@dataclass(frozen=True, slots=True)
class Candle:
    """One bar's span: `start` inclusive, `close` exclusive, both tz-aware UTC. Made by `dedup.alignment`."""

    instrument: str
    timeframe: Timeframe
    start: datetime
    close: datetime

    def closed(self, now: datetime) -> bool:
        """Whether the span is over at `now`. Raises `InvalidCandle` where `now` is naive."""
        return as_utc(now, "now") >= self.close

    def __str__(self) -> str:
        start, close = _short(self.start), _short(self.close)
        day, _, time = close.partition("T")
        # On the same day the day is said once.
        return f"{start}–{time if start.startswith(day + 'T') else close}"  # noqa: RUF001 a range takes an en dash


def _short(moment: datetime) -> str:
    # strftime does not pad years below 1000.
    to_the_minute = not moment.second and not moment.microsecond
    return moment.isoformat(timespec="minutes" if to_the_minute else "auto").replace("+00:00", "Z")
