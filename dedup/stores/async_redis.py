"""Records in Redis (or Valkey) over `redis.asyncio`: what `dedup.stores.redis` does, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

import redis.asyncio
from redis.asyncio.retry import Retry

from dedup.flows import run_async
from dedup.ops import Op
from dedup.stores.commands import SOURCE, decoded, running, running_many
from dedup.stores.connect import made
from dedup.stores.translate import translated

R = TypeVar("R")


def connect(url: str, **options: Any) -> redis.asyncio.Redis:
    """A client for `url`, as `dedup.stores.connect.connect` makes it. It connects on first use, and belongs to the
    event loop that it is first used in.

    Raises:
        InvalidSetting: the URL is malformed, or has an option that the client does not know.
    """
    client: redis.asyncio.Redis = made(redis.asyncio.Redis, Retry, url, options)
    return client


class AsyncRedisStore:
    """A store on a `redis.asyncio.Redis` client, best one of `connect`; it may decode responses or not.

    The client may resend a command whose reply was lost: every operation of `dedup.ops` answers its own token alike the
    second time.
    """

    source = SOURCE

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def run(self, op: Op[R]) -> R:
        """Run one operation: atomic, one round trip."""
        with translated():
            return await run_async(running(self._client, op))

    async def run_many(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """Run operations in order, in one round trip."""
        with translated():
            return await run_async(running_many(self._client, ops))

    async def get(self, key: str) -> str | None:
        """The stored text (``GET``)."""
        with translated():
            text: str | None = decoded(await self._client.get(key))
            return text

    async def put(self, key: str, text: str, ttl_ms: int) -> None:
        """Store a text for `ttl_ms` whatever was there (``SET … PX``)."""
        with translated():
            await self._client.set(key, text, px=ttl_ms)

    async def delete(self, *keys: str) -> int:
        """Delete keys and say how many there were (``UNLINK``)."""
        if not keys:
            return 0
        with translated():
            return int(await self._client.unlink(*keys))

    async def scan(self, pattern: str) -> AsyncIterator[str]:
        """Keys that match a glob pattern (``SCAN``, never ``KEYS``)."""
        with translated():
            async for key in self._client.scan_iter(match=pattern, count=1000):
                yield decoded(key)

    async def close(self) -> None:
        """Give back the connections."""
        await self._client.aclose()
