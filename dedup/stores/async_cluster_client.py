"""A client of a Redis Cluster for asynchronous code: what `dedup.stores.cluster_client` does, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import redis.asyncio
from redis.asyncio.cluster import ClusterNode, RedisCluster

from dedup.stores.cluster_client import Host


class AsyncClusterClient:
    """An awaited client, for one event loop. It connects on first use; see `ClusterClient` for the arguments."""

    def __init__(self, hosts: Sequence[Host], options: Mapping[str, Any]) -> None:
        self._hosts, self._options = tuple(hosts), dict(options)
        self._cluster: RedisCluster | None = None
        self._nodes: dict[Host, redis.asyncio.Redis] = {}

    async def ready(self) -> None:
        """Know the map of the slots."""
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
        return await self.cluster().exists(key)

    async def get(self, key: str) -> Any:
        """``GET``."""
        return await self.cluster().get(key)

    async def set(self, key: str, text: str, **options: Any) -> Any:
        """``SET``."""
        return await self.cluster().set(key, text, **options)

    async def unlink(self, *keys: str) -> Any:
        """``UNLINK``, each key where it is."""
        return await self.cluster().unlink(*keys)

    async def execute_command(self, *words: str | int, **options: Any) -> Any:
        """Any command on one key."""
        return await self.cluster().execute_command(*words, **options)

    async def evalsha(self, sha: str, count: int, *keys_and_args: str | int) -> Any:
        """``EVALSHA``."""
        return await self.cluster().evalsha(sha, count, *keys_and_args)

    async def eval(self, text: str, count: int, *keys_and_args: str | int) -> Any:
        """``EVAL``."""
        return await self.cluster().eval(text, count, *keys_and_args)

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
