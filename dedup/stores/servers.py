"""How a batch of operations reaches its servers, and its raw replies come back: one server, or a Cluster.

On a Cluster operations are grouped by the node that serves their key, one pipeline for each node, and two operations on
one slot are never run out of order: where a slot has moved, what follows in that slot waits for what comes before it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from redis import exceptions as redis_errors

from dedup.amnesia import Server
from dedup.flows import Flow
from dedup.ops import Begin, Op
from dedup.stores.cluster_client import Host
from dedup.stores.commands import Command, asking, replying
from dedup.stores.slots import SLOTS, mark_in, slot_of

ROUNDS = 16
"""How often a batch follows slots that move."""

_AWAY = (redis_errors.ConnectionError, redis_errors.TimeoutError, OSError)


@dataclass(frozen=True, slots=True)
class Answered:
    """Raw replies to a batch, any of which may be an error, and for each what was waited for behind it."""

    replies: list[Any]
    waited: list[Any]


class Servers(Protocol):
    """Where operations run."""

    def marks(self, begin: Begin, before: Collection[str]) -> Flow[list[Begin]]:
        """What a `Begin` is on these servers: where the marks stand that speak for the keys before it in its batch."""
        ...

    def answering(self, ops: Sequence[Op[Any]], behind: Command) -> Flow[Answered]:
        """Run operations in order."""
        ...

    def serving(self, key: str) -> Any:
        """A client of the one server that serves a key."""
        ...

    def siblings(self, mark: str, since_key: str) -> list[str]:
        """Every mark on the server that serves this one, itself left out."""
        ...

    def neighbours(self, mark: str) -> Flow[list[Server]]:
        """The other servers."""
        ...


class OneServer:
    """Everything is in one place."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def marks(self, begin: Begin, before: Collection[str]) -> Flow[list[Begin]]:
        """One mark speaks for all."""
        yield from ()
        return [begin]

    def answering(self, ops: Sequence[Op[Any]], behind: Command) -> Flow[Answered]:
        """One pipeline."""
        got = yield from replying(self._client, ops, behind)
        return Answered(got.of, [got.waited] * len(ops))

    def serving(self, key: str) -> Any:
        """The client."""
        return self._client

    def siblings(self, mark: str, since_key: str) -> list[str]:
        """None."""
        return []

    def neighbours(self, mark: str) -> Flow[list[Server]]:
        """None."""
        yield from ()
        return []


class ClusterServers:
    """Each key is where its slot is.

    Args:
        client: a `ClusterClient` or an `AsyncClusterClient`.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def marks(self, begin: Begin, before: Collection[str]) -> Flow[list[Begin]]:
        """The marks in the slots of these keys; without any, one on each node."""
        yield self._client.ready()
        slots = sorted({slot_of(key) for key in before}) or self._first_slots(begin.key)
        return [Begin(mark_in(slot, begin.key)) for slot in slots]

    def _first_slots(self, since_key: str) -> list[int]:
        found: dict[Host, int] = {}
        for slot in range(SLOTS):
            try:
                found.setdefault(self._client.host_of(mark_in(slot, since_key)), slot)
            except redis_errors.SlotNotCoveredError:
                continue
        return list(found.values())

    def answering(self, ops: Sequence[Op[Any]], behind: Command) -> Flow[Answered]:
        """One pipeline for each node, again for what has moved."""
        yield self._client.ready()
        answered = Answered([None] * len(ops), [None] * len(ops))
        pending: Sequence[int] = range(len(ops))
        for _ in range(ROUNDS):
            left: list[int] = []
            for host, indices in self._by_host(ops, pending).items():
                left += yield from self._on_node(host, ops, indices, behind, answered)
            if not left:
                break
            pending = sorted(left)
        return answered

    def _by_host(self, ops: Sequence[Op[Any]], indices: Sequence[int]) -> dict[Host, list[int]]:
        found: dict[Host, list[int]] = {}
        for at in indices:
            found.setdefault(self._client.host_of(ops[at].keys()[0]), []).append(at)
        return found

    def _on_node(
        self, host: Host, ops: Sequence[Op[Any]], indices: Sequence[int], behind: Command, answered: Answered
    ) -> Flow[list[int]]:
        """Run operations on a node, and say which are still to be run."""
        try:
            got = yield from replying(self._client.node(host), [ops[at] for at in indices], behind)
        except _AWAY as error:
            for at in indices:
                answered.replies[at] = error
            # It finds out who serves the slot now, or raises.
            yield self._client.touch(ops[indices[0]].keys()[0])
            return list(indices)
        left: list[int] = []
        moved: set[int] = set()
        for at, reply in zip(indices, got.of, strict=True):
            (key,) = ops[at].keys()
            if slot_of(key) in moved:
                left.append(at)
                continue
            answered.replies[at], answered.waited[at] = reply, got.waited
            if isinstance(reply, redis_errors.AskError):
                moved.add(slot_of(key))
                if not (yield from self._redirected(reply, ops[at], behind, answered, at)):
                    left.append(at)
        return left

    def _redirected(
        self, told: redis_errors.AskError, op: Op[Any], behind: Command, answered: Answered, at: int
    ) -> Flow[bool]:
        """Follow a redirection, and say whether that was the end of it."""
        if isinstance(told, redis_errors.MovedError):
            yield self._client.touch(op.keys()[0])
            return False
        try:
            got = yield from asking(self._client.node((told.host, told.port)), op, behind)
        except _AWAY:
            return False
        answered.replies[at], answered.waited[at] = got.of[0], got.waited
        return not isinstance(got.of[0], redis_errors.AskError)

    def serving(self, key: str) -> Any:
        """The client of the key's node."""
        return self._client.node(self._client.host_of(key))

    def siblings(self, mark: str, since_key: str) -> list[str]:
        """The marks in the other slots of the node."""
        host = self._client.host_of(mark)
        marks = (mark_in(slot, since_key) for slot in range(SLOTS))
        return [other for other in marks if other != mark and self._client.host_of(other) == host]

    def neighbours(self, mark: str) -> Flow[list[Server]]:
        """The other primaries that answer."""
        host = self._client.host_of(mark)
        found = []
        for other in self._client.primaries():
            if other == host:
                continue
            try:
                info = yield self._client.node(other).info("server", "stats", "replication")
            except redis_errors.RedisError:
                continue
            told = Server(str(info.get("run_id")), str(info.get("master_replid")), evicted=info.get("evicted_keys", 0))
            found.append(told)
        return found
