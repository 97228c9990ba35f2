"""Settings: the one place that reads the environment (and ``.env``), and refuses what breaks the protocol.

Durations are seconds. Wall seconds unless it says market: under a replay clock market time runs faster.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from dedup.errors import InvalidSetting
from dedup.keys import check_prefix
from dedup.rules import CandleRules, OnUnknown, SignalRules
from dedup.stores.connect import check_url
from dedup.timeframe import Timeframe
from tasks.clock import Clock

BROKER_SCHEMES = ("redis", "rediss", "sentinel", "amqp", "amqps", "pyamqp")


class Settings(BaseSettings):
    """Every setting, each read from the environment variable of its name in capitals."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    redis_enabled: bool = True
    redis_url: SecretStr = SecretStr("redis://localhost:6379/0")
    celery_broker_url: SecretStr | None = None
    celery_result_backend: SecretStr | None = None
    key_prefix: str = ""

    watchlist: Path = Path("pipeline.toml")
    market_clock: str = "real"
    watch_from: datetime | None = None
    watch_until: datetime | None = None
    horizon: float = Field(default=3600.0, gt=0)
    candle_check_window: float = Field(default=60.0, gt=0)
    candle_ttl: float = Field(default=3600.0, gt=0)
    candle_time_limit: float = Field(default=60.0, gt=0)
    candle_lease: float = Field(default=75.0, gt=0)
    max_failures: int = Field(default=5, ge=1, le=100)

    signal_api_url: str = ""
    signal_api_secret: SecretStr = SecretStr("")
    signal_lookup_url: str = ""
    on_unknown: OnUnknown = OnUnknown.HOLD
    signal_ttl: float = Field(default=86_400.0, gt=0)
    held_ttl: float = Field(default=2_592_000.0, gt=0)
    signal_max_age: float | None = Field(default=None, gt=0)
    http_deadline: float = Field(default=10.0, gt=0)
    publish_time_limit: float = Field(default=30.0, gt=0)
    publish_lease: float = Field(default=45.0, gt=0)

    sweep_interval: float = Field(default=15.0, gt=0)
    sweep_grace: float = Field(default=20.0, gt=0)
    visibility_timeout: float = Field(default=3600.0, gt=0)
    heartbeat_file: Path | None = None

    @field_validator("key_prefix")
    @classmethod
    def _prefix(cls, value: str) -> str:
        return check_prefix(value)

    @field_validator(
        "celery_broker_url",
        "celery_result_backend",
        "signal_max_age",
        "watch_from",
        "watch_until",
        "heartbeat_file",
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    @property
    def clock(self) -> Clock:
        """Market time; see `tasks.clock`."""
        return Clock.parse(self.market_clock)

    @property
    def broker_url(self) -> str:
        """The broker: `CELERY_BROKER_URL`, or `REDIS_URL` where that is not set."""
        return (self.celery_broker_url or self.redis_url).get_secret_value()

    def max_age_s(self, timeframe: Timeframe) -> float:
        """How long after its candle's close a signal may be posted, market seconds."""
        if self.signal_max_age is not None:
            return self.signal_max_age
        return min(timeframe.seconds / 3, 300.0)

    def candle_rules(self, timeframe: Timeframe) -> CandleRules:
        """Rules of a timeframe's candle records: kept at least twice the timeframe and the horizon."""
        ttl_s = max(self.candle_ttl, 2 * timeframe.seconds + self.horizon)
        return CandleRules(_ms(ttl_s), _ms(self.candle_lease), self.max_failures)

    def signal_rules(self) -> SignalRules:
        """Rules of signal records."""
        return SignalRules(
            ttl_ms=_ms(self.signal_ttl),
            held_ttl_ms=_ms(max(self.held_ttl, self.signal_ttl)),
            lease_ms=_ms(self.publish_lease),
            on_unknown=self.on_unknown,
            max_failures=self.max_failures,
            send_ms=_ms(self.http_deadline),
            max_retry_s=self.visibility_timeout / 4,
        )


def load_settings(**overrides: Any) -> Settings:
    """Read the environment and check it.

    Args:
        overrides: settings by name, over the environment.

    Raises:
        InvalidSetting: names the setting, its value (never a secret's) and the remedy.
    """
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        name = ".".join(str(part) for part in first["loc"]).upper()
        raise InvalidSetting(name, "(as given)", first["msg"]) from None
    check_settings(settings)
    return settings


@cache
def current_settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()


def check_settings(settings: Settings) -> None:
    """Refuse settings that are malformed or break the protocol (design.md 4).

    Raises:
        InvalidSetting: an order that does not hold names both settings and both values.
    """
    if settings.redis_enabled:
        check_url(settings.redis_url.get_secret_value())
    _check_broker(settings.broker_url)
    clock = settings.clock
    for name in ("watch_from", "watch_until"):
        _check_moment(name.upper(), getattr(settings, name))
    _in_order(settings, "http_deadline", "publish_time_limit", "an attempt ends before its task is killed")
    _in_order(settings, "publish_time_limit", "publish_lease", "a task is killed before its claim may be taken over")
    _in_order(settings, "candle_time_limit", "candle_lease", "a task is killed before its claim may be taken over")
    horizon_s = clock.wall_seconds(settings.horizon)
    _below("HORIZON", horizon_s, "SIGNAL_TTL", settings.signal_ttl, "no key may run out while its candle may be worked")
    for name in ("publish_time_limit", "candle_time_limit"):
        limit_s = 3 * getattr(settings, name)
        if settings.visibility_timeout < limit_s:
            remedy = (
                f"must be at least 3 x {name.upper()} = {limit_s:g}: the broker delivers running work again after it"
            )
            raise InvalidSetting("VISIBILITY_TIMEOUT", f"{settings.visibility_timeout:g}", remedy)


def _in_order(settings: Settings, lower: str, upper: str, why: str) -> None:
    _below(lower.upper(), getattr(settings, lower), upper.upper(), getattr(settings, upper), why)


def _below(lower: str, lower_s: float, upper: str, upper_s: float, why: str) -> None:
    if lower_s >= upper_s:
        raise InvalidSetting(lower, f"{lower_s:g}", f"must be below {upper} = {upper_s:g}: {why}")


def _check_broker(url: str) -> None:
    try:
        parts = urlsplit(url.split(";", maxsplit=1)[0])
        good = parts.scheme in BROKER_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        offered = ", ".join(f"{scheme}://" for scheme in BROKER_SCHEMES)
        raise InvalidSetting("CELERY_BROKER_URL", "(as given)", f"write one of {offered} with a host")


def _check_moment(name: str, moment: datetime | None) -> None:
    if moment is not None and moment.tzinfo is None:
        raise InvalidSetting(name, moment.isoformat(), "give a time with its zone, as in 2025-01-01T00:00:00Z")


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
