"""A client of a Redis Cluster: redis-py's for single commands and for the map of the slots, one client per node for
batches.

A batch of operations goes to a node as one pipeline on one connection, in its order, which redis-py's own Cluster
pipeline does not keep when a slot moves. See `dedup.stores.cluster`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import redis
from redis import cluster as redis_cluster

Host = tuple[str, int]


class ClusterClient:
    """A blocking client, safe in threads. It connects on first use.

    Args:
        hosts: some of the nodes.
        options: of the connections, as `redis.Redis` takes them.
    """

    def __init__(self, hosts: Sequence[Host], options: Mapping[str, Any]) -> None:
        self._hosts, self._options = tuple(hosts), dict(options)
        self._lock = threading.Lock()
        # Any: redis-py leaves these classes untyped.
        self._cluster: Any = None
        self._nodes: dict[Host, redis.Redis] = {}

    def ready(self) -> None:
        """Know the map of the slots."""
        self.cluster()

    def cluster(self) -> Any:
        """Redis-py's client, made and connected on first use."""
        with self._lock:
            if self._cluster is None:
                module: Any = redis_cluster
                nodes = [module.ClusterNode(*host) for host in self._hosts]
                self._cluster = module.RedisCluster(startup_nodes=nodes, require_full_coverage=False, **self._options)
            return self._cluster

    def host_of(self, key: str) -> Host:
        """Who serves a key's slot, as far as is known. Call `ready` before."""
        node = self.cluster().get_node_from_key(key)
        return node.host, node.port

    def primaries(self) -> list[Host]:
        """Who serves slots, as far as is known. Call `ready` before."""
        return [(node.host, node.port) for node in self.cluster().get_primaries()]

    def node(self, host: Host) -> redis.Redis:
        """The client of one node."""
        with self._lock:
            if host not in self._nodes:
                self._nodes[host] = redis.Redis(*host, **self._options)
            return self._nodes[host]

    def touch(self, key: str) -> Any:
        """Ask for a key, which corrects the map where the slot has moved."""
        return self.cluster().exists(key)

    def get(self, key: str) -> Any:
        """``GET``."""
        return self.cluster().get(key)

    def set(self, key: str, text: str, **options: Any) -> Any:
        """``SET``."""
        return self.cluster().set(key, text, **options)

    def unlink(self, *keys: str) -> Any:
        """``UNLINK``, each key where it is."""
        return self.cluster().unlink(*keys)

    def execute_command(self, *words: str | int, **options: Any) -> Any:
        """Any command on one key."""
        return self.cluster().execute_command(*words, **options)

    def evalsha(self, sha: str, count: int, *keys_and_args: str | int) -> Any:
        """``EVALSHA``."""
        return self.cluster().evalsha(sha, count, *keys_and_args)

    def eval(self, text: str, count: int, *keys_and_args: str | int) -> Any:
        """``EVAL``."""
        return self.cluster().eval(text, count, *keys_and_args)

    def scan_iter(self, match: str, count: int) -> Iterator[Any]:
        """Keys of every primary."""
        return iter(self.cluster().scan_iter(match=match, count=count))

    def close(self) -> None:
        """Give back all connections. The client may be used again."""
        with self._lock:
            nodes, self._nodes = list(self._nodes.values()), {}
            cluster, self._cluster = self._cluster, None
        for node in nodes:
            node.close()
        if cluster is not None:
            cluster.close()
