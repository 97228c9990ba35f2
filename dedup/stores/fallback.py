"""A store that goes on while Redis is away: in memory, or by refusing at once.

A circuit breaker keeps an outage from costing a time-out per call. When the server is back, the first call to find out
writes what was kept in memory to it (`dedup.adopt`), before any other call goes there: so a candle that was worked
during the outage is known when it is asked for next. Every answer names its source.

What memory cannot give: claims of an outage hold within this process only, and a record that Redis held before the
outage is not known during it. Work that may be done twice goes on in memory; an effect that may not is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

from dedup.adopt import Adopted, Kept, adoption, settlement
from dedup.errors import StoreError, StoreUnavailable
from dedup.flows import Flow, run, run_async
from dedup.ops import Op, Peek, Settled
from dedup.stores.circuit import Circuit
from dedup.stores.memory import MemoryStore
from dedup.stores.protocol import AsyncStore, Store

R = TypeVar("R")
S = TypeVar("S", bound=Store | AsyncStore)

BATCH = 500
TRIES = 3


class Fallback(StrEnum):
    """What a store does while Redis is away."""

    MEMORY = "memory"
    """It goes on in this process's memory."""
    REFUSE = "refuse"
    """It raises `StoreUnavailable` at once."""


@dataclass
class _Homecoming:
    """What has become of the records in memory so far, by key.

    Attributes:
        brought: each as it was when it was brought.
        written: the store had not heard of them.
        ended: they ended a claim that the store held.
    """

    ahead_ms: int
    brought: dict[str, Kept] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)

    def due(self, entries: Sequence[Kept]) -> list[Kept]:
        """What has not been brought yet, or has changed since."""
        return [kept for kept in entries if kept.key not in self.brought or self.brought[kept.key].text != kept.text]

    def __str__(self) -> str:
        if not self.brought:
            return "nothing was kept in memory"
        ended = len(self.ended - self.written)
        return (
            f"of the records in memory {len(self.written)} were written to it, {ended} ended a claim that it held, "
            f"{len(self.brought) - len(self.written) - ended} gave way to what it knew"
        )


class _Falling(Generic[S]):
    """What the blocking and the awaited store have in common: everything but the waiting.

    Args:
        primary: the store on the server.
        memory: what is kept during an outage. Stores that share a circuit share it too.
        circuit: whether the server is asked at all.
        policy: what happens while it is away.
    """

    def __init__(
        self,
        primary: S,
        memory: MemoryStore | None = None,
        circuit: Circuit | None = None,
        policy: Fallback = Fallback.MEMORY,
    ) -> None:
        self.primary: S = primary
        self.memory = MemoryStore() if memory is None else memory
        self.circuit = Circuit() if circuit is None else circuit
        self.policy = Fallback(policy)

    @property
    def source(self) -> str:
        """Where the next answer is likely to come from: `redis`, or `memory` while Redis is away."""
        if self.circuit.closed or self.policy is Fallback.REFUSE:
            return self.primary.source
        return self.memory.source

    def _asking(self, key: str, call: Callable[[Any], Any]) -> Flow[Any]:
        for _ in range(TRIES):
            permit = yield from self._permit(key)
            if permit is not None:
                began_ms = self.circuit.now_ms()
                try:
                    answer = yield call(self.primary)
                except StoreUnavailable as error:
                    self.circuit.failed(permit, error, began_ms)
                else:
                    self.circuit.succeeded(permit)
                    return answer
            # Under the lock, because what is written to memory after the records were brought home would stay there.
            with self.circuit.lock:
                if not self.circuit.closed:
                    return call(self._refuge())
        raise StoreUnavailable(self.circuit.why)

    def _permit(self, key: str) -> Flow[int | None]:
        """The permit for a call; while the server is away, find out whether it is back when that is due."""
        permit = self.circuit.ask()
        if permit is None or not self.circuit.probing(permit):
            return permit
        began_ms = self.circuit.now_ms()
        try:
            yield from self._bring_home(permit, key)
        except StoreError as error:
            # A server that is there and refuses what is brought is of no use yet either.
            self.circuit.failed(permit, error, began_ms)
        except BaseException:
            self.circuit.abandoned(permit)
            raise
        return self.circuit.ask()

    def _bring_home(self, permit: int, key: str) -> Flow[None]:
        peeked = yield self.primary.run(Peek(key))
        home = _Homecoming(peeked.now_ms - self.memory.run(Peek(key)).now_ms)
        while True:
            # Others go on in memory meanwhile. What is brought stays there until all is: they must not miss it.
            with self.circuit.lock:
                due = home.due(self.memory.entries())
                if not due:
                    self.memory.forget(home.brought)
                    self.circuit.succeeded(permit, str(home))
                    return
            for at in range(0, len(due), BATCH):
                yield from self._bring(due[at : at + BATCH], home)

    def _bring(self, batch: Sequence[Kept], home: _Homecoming) -> Flow[None]:
        adopted: list[Adopted] = yield self.primary.run_many([adoption(kept, home.ahead_ms) for kept in batch])
        ends = {kept.key: end for kept, reply in zip(batch, adopted, strict=True) if (end := settlement(kept, reply))}
        settled: list[Settled] = (yield self.primary.run_many(list(ends.values()))) if ends else []
        home.brought |= {kept.key: kept for kept in batch}
        home.written |= {kept.key for kept, reply in zip(batch, adopted, strict=True) if reply.acted}
        home.ended |= {key for key, reply in zip(ends, settled, strict=True) if reply.acted}

    def _refuge(self) -> MemoryStore:
        if self.policy is Fallback.REFUSE:
            raise StoreUnavailable(self.circuit.why)
        return self.memory

    @contextmanager
    def _watched(self, permit: int) -> Iterator[None]:
        began_ms = self.circuit.now_ms()
        try:
            yield
        except StoreUnavailable as error:
            self.circuit.failed(permit, error, began_ms)
            raise


