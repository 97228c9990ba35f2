"""The stores of this process, put together from options. Nothing connects before it is used.

Caches that are made from equal options share one memory, one circuit breaker and one connection pool: so two calls of
`get_candle_cache` see each other's claims, also where all there is is this process's memory.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from dedup.observer import Kind
from dedup.options import DedupOptions
from dedup.stores.circuit import Circuit
from dedup.stores.connect import connect
from dedup.stores.durability import Durability
from dedup.stores.fallback import Fallback, FallbackStore
from dedup.stores.local import DoneAnswers, LocalStore
from dedup.stores.memory import MemoryStore
from dedup.stores.observed import ObservedStore
from dedup.stores.protocol import Store
from dedup.stores.redis import RedisStore


@dataclass(frozen=True, slots=True)
class Local:
    """What a process keeps by itself: shared by its blocking and its awaited stores.

    Attributes:
        memory: the records of an outage, or all of them where Redis is not used.
        circuit: whether Redis is asked.
        candles_done, signals_done: what is known to be DONE; None where nothing is remembered.
    """

    memory: MemoryStore
    circuit: Circuit
    candles_done: DoneAnswers | None
    signals_done: DoneAnswers | None


@dataclass(frozen=True, slots=True)
class Stores:
    """Stores over one server, which differ in what they do while it is away.

    Attributes:
        candles: as `candle_fallback` says.
        signals: as `signal_fallback` says.
        records: refuses, whatever the options say: for who looks at records of either kind, and must not take what this
            process does not know for what never happened.
    """

    candles: Store
    signals: Store
    records: Store

    def close(self) -> None:
        """Give back connections. The stores may be used again."""
        self.records.close()


def make_local(options: DedupOptions) -> Local:
    """Memory and breaker for one set of options."""
    # Memory alone needs no second memory before it.
    entries = options.done_entries if options.redis_enabled else 0
    candles, signals = (DoneAnswers(entries, options.done_age_s) if entries else None for _ in range(2))
    return Local(
        MemoryStore(options.memory_entries), Circuit(options.breaker, observer=options.observer), candles, signals
    )


def make_stores(options: DedupOptions, local: Local | None = None) -> Stores:
    """Blocking stores, over a connection pool of their own."""
    local = make_local(options) if local is None else local
    if not options.redis_enabled:
        return _observed(options, Stores(local.memory, local.memory, local.memory))
    client = connect(options.redis_url)
    redis, sure = RedisStore(client), RedisStore(client, Durability.parse(options.durability))

    def store(primary: Store, policy: Fallback, done: DoneAnswers | None = None) -> Store:
        falling = FallbackStore(primary, local.memory, local.circuit, policy)
        return falling if done is None else LocalStore(falling, done)

    stores = Stores(
        store(redis, options.candle_fallback, local.candles_done),
        store(sure, options.signal_fallback, local.signals_done),
        store(redis, Fallback.REFUSE),
    )
    return _observed(options, stores)


def _observed(options: DedupOptions, stores: Stores) -> Stores:
    observer = options.observer
    if observer is None:
        return stores
    candles = ObservedStore(stores.candles, observer, Kind.CANDLE)
    return Stores(candles, ObservedStore(stores.signals, observer, Kind.SIGNAL), stores.records)


class _Shared:
    """What was made from each set of options so far."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.local: dict[DedupOptions, Local] = {}
        self.stores: dict[DedupOptions, Stores] = {}


_shared = _Shared()


def shared_local(options: DedupOptions) -> Local:
    """This process's memory and breaker for these options."""
    with _shared.lock:
        return _shared.local.setdefault(options, make_local(options))


def shared_stores(options: DedupOptions) -> Stores:
    """This process's blocking stores for these options."""
    local = shared_local(options)
    with _shared.lock:
        if options not in _shared.stores:
            _shared.stores[options] = make_stores(options, local)
        return _shared.stores[options]


def close_stores() -> None:
    """Give back the connections of every blocking store that was made. What this process keeps by itself stays."""
    with _shared.lock:
        made = list(_shared.stores.values())
        _shared.stores.clear()
    for stores in made:
        stores.close()
