"""A Redis Cluster of three primaries on this machine, with replicas where a test wants them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import redis

from dedup.stores.slots import SLOTS, slot_of
from tests.engines import HOST, Engine, free_port
from tests.topology.sentinels import wait_for


class Cluster:
    """Three primaries, each with a third of the slots.

    Args:
        binary: of the server.
        config: directives of every node.
        replicas: how many of the primaries have a replica, the first ones first.
        tls: the URL is that of the encrypted ports, and nodes speak TLS among themselves.
    """

    def __init__(
        self, binary: str, config: Mapping[str, str] | None = None, replicas: int = 0, tls: bool = False
    ) -> None:
        self._binary, self._config, self._replicas, self._tls = binary, dict(config or {}), replicas, tls
        self.primaries: list[Engine] = []
        self.replicas: list[Engine] = []

    def __enter__(self) -> Self:
        self.primaries = [self._node().start() for _ in range(3)]
        bounds = [-(-at * SLOTS // 3) for at in range(4)]
        for number, node in enumerate(self.primaries):
            client = node.client()
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            client.execute_command("CLUSTER ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
        for node in self.primaries[1:]:
            self._meet(node)
        self._settle(self.primaries)
        for number in range(self._replicas):
            replica = self._node().start()
            self.replicas.append(replica)
            self._meet(replica)
            primary_id = self.primaries[number].client().execute_command("CLUSTER MYID")
            wait_for(lambda at=replica, of=primary_id: _replicate(at, of), "a replica to know its primary")
            client = replica.client()
            wait_for(lambda at=client: at.info("replication")["master_link_status"] == "up", "a replica's link")
        self._settle([*self.primaries, *self.replicas])
        return self

    def __exit__(self, *_: object) -> None:
        for node in (*self.primaries, *self.replicas):
            node.close()

    @property
    def url(self) -> str:
        """Where a store is to connect."""
        scheme, named = ("rediss+cluster", "tls-port") if self._tls else ("redis+cluster", "port")
        hosts = [f"{HOST}:{node.config.get(named, node.port)}" for node in self.primaries]
        return f"{scheme}://{','.join(hosts)}"

    def node_of(self, key: str) -> Engine:
        """The primary that serves a key at the beginning."""
        return self.primaries[slot_of(key) * 3 // SLOTS]

    def key_on(self, number: int, name: str = "key") -> str:
        """A key that the numbered primary serves at the beginning."""
        return next(key for key in (f"{name}{at}" for at in range(10_000)) if slot_of(key) * 3 // SLOTS == number)

    def begin_move(self, slot: int, source: Engine, target: Engine) -> None:
        """From now on keys of the slot that are missing at the source are asked for at the target."""
        ids = [node.client().execute_command("CLUSTER MYID") for node in (source, target)]
        target.client().execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
        source.client().execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[1])

    def move_keys(self, slot: int, source: Engine, target: Engine) -> list[str]:
        """Move what the slot holds, and say which keys that were."""
        client = source.client()
        moved: list[str] = []
        while keys := client.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
            client.execute_command("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *keys)
            moved += keys
        return moved

    def end_move(self, slot: int, target: Engine) -> None:
        """The slot is the target's."""
        target_id = target.client().execute_command("CLUSTER MYID")
        for node in (target, *(other for other in self.primaries if other is not target)):
            node.client().execute_command("CLUSTER SETSLOT", slot, "NODE", target_id)

    def _node(self) -> Engine:
        options = {
            "cluster-enabled": "yes",
            "cluster-port": str(free_port()),
            "cluster-node-timeout": "1000",
            "cluster-replica-validity-factor": "0",
            "repl-diskless-sync-delay": "0",
            **({"tls-port": str(free_port()), "tls-cluster": "yes"} if self._tls else {}),
            **self._config,
        }
        return Engine(self._binary, options)

    def _meet(self, node: Engine) -> None:
        bus = int(node.config["cluster-port"])
        port = node.config.get("tls-port", node.port)
        self.primaries[0].client().execute_command("CLUSTER MEET", HOST, port, bus)

    def _settle(self, nodes: list[Engine]) -> None:
        for node in nodes:
            client = node.client()
            wait_for(lambda at=client: _knows(at, len(nodes)), "the Cluster to settle")


def _knows(client: redis.Redis, nodes: int) -> bool:
    info = client.execute_command("CLUSTER INFO")
    told = info if isinstance(info, dict) else dict(line.split(":") for line in info.split())
    return told["cluster_state"] == "ok" and int(told["cluster_known_nodes"]) == nodes


def _replicate(replica: Engine, primary_id: str) -> bool:
    replica.client().execute_command("CLUSTER REPLICATE", primary_id)
    return True
