"""A client of a Redis Cluster for asynchronous code: what `dedup.stores.cluster_client` does, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import redis.asyncio
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.exceptions import AskError, ConnectionError, TimeoutError  # noqa: A004 they are what redis-py raises

from dedup.stores.cluster_client import Host


class AsyncClusterClient:
    """An awaited client, for one event loop. It connects on first use; see `ClusterClient` for the arguments."""

    def __init__(self, hosts: Sequence[Host], options: Mapping[str, Any]) -> None:
        self._hosts, self._options = tuple(hosts), dict(options)
        self._cluster: RedisCluster | None = None
        # Coroutines that share redis-py's client while it connects close each other's connections (8.1), so that they
        # share clients of nodes instead.
        self._one_at_a_time = asyncio.Lock()
        self._nodes: dict[Host, redis.asyncio.Redis] = {}

    async def ready(self) -> None:
        """Know the map of the slots."""
        async with self._one_at_a_time:
            await self.cluster().initialize()

    def cluster(self) -> RedisCluster:
        """Redis-py's client, which connects with its first command."""
        if self._cluster is None:
            nodes = [ClusterNode(*host) for host in self._hosts]
            self._cluster = RedisCluster(startup_nodes=nodes, require_full_coverage=False, **self._options)
        return self._cluster

    def host_of(self, key: str) -> Host:
        """Who serves a key's slot, as far as is known. Await `ready` before."""
        node = self.cluster().get_node_from_key(key)
        assert node is not None  # noqa: S101 it is a primary
        return node.host, int(node.port)

    def primaries(self) -> list[Host]:
        """Who serves slots, as far as is known. Await `ready` before."""
        return [(node.host, int(node.port)) for node in self.cluster().get_primaries()]

    def node(self, host: Host) -> redis.asyncio.Redis:
        """The client of one node."""
        if host not in self._nodes:
            name, port = host
            self._nodes[host] = redis.asyncio.Redis(host=name, port=port, **self._options)
        return self._nodes[host]

    async def touch(self, key: str) -> Any:
        """Ask for a key, which corrects the map where the slot has moved."""
        async with self._one_at_a_time:
            return await self.cluster().exists(key)

    async def get(self, key: str) -> Any:
        """``GET``."""
        return await self._run(key, "GET", key)

    async def set(self, key: str, text: str, px: int) -> Any:
        """``SET … PX``."""
        return await self._run(key, "SET", key, text, "PX", px)

    async def unlink(self, *keys: str) -> Any:
        """``UNLINK``, each key where it is."""
        async with self._one_at_a_time:
            return await self.cluster().unlink(*keys)

    async def execute_command(self, *words: str | int, **options: Any) -> Any:
        """A command whose second word is its key."""
        return await self._run(str(words[1]), *words, **options)

    async def evalsha(self, sha: str, count: int, *keys_and_args: str | int) -> Any:
        """``EVALSHA``."""
        return await self._run(str(keys_and_args[0]), "EVALSHA", sha, count, *keys_and_args)

    async def eval(self, text: str, count: int, *keys_and_args: str | int) -> Any:
        """``EVAL``."""
        return await self._run(str(keys_and_args[0]), "EVAL", text, count, *keys_and_args)

    async def _run(self, key: str, *words: str | int, **options: Any) -> Any:
        """Run a command where its key is believed to be, and where that is wrong let redis-py find it."""
        await self.ready()
        try:
            node: Any = self.node(self.host_of(key))
            return await node.execute_command(*words, **options)
        except (AskError, ConnectionError, TimeoutError):
            async with self._one_at_a_time:
                cluster: Any = self.cluster()
                return await cluster.execute_command(*words, **options)

    async def scan_iter(self, match: str, count: int) -> AsyncIterator[Any]:
        """Keys of every primary."""
        await self.ready()
        for host in self.primaries():
            async for key in self.node(host).scan_iter(match=match, count=count):
                yield key

    async def aclose(self) -> None:
        """Give back all connections. The client may be used again."""
        nodes, self._nodes = list(self._nodes.values()), {}
        cluster, self._cluster = self._cluster, None
        for node in nodes:
            await node.aclose()
        if cluster is not None:
            await cluster.aclose()
