"""Records in Redis (or Valkey): one atomic script per operation, one round trip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import redis

from dedup.flows import run
from dedup.ops import Op
from dedup.stores.cluster_client import ClusterClient
from dedup.stores.commands import SOURCE, decoded
from dedup.stores.durability import Durability
from dedup.stores.lanes import lanes_of
from dedup.stores.running import Running
from dedup.stores.translate import translated

R = TypeVar("R")


class RedisStore:
    """A store on a client, best one of `dedup.stores.connect`; it may decode responses or not.

    The client may resend a command whose reply was lost: every operation of `dedup.ops` answers its own token alike the
    second time.

    Args:
        client: of one server, of the primary behind Sentinels, or of a Cluster.
        durability: what a write waits for.
    """

    source = SOURCE

    def __init__(self, client: redis.Redis | ClusterClient, durability: Durability | None = None) -> None:
        self._client = client
        self._lanes = lanes_of(client)
        self._running = Running(client, isinstance(client, ClusterClient), durability, self._lanes)

    def run(self, op: Op[R]) -> R:
        """Run one operation: atomic, one round trip."""
        with translated():
            return run(self._running.one(op))

    def run_many(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """Run operations in order, in one round trip to each server."""
        with translated():
            return run(self._running.many(ops))

    def get(self, key: str) -> str | None:
        """The stored text (``GET``)."""
        with translated():
            text: str | None = decoded(self._client.get(key))
            return text

    def put(self, key: str, text: str, ttl_ms: int) -> None:
        """Store a text for `ttl_ms` whatever was there (``SET … PX``)."""
        with translated():
            self._client.set(key, text, px=ttl_ms)

    def delete(self, *keys: str) -> int:
        """Delete keys and say how many there were (``UNLINK``)."""
        if not keys:
            return 0
        with translated():
            return int(self._client.unlink(*keys))

    def scan(self, pattern: str) -> Iterator[str]:
        """Keys that match a glob pattern (``SCAN``, never ``KEYS``)."""
        with translated():
            for key in self._client.scan_iter(match=pattern, count=1000):
                yield decoded(key)

    def close(self) -> None:
        """Give back the connections."""
        if self._lanes is not None:
            self._lanes.close()
        self._client.close()
