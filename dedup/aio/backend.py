"""The awaited stores of this process: one set for each event loop, because connections belong to a loop.

Memory and circuit breaker are those of `dedup.backend`: they outlive a loop, and blocking code shares them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from dedup.backend import Local, make_local, shared_local
from dedup.observer import Kind
from dedup.options import DedupOptions
from dedup.stores.async_memory import AsyncMemoryStore
from dedup.stores.async_redis import AsyncRedisStore, connect
from dedup.stores.durability import Durability
from dedup.stores.fallback import AsyncFallbackStore, Fallback
from dedup.stores.local import AsyncLocalStore, DoneAnswers
from dedup.stores.observed import AsyncObservedStore
from dedup.stores.protocol import AsyncStore


@dataclass(frozen=True, slots=True)
class Stores:
    """Stores over one server, which differ in what they do while it is away; see `dedup.backend.Stores`."""

    candles: AsyncStore
    signals: AsyncStore
    records: AsyncStore

    async def close(self) -> None:
        """Give back connections. The stores may be used again."""
        await self.records.close()


def make_stores(options: DedupOptions, local: Local | None = None) -> Stores:
    """Awaited stores, over a connection pool of their own."""
    local = make_local(options) if local is None else local
    if not options.redis_enabled:
        memory = AsyncMemoryStore(local.memory)
        return _observed(options, Stores(memory, memory, memory))
    client = connect(options.redis_url)
    redis, sure = AsyncRedisStore(client), AsyncRedisStore(client, Durability.parse(options.durability))

    def store(primary: AsyncStore, policy: Fallback, done: DoneAnswers | None = None) -> AsyncStore:
        falling = AsyncFallbackStore(primary, local.memory, local.circuit, policy)
        return falling if done is None else AsyncLocalStore(falling, done)

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
    candles = AsyncObservedStore(stores.candles, observer, Kind.CANDLE)
    return Stores(candles, AsyncObservedStore(stores.signals, observer, Kind.SIGNAL), stores.records)


_by_loop: dict[asyncio.AbstractEventLoop, dict[DedupOptions, Stores]] = {}


def shared_stores(options: DedupOptions) -> Stores:
    """The running loop's stores for these options."""
    # Connections hold their loop, so a loop that ended would be kept for ever by a program that closes nothing.
    for ended in [loop for loop in _by_loop if loop.is_closed()]:
        del _by_loop[ended]
    made = _by_loop.setdefault(asyncio.get_running_loop(), {})
    if options not in made:
        made[options] = make_stores(options, shared_local(options))
    return made[options]


async def close_stores() -> None:
    """Give back the connections of every store that was made in the running loop."""
    for stores in _by_loop.pop(asyncio.get_running_loop(), {}).values():
        await stores.close()
