"""Settings: the one place that reads the environment (and ``.env``), and refuses what breaks the protocol.

Durations are seconds. Wall seconds unless it says market: under a replay clock market time runs faster.
"""

from __future__ import annotations

import os
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import parse_qsl

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from dedup.errors import InvalidInput, InvalidSetting
from dedup.keys import check_prefix
from dedup.options import DedupOptions
from dedup.rules import CandleRules, OnUnknown, SignalRules
from dedup.stores.connect import check_url
from dedup.stores.durability import Durability
from dedup.stores.fallback import Fallback
from dedup.timeframe import Timeframe
from tasks.broker import Broker, broker_of
from tasks.clock import Clock
from tasks.logs import LogFormat, secrets_in

_WITH_ZONE = "give a time with its zone, as in 2025-01-01T00:00:00Z"

MEMORY_ENTRIES = 100_000
"""Records kept in memory: an outage's candles, or all there are where `REDIS_ENABLED` is false."""

# Beyond these bounds durations are 0 ms in the store, or leave the calendar when they are taken from now.
Seconds = Annotated[float, Field(ge=0.001, le=1e10, allow_inf_nan=False)]

# Addresses may hold a user and a password, or a token.
_HIDDEN = frozenset(
    {
        *("redis_url", "celery_broker_url", "celery_result_backend"),
        *("signal_api_url", "signal_api_secret", "signal_lookup_url"),
    }
)


class Settings(BaseSettings):
    """Every setting, each read from the environment variable of its name in capitals. Empty ones count as not set."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    redis_enabled: bool = True
    redis_url: SecretStr = SecretStr("redis://localhost:6379/0")
    dedup_durability: str = "server"
    celery_broker_url: SecretStr | None = None
    celery_result_backend: SecretStr | None = None
    key_prefix: str = ""

    watchlist: Path = Path("pipeline.toml")
    market_clock: str = "real"
    watch_from: datetime | None = None
    watch_until: datetime | None = None
    horizon: Seconds = 3600.0
    candle_check_window: Seconds = 60.0
    candle_ttl: Seconds = 3600.0
    candle_time_limit: Seconds = 60.0
    candle_lease: Seconds = 75.0
    max_failures: int = Field(default=5, ge=1, le=100)

    signal_api_url: str = Field(default="", repr=False)
    signal_api_secret: SecretStr = SecretStr("")
    signal_lookup_url: str = Field(default="", repr=False)
    on_unknown: OnUnknown = OnUnknown.HOLD
    signal_fallback: Fallback = Fallback.REFUSE
    signal_ttl: Seconds = 86_400.0
    held_ttl: Seconds = 2_592_000.0
    signal_max_age: Seconds | None = None
    http_deadline: Seconds = 10.0
    publish_time_limit: Seconds = 30.0
    publish_lease: Seconds = 45.0

    sweep_interval: Seconds = 15.0
    sweep_grace: Seconds = 20.0
    visibility_timeout: Seconds = 3600.0
    heartbeat_file: Path | None = None
    log_format: LogFormat = LogFormat.CONSOLE
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65535)

    @field_validator("key_prefix")
    @classmethod
    def _prefix(cls, value: str) -> str:
        return check_prefix(value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("settings hold secrets and are not pickled: each process reads its own")

    @property
    def clock(self) -> Clock:
        """Market time; see `tasks.clock`.

        Raises:
            InvalidSetting: `MARKET_CLOCK` is no clock.
        """
        try:
            return Clock.parse(self.market_clock)
        except InvalidSetting as error:
            about = "" if error.value == self.market_clock else f"{error.what} = {error.value!r}: "
            raise InvalidSetting("MARKET_CLOCK", self.market_clock, f"{about}{error.remedy}") from None

    @property
    def broker_url(self) -> str:
        """The broker: `CELERY_BROKER_URL`, or `REDIS_URL` where that is not set."""
        return (self.celery_broker_url or self.redis_url).get_secret_value()

    @property
    def broker(self) -> Broker:
        """The broker in kombu's words.

        Raises:
            InvalidSetting: its URL is none of a broker.
        """
        return broker_of(self.broker_url, "REDIS_URL" if self.celery_broker_url is None else "CELERY_BROKER_URL")

    @property
    def longest_wait_s(self) -> float:
        """The longest wait for which a message is sent with a countdown.

        The broker delivers a message again when `VISIBILITY_TIMEOUT` has passed since it was fetched, whatever its
        countdown says.
        """
        return self.visibility_timeout / 4

    def secret_texts(self) -> frozenset[str]:
        """What no line of a log may show: signing secrets, passwords of addresses, and addresses that hold a token."""
        given = (self.redis_url, self.celery_broker_url, self.celery_result_backend)
        urls = [url.get_secret_value() for url in given if url is not None]
        addresses = (self.signal_api_url, self.signal_lookup_url)
        found = {secret for url in (*urls, *addresses) for secret in secrets_in(url)}
        # A token in a query: errors of HTTP clients quote the path with it.
        found |= {value for address in addresses for _, value in parse_qsl(address.partition("?")[2])}
        return frozenset(found.union(self.signal_api_secret.get_secret_value().split()))

    def store_options(self) -> DedupOptions:
        """How records are kept. What is DONE is asked for every time, so that a record that is deleted is missed at
        once.
        """
        return DedupOptions(
            redis_enabled=self.redis_enabled,
            redis_url=self.redis_url.get_secret_value(),
            durability=self.dedup_durability,
            key_prefix=self.key_prefix,
            signal_fallback=self.signal_fallback,
            memory_entries=MEMORY_ENTRIES,
            done_entries=0,
        )

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
            max_retry_s=self.longest_wait_s,
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
        raise _refusal(error) from None
    except UnicodeDecodeError:
        raise InvalidSetting(".env", "(hidden)", "is not UTF-8; save it as UTF-8") from None
    check_settings(settings)
    return settings


def export_variable(name: str, value: str) -> None:
    """Set a variable of this process's environment, for a library that can be told no other way."""
    os.environ[name] = value


