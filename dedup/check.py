"""Which candle a trigger is for, and what to say about it: the pure part of `CandleDetector`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from dedup.alignment import Alignment, last_closed
from dedup.cache_base import BaseCandleCache
from dedup.errors import InvalidCandle, InvalidInput
from dedup.flows import Flow
from dedup.keys import normalize_instrument
from dedup.ops import Answer, Claimed, Complete, Release
from dedup.options import configured
from dedup.rules import CandleRules, new_token
from dedup.signals import canonical_json
from dedup.stores.protocol import AsyncStore, Store
from dedup.timeframe import Candle, Timeframe, as_utc

S = TypeVar("S", bound=Store | AsyncStore)

EXPIRED = "expired"
log = logging.getLogger("dedup.candles")


@dataclass(frozen=True, slots=True)
class CandleCheck:
    """What a detector said about one trigger.

    Attributes:
        candle: the candle that the trigger is for: the last one that was closed by then.
        key: its record.
        answer: ``acquired``: work it, it is this caller's. ``duplicate``: it was worked. ``busy``: another caller has
            it. ``expired``: it is older than the horizon, and nothing was asked. ``unknown``: somebody left a doubt
            under its key.
        late_s: seconds from the candle's close to the trigger.
        on_time: whether that is within the check window. What is not is worked all the same, as catch-up.
        source: who answered: ``redis``, ``memory`` or ``local``; empty where nothing was asked.
        attempt: how many callers have had the candle, this one included.
        outcome: with ``duplicate``: how it ended.
        token: with ``acquired``: proves to `complete` and `release` that it is this caller's.
    """

    candle: Candle
    key: str
    answer: str
    late_s: float
    on_time: bool
    source: str = ""
    attempt: int = 0
    outcome: str = ""
    token: str = ""

    @property
    def process(self) -> bool:
        """Whether this caller is to work the candle."""
        return self.answer == Answer.ACQUIRED

    @property
    def catch_up(self) -> bool:
        """Whether it is to be worked late."""
        return self.process and not self.on_time


def taken_as_utc(timestamp: datetime) -> datetime:
    """The timestamp; a naive one is UTC, as `datetime.utcnow()` gives it and the seed's callers pass it."""
    if isinstance(timestamp, datetime) and timestamp.utcoffset() is None:
        return timestamp.replace(tzinfo=UTC)
    return timestamp


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class BaseDetector(Generic[S]):
    """What the blocking and the awaited detector have in common: everything but the waiting."""

    def __init__(
        self,
        cache: BaseCandleCache[S],
        check_window_s: float | None,
        lease_s: float | None,
        horizon_s: float | None,
        alignment: Alignment,
        now: Callable[[], datetime],
    ) -> None:
        self._cache = cache
        self._window_s = configured().candle_check_window_s if check_window_s is None else check_window_s
        self._lease_s, self._horizon_s = lease_s, horizon_s
        self._alignment, self._now = alignment, now
        for name, seconds in (("check_window_s", self._window_s), ("lease_s", lease_s), ("horizon_s", horizon_s)):
            if seconds is not None and not seconds > 0:
                raise InvalidInput(name, seconds, "give a positive number of seconds")

    def _checking(self, instrument: str, timeframe: Timeframe | str, timestamp: datetime) -> Flow[CandleCheck]:
        check = self._unasked(instrument, timeframe, timestamp)
        if check.answer == EXPIRED:
            return check
        token = new_token()
        claimed: Claimed = yield self._cache.store.run(self._rules(check.candle).claim(check.key, token))
        return _said(replace(check, token=token), claimed)

    def _unasked(self, instrument: str, timeframe: Timeframe | str, timestamp: datetime) -> CandleCheck:
        tf = timeframe if isinstance(timeframe, Timeframe) else Timeframe.parse(timeframe)
        moment = as_utc(timestamp, "timestamp")
        candle = last_closed(self._alignment, normalize_instrument(instrument), tf, moment)
        late_s, past_s = ((one - candle.close).total_seconds() for one in (moment, as_utc(self._now(), "now")))
        if past_s < -self._window_s:
            remedy = f"lies in the future: its candle closes in {-past_s:.0f} s; check the clocks"
            raise InvalidCandle("timestamp", moment.isoformat(), remedy)
        key = self._cache.key(instrument, tf, candle.start)
        old = self._horizon_s is not None and past_s > self._horizon_s
        return CandleCheck(candle, key, EXPIRED if old else "", late_s, late_s <= self._window_s)

    def _rules(self, candle: Candle) -> CandleRules:
        rules = self._cache.rules
        ttl_ms = max(rules.ttl_ms, 2000 * candle.timeframe.seconds)
        return replace(rules, ttl_ms=ttl_ms, lease_ms=ttl_ms if self._lease_s is None else int(self._lease_s * 1000))

    def _completion(self, check: CandleCheck, outcome: str, value: Any, reason: str) -> Complete:
        text = "" if value is None else canonical_json(value).decode()
        return self._rules(check.candle).complete(check.key, _held(check), outcome, text, reason)

    def _release(self, check: CandleCheck, reason: str, failed: bool) -> Release:
        return self._rules(check.candle).release(check.key, _held(check), reason, failed=failed)


def _said(check: CandleCheck, claimed: Claimed) -> CandleCheck:
    record, mine = claimed.record, claimed.answer is Answer.ACQUIRED
    check = replace(
        check,
        answer=claimed.answer.value,
        source=claimed.source,
        attempt=record.attempt,
        outcome=record.outcome,
        token=check.token if mine else "",
    )
    if check.catch_up:
        candle = check.candle
        log.info(
            "%s %s %s: worked as catch-up, %.0f s after its close",
            candle.instrument,
            candle.timeframe,
            candle,
            check.late_s,
        )
    return check


def _held(check: CandleCheck) -> str:
    if not check.process:
        raise InvalidInput("check", check.answer, "only a candle that was acquired can be completed or released")
    return check.token
