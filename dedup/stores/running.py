"""Operations against servers, blocking or awaited: batches, the guard against amnesia, and what a write waits for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from redis import exceptions as redis_errors

from dedup.errors import StoreDenied, StoreError, StoreUnavailable
from dedup.flows import Flow
from dedup.ops import Answer, Began, Begin, Claim, Claimed, Op, Release
from dedup.stores.commands import parsed, running
from dedup.stores.durability import Durability, relied_upon
from dedup.stores.guard import Guard
from dedup.stores.servers import Answered, ClusterServers, OneServer, Servers
from dedup.stores.translate import translated

R = TypeVar("R")
log = logging.getLogger("dedup.stores.running")


class Running:
    """Runs operations on a client.

    Args:
        client: of one server, or of a Cluster.
        on_cluster: which of both.
        durability: what a write waits for.
        singly: what runs operations that come alone; by default the client.
    """

    def __init__(self, client: Any, on_cluster: bool, durability: Durability | None = None, singly: Any = None) -> None:
        self._client = client if singly is None else singly
        self._servers: Servers = ClusterServers(client) if on_cluster else OneServer(client)
        self._durability = durability or Durability()
        self._guard = Guard(self._servers, self._durability)

    def one(self, op: Op[R]) -> Flow[R]:
        """Run one operation."""
        if isinstance(op, Begin) or self._durability.command_behind([op]):
            return self._first(op)
        return running(self._client, op)

    def _first(self, op: Op[R]) -> Flow[R]:
        replies = yield from self.many([op])
        reply: R = replies[0]
        return reply

    def many(self, ops: Sequence[Op[Any]]) -> Flow[list[Any]]:
        """Run operations in order. A `Begin` speaks for the keys before it."""
        if not ops:
            return []
        sent, places = yield from self._spread(ops)
        behind = self._durability.command_behind(sent) or (
            # A store that is only asked when its memory began is starting: it finds out what the server can do.
            self._durability.check() if isinstance(ops[0], Begin) else ()
        )
        answered = yield from self._servers.answering(sent, behind)
        replies = parsed(sent, answered.replies)
        yield from self._waited_for(sent, replies, answered)
        return (yield from self._gathered(ops, sent, replies, places))

    def _spread(self, ops: Sequence[Op[Any]]) -> Flow[tuple[list[Op[Any]], list[int]]]:
        """What is sent, and for each the operation that it is part of."""
        sent: list[Op[Any]] = []
        places: list[int] = []
        for at, op in enumerate(ops):
            parts: Sequence[Op[Any]] = [op]
            if isinstance(op, Begin):
                parts = yield from self._servers.marks(op, [before.keys()[0] for before in ops[:at]])
            sent += parts
            places += [at] * len(parts)
        return sent, places

    def _gathered(
        self, ops: Sequence[Op[Any]], sent: Sequence[Op[Any]], replies: Sequence[Any], places: Sequence[int]
    ) -> Flow[list[Any]]:
        gathered: list[Any] = [None] * len(ops)
        for op, reply, at in zip(sent, replies, places, strict=True):
            whole = ops[at]
            if isinstance(op, Begin) and isinstance(whole, Begin):
                looked = yield from self._guard.looking(whole, op, reply, starting=at == 0)
                gathered[at] = _later(gathered[at], looked)
            else:
                gathered[at] = reply
        return gathered

    def _waited_for(self, ops: Sequence[Op[Any]], replies: Sequence[Any], answered: Answered) -> Flow[None]:
        """Raise where a write that is relied upon was not acknowledged as it should be."""
        for reply, waited in zip(replies, answered.waited, strict=True):
            if isinstance(waited, Exception):
                raise _cannot_wait(self._durability, waited)
            short = self._durability.shortfall(waited) if waited is not None and relied_upon(reply) else ""
            if short:
                yield from self._give_back(ops, replies)
                raise StoreUnavailable(f"DEDUP_DURABILITY={self._durability}: {short}")

    def _give_back(self, ops: Sequence[Op[Any]], replies: Sequence[Any]) -> Flow[None]:
        """Nothing was built on these claims. Left as they are, each would end as an attempt that nobody knows of."""
        for op, reply in zip(ops, replies, strict=True):
            if isinstance(op, Claim) and isinstance(reply, Claimed) and reply.answer is Answer.ACQUIRED:
                try:
                    with translated():
                        yield from running(
                            self._client, Release(op.key, op.token, op.ttl_ms, reason="not acknowledged in time")
                        )
                except StoreError as error:
                    log.warning("could not give back %s: %s", op.key, error)


def _later(one: Began | None, other: Began) -> Began:
    """What holds for both."""
    if one is None:
        return other
    younger = one if one.since_ms >= other.since_ms else other
    return replace(younger, just_now=one.just_now or other.just_now)


def _cannot_wait(durability: Durability, error: Exception) -> Exception:
    text = str(error)
    if "unknown command" in text.lower():
        return StoreDenied(
            f"DEDUP_DURABILITY = '{durability}': the server does not know WAITAOF, which Redis has from 7.2 on and "
            "Valkey always: use a newer server, or `server` with appendfsync always"
        )
    if isinstance(error, redis_errors.ResponseError) and "appendonly" in text:
        return StoreDenied(f"DEDUP_DURABILITY = '{durability}': the server keeps no AOF: set appendonly yes")
    return error
