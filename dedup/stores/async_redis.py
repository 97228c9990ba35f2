"""Records in Redis (or Valkey) over `redis.asyncio`: what `dedup.stores.redis` does, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, TypeVar

import redis.asyncio
import redis.asyncio.sentinel
from redis.asyncio.retry import Retry

from dedup.flows import run_async
from dedup.ops import Op
from dedup.stores.address import Address, Kind, parse_address
from dedup.stores.async_cluster_client import AsyncClusterClient
from dedup.stores.commands import SOURCE, decoded
from dedup.stores.connect import checked, made, node_options, retry_of, sentinel_options
from dedup.stores.durability import Durability
from dedup.stores.running import Running
from dedup.stores.translate import translated

R = TypeVar("R")

CONCURRENCY = 64
"""How many commands of one store are under way at once: fewer than a pool has connections."""


class AsyncSentinelClient(redis.asyncio.Redis):
    """A client of the primary that Sentinels name. It also closes the connections to them."""

    sentinels: Any

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Give back all connections. The client may be used again."""
        await super().aclose(close_connection_pool)
        for one in self.sentinels.sentinels:
            await one.aclose()


def connect(url: str, **options: Any) -> redis.asyncio.Redis | AsyncClusterClient:
    """A client for `url`, as `dedup.stores.connect.connect` makes it. It connects on first use, and belongs to the
    event loop that it is first used in.

    Raises:
        InvalidSetting: the URL is malformed, or has an option that the client does not know.
    """
    address = parse_address(url)
    with_retry = {"retry": retry_of(Retry), **options}
    if address.kind is Kind.CLUSTER:
        return cluster(address, with_retry)
    if address.kind is Kind.SENTINEL:
        return sentinel(address, with_retry)
    client: redis.asyncio.Redis = made(redis.asyncio.Redis, url, with_retry)
    return client


def cluster(address: Address, options: Mapping[str, Any]) -> AsyncClusterClient:
    """A client of a Cluster."""
    kwargs = node_options(redis.asyncio.connection, address, options)
    client = AsyncClusterClient(address.hosts, kwargs)
    checked(lambda: client.node(address.hosts[0]), address.server_url())
    return client


def sentinel(address: Address, options: Mapping[str, Any]) -> AsyncSentinelClient:
    """A client of the primary that Sentinels name."""
    kwargs = node_options(redis.asyncio.connection, address, options)
    module: Any = redis.asyncio.sentinel
    sentinels = module.Sentinel(address.hosts, sentinel_kwargs=sentinel_options(address, kwargs, Retry))
    client: AsyncSentinelClient = checked(
        lambda: sentinels.master_for(address.service, AsyncSentinelClient, db=address.db, **kwargs),
        address.server_url(),
    )
    client.sentinels = sentinels
    return client


class AsyncRedisStore:
    """A store on an asynchronous client, best one of `connect`; it may decode responses or not.

    The client may resend a command whose reply was lost: every operation of `dedup.ops` answers its own token alike the
    second time.

    Args:
        client: of one server, of the primary behind Sentinels, or of a Cluster.
        durability: what a write waits for.
    """

    source = SOURCE

    def __init__(self, client: redis.asyncio.Redis | AsyncClusterClient, durability: Durability | None = None) -> None:
        self._client = client
        # A pool that is used up raises. Coroutines come in any number, and can wait.
        self._room = asyncio.Semaphore(CONCURRENCY)
        self._running = Running(client, isinstance(client, AsyncClusterClient), durability)

    async def run(self, op: Op[R]) -> R:
        """Run one operation: atomic, one round trip."""
        with translated():
            async with self._room:
                return await run_async(self._running.one(op))

    async def run_many(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """Run operations in order, in one round trip to each server."""
        with translated():
            async with self._room:
                return await run_async(self._running.many(ops))

    async def get(self, key: str) -> str | None:
        """The stored text (``GET``)."""
        with translated():
            async with self._room:
                text: str | None = decoded(await self._client.get(key))
                return text

    async def put(self, key: str, text: str, ttl_ms: int) -> None:
        """Store a text for `ttl_ms` whatever was there (``SET … PX``)."""
        with translated():
            async with self._room:
                await self._client.set(key, text, px=ttl_ms)

    async def delete(self, *keys: str) -> int:
        """Delete keys and say how many there were (``UNLINK``)."""
        if not keys:
            return 0
        with translated():
            async with self._room:
                return int(await self._client.unlink(*keys))

    async def scan(self, pattern: str) -> AsyncIterator[str]:
        """Keys that match a glob pattern (``SCAN``, never ``KEYS``)."""
        with translated():
            async for key in self._client.scan_iter(match=pattern, count=1000):
                yield decoded(key)

    async def close(self) -> None:
        """Give back the connections."""
        await self._client.aclose()