def inherited_environment() -> dict[str, str]:
    """What a child process needs of this one's environment; none of the pipeline's own settings."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "SSL_CERT_FILE", "PYTHONPATH")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _refusal(error: ValidationError) -> InvalidSetting:
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InvalidInput):
        return InvalidSetting(cause.what, cause.value, cause.remedy)
    name = str(first["loc"][0])
    remedy = first["msg"].replace("Input should be", "must be", 1)
    if first["type"].startswith("datetime"):
        remedy = _WITH_ZONE
    return InvalidSetting(name.upper(), "(hidden)" if name in _HIDDEN else first["input"], remedy)


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
    Durability.parse(settings.dedup_durability)
    _ = settings.broker
    _check_span(settings)
    _in_order(settings, "http_deadline", "publish_time_limit", "an attempt ends before its task is killed")
    _in_order(settings, "publish_time_limit", "publish_lease", "a task is killed before its claim may be taken over")
    _in_order(settings, "candle_time_limit", "candle_lease", "a task is killed before its claim may be taken over")
    clock = settings.clock
    horizon, horizon_s = "HORIZON" if clock.is_real else "HORIZON on the wall", clock.wall_seconds(settings.horizon)
    _below(horizon, horizon_s, "SIGNAL_TTL", settings.signal_ttl, "no key may run out while its candle may be worked")
    _below("SWEEP_GRACE", settings.sweep_grace, horizon, horizon_s, "the sweep brings back what is not older than it")
    for name in ("publish_time_limit", "candle_time_limit"):
        _check_visibility(settings, name)
    if settings.on_unknown is OnUnknown.LOOKUP and not settings.signal_lookup_url:
        raise InvalidSetting("ON_UNKNOWN", "lookup", "needs SIGNAL_LOOKUP_URL, where a signal's id can be asked for")


def _check_visibility(settings: Settings, limit: str) -> None:
    least_s = 3 * getattr(settings, limit)
    if settings.visibility_timeout < least_s:
        remedy = f"must be at least 3 x {limit.upper()} = {least_s:g}: after it the broker delivers running work again"
        raise InvalidSetting("VISIBILITY_TIMEOUT", f"{settings.visibility_timeout:g}", remedy)


def _check_span(settings: Settings) -> None:
    first, last = settings.watch_from, settings.watch_until
    for name, moment in (("WATCH_FROM", first), ("WATCH_UNTIL", last)):
        if moment is not None and moment.tzinfo is None:
            raise InvalidSetting(name, moment.isoformat(), _WITH_ZONE)
    if first is not None and last is not None and first >= last:
        remedy = f"must be before WATCH_UNTIL = {last.isoformat()}: no candle closes between them"
        raise InvalidSetting("WATCH_FROM", first.isoformat(), remedy)


def _in_order(settings: Settings, lower: str, upper: str, why: str) -> None:
    _below(lower.upper(), getattr(settings, lower), upper.upper(), getattr(settings, upper), why)


def _below(lower: str, lower_s: float, upper: str, upper_s: float, why: str) -> None:
    if lower_s >= upper_s:
        raise InvalidSetting(lower, f"{lower_s:g}", f"must be below {upper} = {upper_s:g}: {why}")


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
