"""The names of `dedup` that wait for something, awaitable. Everything else is `dedup`'s own, and configured there."""

from dedup.aio.cache import (
    CandleCache,
    SignalPublishCache,
    close_caches,
    get_candle_cache,
    get_signal_publish_cache,
    initialize_caches,
)
from dedup.aio.candles import CandleDetector
from dedup.aio.delivery import HttpDelivery
from dedup.aio.publisher import Delivery, SignalPublisher
from dedup.stores.async_memory import AsyncMemoryStore as MemoryStore
from dedup.stores.async_redis import AsyncRedisStore as RedisStore
from dedup.stores.async_redis import connect
from dedup.stores.fallback import AsyncFallbackStore as FallbackStore
from dedup.stores.local import AsyncLocalStore as LocalStore
from dedup.stores.protocol import AsyncStore as Store

__all__ = [
    "CandleCache",
    "CandleDetector",
    "Delivery",
    "FallbackStore",
    "HttpDelivery",
    "LocalStore",
    "MemoryStore",
    "RedisStore",
    "SignalPublishCache",
    "SignalPublisher",
    "Store",
    "close_caches",
    "connect",
    "get_candle_cache",
    "get_signal_publish_cache",
    "initialize_caches",
]
