"""Who may do what once: claims, records and publishing over Redis, for candles, signals, and any other work.

Blocking names are here; `dedup.aio` has the same, awaitable. Nothing connects when it is imported, and nothing reads
the environment: see `configure`.
"""

from dedup.breaker import Breaker, BreakerRules, CircuitState
from dedup.cache import (
    CandleCache,
    SignalPublishCache,
    StoredRecord,
    close_caches,
    get_candle_cache,
    get_signal_publish_cache,
    initialize_caches,
)
from dedup.candles import CandleCheck, CandleDetector
from dedup.delivery import Attempted, DeliveryOptions, HttpDelivery, Message, Verdict
from dedup.errors import (
    DedupError,
    InvalidBars,
    InvalidCandle,
    InvalidInput,
    InvalidInstrument,
    InvalidSetting,
    InvalidSignal,
    InvalidTimeframe,
    SourceError,
    StoreDenied,
    StoreError,
    StoreRefused,
    StoreUnavailable,
    StrategyError,
    TryAgain,
)
from dedup.ops import Answer, Claimed, Peeked, Settled
from dedup.options import DedupOptions, configure, configured
from dedup.publication import publication_of
from dedup.publisher import Delivery, Publication, Published, SignalPublisher
from dedup.records import Record, State
from dedup.resolving import Resolution
from dedup.rules import CandleRules, OnUnknown, SignalRules, new_token
from dedup.signals import Signal, signal_id
from dedup.stores.circuit import Circuit
from dedup.stores.connect import connect
from dedup.stores.fallback import Fallback, FallbackStore
from dedup.stores.local import DoneAnswers, LocalStats, LocalStore
from dedup.stores.memory import MemoryStore
from dedup.stores.protocol import Store
from dedup.stores.redis import RedisStore
from dedup.timeframe import Candle, Timeframe

__all__ = [
    "Answer",
    "Attempted",
    "Breaker",
    "BreakerRules",
    "Candle",
    "CandleCache",
    "CandleCheck",
    "CandleDetector",
    "CandleRules",
    "Circuit",
    "CircuitState",
    "Claimed",
    "DedupError",
    "DedupOptions",
    "Delivery",
    "DeliveryOptions",
    "DoneAnswers",
    "Fallback",
    "FallbackStore",
    "HttpDelivery",
    "InvalidBars",
    "InvalidCandle",
    "InvalidInput",
    "InvalidInstrument",
    "InvalidSetting",
    "InvalidSignal",
    "InvalidTimeframe",
    "LocalStats",
    "LocalStore",
    "MemoryStore",
    "Message",
    "OnUnknown",
    "Peeked",
    "Publication",
    "Published",
    "Record",
    "RedisStore",
    "Resolution",
    "Settled",
    "Signal",
    "SignalPublishCache",
    "SignalPublisher",
    "SignalRules",
    "SourceError",
    "State",
    "Store",
    "StoreDenied",
    "StoreError",
    "StoreRefused",
    "StoreUnavailable",
    "StoredRecord",
    "StrategyError",
    "Timeframe",
    "TryAgain",
    "Verdict",
    "close_caches",
    "configure",
    "configured",
    "connect",
    "get_candle_cache",
    "get_signal_publish_cache",
    "initialize_caches",
    "new_token",
    "publication_of",
    "signal_id",
]