class FallbackStore(_Falling[Store]):
    """A blocking store over a primary one and a memory; see the module and `_Falling` for the arguments."""

    def run(self, op: Op[R]) -> R:
        """Run one operation."""
        reply: R = run(self._asking(op.keys()[0], lambda store: store.run(op)))
        return reply

    def run_many(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """Run operations in order, all of them in the same place."""
        if not ops:
            return []
        replies: list[Any] = run(self._asking(ops[0].keys()[0], lambda store: store.run_many(ops)))
        return replies

    def get(self, key: str) -> str | None:
        """The stored text."""
        text: str | None = run(self._asking(key, lambda store: store.get(key)))
        return text

    def put(self, key: str, text: str, ttl_ms: int) -> None:
        """Store a text. During an outage it gives way to what Redis turns out to know."""
        run(self._asking(key, lambda store: store.put(key, text, ttl_ms)))

    def delete(self, *keys: str) -> int:
        """Delete keys and say how many there were. During an outage Redis does not hear of it."""
        if not keys:
            return 0
        return int(run(self._asking(keys[0], lambda store: store.delete(*keys))))

    def scan(self, pattern: str) -> Iterator[str]:
        """Keys that match a glob pattern, all from the same place; raises where Redis goes away in between."""
        permit = run(self._permit(_literal(pattern)))
        if permit is None:
            yield from self._refuge().scan(pattern)
            return
        with self._watched(permit):
            yield from self.primary.scan(pattern)

    def close(self) -> None:
        """Give back connections. What is kept in memory stays."""
        self.primary.close()


class AsyncFallbackStore(_Falling[AsyncStore]):
    """An awaited store over a primary one and a memory; see the module and `_Falling` for the arguments."""

    async def run(self, op: Op[R]) -> R:
        """Run one operation."""
        reply: R = await run_async(self._asking(op.keys()[0], lambda store: store.run(op)))
        return reply

    async def run_many(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """Run operations in order, all of them in the same place."""
        if not ops:
            return []
        replies: list[Any] = await run_async(self._asking(ops[0].keys()[0], lambda store: store.run_many(ops)))
        return replies

    async def get(self, key: str) -> str | None:
        """The stored text."""
        text: str | None = await run_async(self._asking(key, lambda store: store.get(key)))
        return text

    async def put(self, key: str, text: str, ttl_ms: int) -> None:
        """Store a text. During an outage it gives way to what Redis turns out to know."""
        await run_async(self._asking(key, lambda store: store.put(key, text, ttl_ms)))

    async def delete(self, *keys: str) -> int:
        """Delete keys and say how many there were. During an outage Redis does not hear of it."""
        if not keys:
            return 0
        return int(await run_async(self._asking(keys[0], lambda store: store.delete(*keys))))

    async def scan(self, pattern: str) -> AsyncIterator[str]:
        """Keys that match a glob pattern, all from the same place; raises where Redis goes away in between."""
        permit = await run_async(self._permit(_literal(pattern)))
        if permit is None:
            for key in self._refuge().scan(pattern):
                yield key
            return
        with self._watched(permit):
            async for key in self.primary.scan(pattern):
                yield key

    async def close(self) -> None:
        """Give back connections. What is kept in memory stays."""
        await self.primary.close()


def _literal(pattern: str) -> str:
    """The part of a glob pattern before its first special character."""
    ends = [at for at in map(pattern.find, "*?[\\") if at >= 0]
    return pattern[: min(ends, default=len(pattern))]
