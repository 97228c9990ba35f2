"""CandleCache and SignalPublishCache: `dedup.cache`, awaited."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from dedup.aio.backend import close_stores, shared_stores
from dedup.cache_base import (
    BaseCache,
    BaseCandleCache,
    BaseSignalPublishCache,
    StoredRecord,
    check_state,
    dump_value,
    load_value,
)
from dedup.errors import StoreUnavailable
from dedup.flows import run_async
from dedup.ops import Claimed, Op, Peeked, Resolution, Settled
from dedup.options import DedupOptions, configured
from dedup.records import Record, State
from dedup.stores.protocol import AsyncStore

__all__ = [
    "CandleCache",
    "SignalPublishCache",
    "StoredRecord",
    "close_caches",
    "get_candle_cache",
    "get_signal_publish_cache",
    "initialize_caches",
]

log = logging.getLogger("dedup.cache")


class _Values(BaseCache[AsyncStore]):
    """Plain values, and looking at records."""

    async def get(self, key: str) -> Any:
        """The value, None where there is none."""
        return load_value(await self.store.get(key))

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Keep a value for `ttl` seconds, by default as long as a record."""
        await self.store.put(key, dump_value(value), self._ms(ttl))

    async def exists(self, key: str) -> bool:
        """Whether there is a value. To decide whether to work, claim instead: between this and a `set` others come."""
        return await self.store.get(key) is not None

    async def delete(self, key: str) -> bool:
        """Delete a value or a record and say whether there was one. What it stood for may then be done again."""
        return await self.store.delete(key) > 0

    async def clear(self, pattern: str = "*", dry_run: bool = False) -> int:
        """Delete what matches, values and records, and say how many keys that were. Walks with SCAN, never KEYS.

        Args:
            pattern: glob over whole keys, such as ``candle:GOLD:*``. Whatever it matches, only keys of this cache go.
            dry_run: only count.
        """
        return await run_async(self._clearing(await self._found(pattern), dry_run))

    async def peek_many(self, keys: Sequence[str]) -> list[Peeked]:
        """Read records in pipelined batches and change nothing."""
        return await run_async(self._peeking(keys))

    async def record(self, key: str) -> Record | None:
        """The record under a key."""
        return (await self.peek_many([key]))[0].record

    async def list_records(
        self, state: State | str | None = None, pattern: str = "*", limit: int | None = None
    ) -> list[StoredRecord]:
        """Records of this cache, by key. Walks with SCAN.

        Args:
            state: only those in this state: ``claimed``, ``released``, ``unknown`` or ``done``.
            pattern: glob over whole keys.
            limit: at most so many.
        """
        wanted = check_state(state)
        return await run_async(self._listing(await self._found(pattern), wanted, limit))

    async def _found(self, pattern: str) -> list[str]:
        return self._own([key async for key in self.store.scan(self._scanned(pattern))])


class CandleCache(BaseCandleCache[AsyncStore], _Values):
    """Which candles have been worked.

    Args:
        store: where records live.
        rules: lease, TTL, cap.
        prefix: separates deployments that share a server.
    """

    async def claim(self, key: str, token: str) -> Claimed:
        """Claim a candle for one delivery."""
        return await self.store.run(self.rules.claim(key, token))

    async def complete(self, key: str, token: str, outcome: str, value: Any = None, reason: str = "") -> Settled:
        """The candle was worked and its signals are in the broker; `value` is kept with it."""
        return await self.store.run(self._completion(key, token, outcome, value, reason))

    async def release(self, key: str, token: str, reason: str, retry_s: float = 0, failed: bool = False) -> Settled:
        """Give the candle back; `failed` counts towards the cap."""
        return await self.store.run(self.rules.release(key, token, reason, retry_s, failed))


class SignalPublishCache(BaseSignalPublishCache[AsyncStore], _Values):
    """Which signals have been published.

    Args:
        store: where records live. Every publisher must use the same one.
        rules: lease, TTLs, and what follows a doubt.
        prefix: separates deployments that share a server.
    """

    async def begin(self) -> int:
        """Let the store's memory begin now unless it has begun, and say when it began, ms by the store's clock."""
        return (await self.store.run(self.rules.begin(self.since_key))).since_ms

    async def ask(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """Run a publisher's operations in one round trip."""
        return await self.store.run_many(ops)

    async def resolve(self, key: str, seen: Record, resolution: Resolution, by: str, why: str) -> Settled:
        """A person settles a signal that is held, as they have seen it; see `dedup.resolving`.

        Where it did not act, the record has moved on since, and the reply holds what stands there now.

        Args:
            seen: the record that they have seen.
            resolution: what they say.
            by: who they are; kept in the record.
            why: in words; kept in the record.

        Raises:
            InvalidInput: nobody says so, or without a reason.
        """
        return await self.store.run(self._resolution(key, seen, resolution, by, why))


async def get_candle_cache(options: DedupOptions | None = None) -> CandleCache:
    """The candles' cache: over Redis, in memory while Redis is away or where it is not enabled. Connects on first use.

    Args:
        options: by default those of `dedup.configure`.
    """
    options = options or configured()
    return CandleCache(shared_stores(options).candles, options.candle_rules(), options.key_prefix)


async def get_signal_publish_cache(options: DedupOptions | None = None) -> SignalPublishCache:
    """The signals' cache: over Redis, refusing while Redis is away unless `signal_fallback` is `memory`.

    Lets the store's memory begin, so that it is known later which signals it may have forgotten. That Redis is away is
    logged, and no error.

    Args:
        options: by default those of `dedup.configure`.

    Raises:
        StoreRefused: Redis is there and says no: a wrong password, no right to write.
    """
    options = options or configured()
    cache = SignalPublishCache(shared_stores(options).signals, options.signal_rules(), options.key_prefix)
    try:
        await cache.begin()
    except StoreUnavailable as error:
        log.warning("Redis cache: starting without Redis: %s", error)
    return cache


async def initialize_caches(options: DedupOptions | None = None) -> tuple[CandleCache, SignalPublishCache]:
    """Both caches; see `get_candle_cache` and `get_signal_publish_cache`."""
    return await get_candle_cache(options), await get_signal_publish_cache(options)


async def close_caches() -> None:
    """Give back the connections of every cache that was got in this event loop. What is kept in memory stays."""
    await close_stores()
