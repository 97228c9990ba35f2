"""What the library is told once: where Redis is, how long records live, where signals go.

The library reads no environment. A program says what it wants, once and early::

    dedup.configure(redis_url="redis://cache:6379/0", signal_api_url="https://api.example.com/signals")

and `get_candle_cache()` and its siblings go by it. Or it hands `DedupOptions` to each of them and configures nothing.
Without either, the defaults hold: a Redis on localhost, and no address to post signals to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, TypeVar

from dedup.breaker import BreakerRules
from dedup.delivery_options import DeliveryOptions
from dedup.errors import InvalidInput, InvalidSetting
from dedup.http_outcome import shown_url
from dedup.keys import check_prefix
from dedup.observer import Observer
from dedup.rules import CandleRules, OnUnknown, SignalRules
from dedup.stores.connect import check_url, redact
from dedup.stores.durability import Durability
from dedup.stores.fallback import Fallback

E = TypeVar("E", bound=StrEnum)

_SHOWN = {"redis_url": redact, "signal_api_url": shown_url, "signal_lookup_url": shown_url}


@dataclass(frozen=True, slots=True, repr=False)
class DedupOptions:
    """Every option of the library. No repr and no error shows a secret.

    Attributes:
        redis_enabled: False keeps all records in this process's memory: right for one process only.
        redis_url: one server, the primary behind Sentinels, or a Cluster; `dedup.stores.address` lists the forms.
        durability: what the record of a signal waits for: `server`, `aof` or `replicas:N`; see
            `dedup.stores.durability`.
        key_prefix: separates deployments that share a server.
        candle_check_window_s: for how long after a candle's close a trigger counts as on time; a later one is worked as
            catch-up.
        candle_ttl_s: how long a candle's record is kept; at least two timeframes, whatever is given.
        candle_lease_s: how long a claim made through `dedup.cache.CandleCache.claim` is held.
        candle_fallback: what happens to candles while Redis is away.
        signal_ttl_s: how long a signal's record is kept.
        held_ttl_s: how long a signal that is HELD is kept for a person.
        publish_lease_s: after how long another publisher may take a signal over. Longer than `http_deadline_s`.
        signal_fallback: what happens to signals while Redis is away. `memory` may post a signal twice: once here, once
            by another process or after a restart.
        on_unknown: what follows when nobody knows whether a signal was posted.
        max_failures: attempts that may fail or die before a candle is given up, or a signal HELD.
        signal_api_url: signals are posted there.
        signal_api_secret: Standard Webhooks secrets, separated by white space. Empty does not sign.
        signal_lookup_url: where a GET tells whether the API has an id. Empty where there is no such place.
        http_deadline_s: for one attempt, from name resolution to the last byte of the reply.
        memory_entries: bound on the records kept in memory.
        done_entries: bound on the keys that are remembered as DONE so that duplicates cost no round trip; 0 remembers
            none.
        done_age_s: for how long they are remembered.
        breaker: how long a Redis that failed is left alone.
        observer: is told what happens, for counting it; see `dedup.observer`.

    Raises:
        InvalidSetting: names the option, the value and the remedy.
    """

    redis_enabled: bool = True
    redis_url: str = "redis://localhost:6379/0"
    durability: str = "server"
    key_prefix: str = ""
    candle_check_window_s: float = 60.0
    candle_ttl_s: float = 3600.0
    candle_lease_s: float = 75.0
    candle_fallback: Fallback = Fallback.MEMORY
    signal_ttl_s: float = 86_400.0
    held_ttl_s: float = 2_592_000.0
    publish_lease_s: float = 45.0
    signal_fallback: Fallback = Fallback.REFUSE
    on_unknown: OnUnknown = OnUnknown.HOLD
    max_failures: int = 5
    signal_api_url: str = ""
    signal_api_secret: str = ""
    signal_lookup_url: str = ""
    http_deadline_s: float = 10.0
    memory_entries: int = 1_000
    done_entries: int = 1000
    done_age_s: float = 60.0
    breaker: BreakerRules = field(default_factory=BreakerRules)
    observer: Observer | None = None

    def __post_init__(self) -> None:
        for name, kind in (("candle_fallback", Fallback), ("signal_fallback", Fallback), ("on_unknown", OnUnknown)):
            object.__setattr__(self, name, _member(name, kind, getattr(self, name)))
        for name in (each.name for each in fields(self) if each.name.endswith("_s")):
            _check_seconds(name, getattr(self, name))
        for name, least in (("max_failures", 1), ("memory_entries", 1), ("done_entries", 0)):
            _check_count(name, getattr(self, name), least)
        _check_prefix(self.key_prefix)
        Durability.parse(self.durability, "durability")
        if self.redis_enabled:
            check_url(self.redis_url)
        if self.http_deadline_s >= self.publish_lease_s:
            remedy = (
                f"must be below publish_lease_s = {self.publish_lease_s:g}: an attempt ends before it is taken over"
            )
            raise InvalidSetting("http_deadline_s", f"{self.http_deadline_s:g}", remedy)

    def __repr__(self) -> str:
        shown = []
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "signal_api_secret" and value:
                value = "***"
            shown.append(f"{each.name}={_SHOWN.get(each.name, lambda same: same)(value)!r}")
        return f"DedupOptions({', '.join(shown)})"

    def candle_rules(self) -> CandleRules:
        """Rules of candle records."""
        return CandleRules(_ms(self.candle_ttl_s), _ms(self.candle_lease_s), self.max_failures)

    def signal_rules(self) -> SignalRules:
        """Rules of signal records."""
        return SignalRules(
            ttl_ms=_ms(self.signal_ttl_s),
            held_ttl_ms=_ms(max(self.held_ttl_s, self.signal_ttl_s)),
            lease_ms=_ms(self.publish_lease_s),
            on_unknown=self.on_unknown,
            max_failures=self.max_failures,
            send_ms=_ms(self.http_deadline_s),
        )

    def delivery(self) -> DeliveryOptions:
        """How signals are sent.

        Raises:
            InvalidSetting: an address is missing or malformed.
        """
        if not self.signal_api_url:
            remedy = "say dedup.configure(signal_api_url=…), or hand the publisher a delivery"
            raise InvalidSetting("signal_api_url", "", remedy)
        if self.on_unknown is OnUnknown.LOOKUP and not self.signal_lookup_url:
            raise InvalidSetting(
                "on_unknown", "lookup", "needs signal_lookup_url, where a signal's id can be asked for"
            )
        return DeliveryOptions(
            url=self.signal_api_url,
            secrets=self.signal_api_secret,
            lookup_url=self.signal_lookup_url or None,
            deadline_s=self.http_deadline_s,
        )


class _Configured:
    """What `configure` set for this process."""

    def __init__(self) -> None:
        self.options = DedupOptions()


def configure(options: DedupOptions | None = None, **changes: Any) -> DedupOptions:
    """Set the options of this process, all of them, and say what they are now.

    What an earlier call set is gone: call it once. What was made before keeps the options that it was made with.
    Nothing connects.

    Args:
        options: what to start from; by default the defaults.
        changes: options by name, over those.

    Raises:
        InvalidSetting: an option that there is not, or a value that cannot be.
    """
    base = DedupOptions() if options is None else options
    known = [each.name for each in fields(DedupOptions)]
    for name in changes:
        if name not in known:
            raise InvalidSetting(name, "(as given)", f"there is no such option; there are {', '.join(known)}")
    _here.options = replace(base, **changes)
    return _here.options


def configured() -> DedupOptions:
    """The options of this process."""
    return _here.options


def _member(name: str, kind: type[E], value: object) -> E:
    try:
        return kind(str(value))
    except ValueError:
        raise InvalidSetting(name, value, f"write one of {', '.join(kind)}") from None


def _check_seconds(name: str, seconds: object) -> None:
    good = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not (good and math.isfinite(seconds) and seconds > 0):  # type: ignore[arg-type, operator]
        raise InvalidSetting(name, seconds, "give a positive number of seconds")


def _check_prefix(prefix: str) -> None:
    try:
        check_prefix(prefix)
    except InvalidInput as error:
        raise InvalidSetting("key_prefix", error.value, error.remedy) from None


def _check_count(name: str, count: object, least: int) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or count < least:
        raise InvalidSetting(name, count, f"give a whole number from {least} on")


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


_here = _Configured()
