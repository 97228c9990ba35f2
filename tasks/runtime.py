"""The parts of one process, put together from its settings. Made on first use, and again after a fork."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache, cached_property

from dedup.backend import Stores, make_stores
from dedup.cache import CandleCache, SignalPublishCache
from dedup.delivery import DeliveryOptions, HttpDelivery
from dedup.errors import StoreError
from dedup.publisher import SignalPublisher
from dedup.stores.protocol import Store
from dedup.timeframe import Candle, Timeframe
from tasks.clock import Clock
from tasks.observer import PipelineObserver
from tasks.settings import Settings, current_settings
from tasks.watchlist import Watchlist, load_watchlist

log = logging.getLogger("candlelatch.runtime")


@dataclass(frozen=True)
class Pipeline:
    """Everything that the tasks work with.

    Attributes:
        settings: checked.
        clock: market time.
        watchlist: what is watched.
        stores: where records live.
        observer: is told what happens.
    """

    settings: Settings
    clock: Clock
    watchlist: Watchlist
    stores: Stores
    observer: PipelineObserver = field(default_factory=PipelineObserver)

    @property
    def store(self) -> Store:
        """Records as Redis has them, and none while it is away: for looking."""
        return self.stores.records

    @cached_property
    def signals(self) -> SignalPublishCache:
        """Records of signals."""
        return SignalPublishCache(self.stores.signals, self.settings.signal_rules(), self.settings.key_prefix)

    @cached_property
    def publisher(self) -> SignalPublisher:
        """Publishes signals.

        Raises:
            InvalidSetting: SIGNAL_API_URL or SIGNAL_API_SECRET is missing or malformed.
        """
        delivery = HttpDelivery(delivery_options(self.settings))
        return SignalPublisher(self.signals, delivery, observer=self.observer)

    def candles(self, timeframe: Timeframe) -> CandleCache:
        """Records of a timeframe's candles; in this process's memory while Redis is away."""
        return CandleCache(self.stores.candles, self.settings.candle_rules(timeframe), self.settings.key_prefix)

    def recorded_candles(self) -> CandleCache:
        """Candles' records for looking: what Redis has, and none while it is away."""
        return CandleCache(self.store, prefix=self.settings.key_prefix)

    def recorded_signals(self) -> SignalPublishCache:
        """Signals' records for looking: what Redis has, and none while it is away."""
        return SignalPublishCache(self.store, self.settings.signal_rules(), self.settings.key_prefix)

    def horizon_start(self, now: datetime) -> datetime:
        """Candles that closed at or before this are not worked any more."""
        return now - timedelta(seconds=self.settings.horizon)

    def past_by_store(self, market: datetime) -> bool:
        """Whether a market moment is past by the store's clock: a second opinion, where this machine's says it is not.

        False while the store is away.
        """
        try:
            (peeked,) = self.signals.peek_many([self.signals.since_key])
        except StoreError:
            return False
        past = peeked.now_ms >= wall_ms(self.clock, market)
        if past:
            behind_s = (peeked.now_ms - wall_now_ms()) / 1000
            log.error("this machine's clock is %.0f s behind the store's: set it by NTP", behind_s)
        return past

    def watched(self, candle: Candle) -> bool:
        """Whether a candle closed within `WATCH_FROM` and `WATCH_UNTIL`."""
        first, last = self.settings.watch_from, self.settings.watch_until
        return (first is None or candle.close > first) and (last is None or candle.close <= last)


def delivery_options(settings: Settings) -> DeliveryOptions:
    """How signals are sent."""
    return DeliveryOptions(
        url=settings.signal_api_url,
        secrets=settings.signal_api_secret.get_secret_value(),
        lookup_url=settings.signal_lookup_url or None,
        deadline_s=settings.http_deadline,
    )


def make_pipeline(settings: Settings, observer: PipelineObserver | None = None) -> Pipeline:
    """Put a pipeline together. Nothing connects.

    Args:
        settings: checked.
        observer: is told what happens.

    Raises:
        InvalidSetting: the watchlist or the API's address is wrong.
    """
    clock = settings.clock
    watchlist = load_watchlist(settings.watchlist, clock.now)
    stores = make_stores(replace(settings.store_options(), observer=observer))
    line = Pipeline(settings, clock, watchlist, stores, observer or PipelineObserver())
    _ = line.publisher  # made now, so that a bad address is an error at start-up and not at the first signal
    return line


class _Process:
    """What outlives a fork."""

    observer: PipelineObserver | None = None


_here = _Process()


@cache
def pipeline() -> Pipeline:
    """This process's pipeline, from the environment."""
    return make_pipeline(current_settings(), _here.observer)


def forget_pipeline() -> None:
    """Let the next use make a new one: a forked child must not share its parent's connections."""
    pipeline.cache_clear()


def observe(observer: PipelineObserver | None) -> None:
    """Have everything told to an observer from now on, in this process and its children; None tells nobody."""
    _here.observer = observer
    forget_pipeline()


def wall_ms(clock: Clock, market: datetime) -> int:
    """A market moment by the wall clock, ms since the epoch."""
    return int(clock.wall(market).timestamp() * 1000)


def wall_now_ms() -> int:
    """The wall clock, ms since the epoch."""
    return time.time_ns() // 1_000_000
