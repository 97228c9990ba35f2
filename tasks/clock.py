"""Market time: the wall clock, or a clock that replays recorded bars as fast as you like.

Everything that asks what time it is asks a `Clock`, so that a day of recorded bars can pass in a second. Written as a
setting a clock is `real`, or `<market origin>@<wall origin>*<speed>`::

    2012-09-10T00:00:00Z@2026-11-22T21:30:00Z*86400

At 21:30:00 on the wall it is midnight of 10 September 2012 in the market, one second later it is midnight of the 11th.
Every process that is given the same text agrees on the time. `*<speed>` may be left out and is then 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import mul, truediv

from dedup.errors import InvalidCandle, InvalidSetting
from dedup.timeframe import as_utc

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REAL = "real"
_EXAMPLE = "2012-09-10T00:00:00Z@2026-11-22T21:30:00Z*86400"
_FORMAT = f"write {_REAL}, or <market origin>@<wall origin>*<speed>, as in {_EXAMPLE}"


def _wall_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Clock:
    """Maps wall time to market time: `market = market_origin + (wall - wall_origin) * speed`.

    Attributes:
        wall_origin, market_origin: the same moment on both clocks, tz-aware; kept in UTC.
        speed: market seconds per wall second, finite and above zero.
        wall_now: what reads the wall clock. Two clocks that differ in nothing else are equal.

    `Clock()` is real time. Results are rounded to a microsecond, so a market moment that went through the wall and
    back may be off by as many microseconds as `speed`.

    Raises:
        InvalidSetting: a naive origin, or a speed that is none.
    """

    wall_origin: datetime = _EPOCH
    market_origin: datetime = _EPOCH
    speed: float = 1.0
    wall_now: Callable[[], datetime] = field(default=_wall_now, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("wall_origin", "market_origin"):
            try:
                object.__setattr__(self, name, as_utc(getattr(self, name), f"clock {name}"))
            except InvalidCandle as error:
                raise InvalidSetting(error.what, error.value, error.remedy) from None
        if not (math.isfinite(self.speed) and self.speed > 0):
            remedy = "market seconds per wall second: give a finite number above zero"
            raise InvalidSetting("clock speed", str(self.speed), remedy)

    @classmethod
    def parse(cls, text: str, wall_now: Callable[[], datetime] = _wall_now) -> Clock:
        """Read what `str()` of a clock writes.

        Raises:
            InvalidSetting: anything else.
        """
        if text.strip() == _REAL:
            return cls(wall_now=wall_now)
        market, _, rest = text.strip().partition("@")
        wall, times, speed = rest.partition("*")
        try:
            origins = datetime.fromisoformat(wall.strip()), datetime.fromisoformat(market.strip())
            factor = float(speed) if times else 1.0
        except ValueError:
            raise InvalidSetting("clock", text, _FORMAT) from None
        return cls(*origins, factor, wall_now)

    def __str__(self) -> str:
        if self == Clock():
            return _REAL
        speed = repr(self.speed).removesuffix(".0")
        return f"{_iso(self.market_origin)}@{_iso(self.wall_origin)}*{speed}"

    @property
    def is_real(self) -> bool:
        """Whether market time is wall time."""
        return self.speed == 1 and self.wall_origin == self.market_origin

    def now(self) -> datetime:
        """The market time, UTC."""
        return self.market(self.wall_now())

    def market(self, wall: datetime) -> datetime:
        """The market time at that wall time, UTC."""
        return self._mapped(wall, self.wall_origin, self.market_origin, mul, "wall time")

    def wall(self, market: datetime) -> datetime:
        """The wall time at that market time, UTC."""
        return self._mapped(market, self.market_origin, self.wall_origin, truediv, "market time")

    def seconds_until(self, market: datetime) -> float:
        """Wall seconds until that market time; negative when it is past."""
        return (self.wall(market) - as_utc(self.wall_now(), "wall time")).total_seconds()

    def wall_seconds(self, market_seconds: float) -> float:
        """How long so many market seconds last on the wall."""
        return market_seconds / self.speed

    def _mapped(
        self,
        moment: datetime,
        origin: datetime,
        onto: datetime,
        scaled: Callable[[timedelta, float], timedelta],
        what: str,
    ) -> datetime:
        elapsed = as_utc(moment, what) - origin
        try:
            return onto + scaled(elapsed, self.speed)
        except OverflowError:
            remedy = f"leaves the years 1 to 9999 at {moment.isoformat()}; set other origins or a lower speed"
            raise InvalidSetting("clock", str(self), remedy) from None


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
