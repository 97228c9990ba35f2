"""A store that tells an observer what it was asked and what it answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Generic, TypeVar

from dedup.errors import StoreError
from dedup.flows import Flow, run, run_async
from dedup.observer import Kind, Observer
from dedup.ops import Doubt, Op
from dedup.replies import Claimed, Settled
from dedup.stores.protocol import AsyncStore, Store

R = TypeVar("R")
S = TypeVar("S", bound=Store | AsyncStore)


class _Observed(Generic[S]):
    """What the blocking and the awaited store have in common: everything but the waiting.

    Args:
        store: does the work.
        observer: is told.
        kind: what the records are of.
    """

    def __init__(self, store: S, observer: Observer, kind: Kind) -> None:
        self.store: S = store
        self._observer, self._kind = observer, kind

    @property
    def source(self) -> str:
        """The store's."""
        return self.store.source

    def _asking(self, op: Op[R]) -> Flow[R]:
        try:
            reply: R = yield self.store.run(op)
        except StoreError as error:
            self._observer.store_failed(self._kind, error)
            raise
        self._tell(op, reply)
        return reply

    def _asking_many(self, ops: Sequence[Op[Any]]) -> Flow[list[Any]]:
        try:
            replies: list[Any] = yield self.store.run_many(ops)
        except StoreError as error:
            self._observer.store_failed(self._kind, error)
            raise
        for op, reply in zip(ops, replies, strict=True):
            self._tell(op, reply)
        return replies

    def _tell(self, op: Op[Any], reply: object) -> None:
        if isinstance(reply, Claimed):
            self._observer.claimed(self._kind, reply)
        elif isinstance(op, Doubt) and isinstance(reply, Settled):
            self._observer.doubted(self._kind, op.reason, reply)


class ObservedStore(_Observed[Store]):
    """A blocking store under observation; see the module and `_Observed` for the arguments."""

    def run(self, op: Op[R]) -> R:
        """Run one operation."""
        return run(self._asking(op))

    def run_many(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """Run operations in order, in one round trip."""
        return run(self._asking_many(ops))

    def get(self, key: str) -> str | None:
        """The stored text."""
        return self.store.get(key)

    def put(self, key: str, text: str, ttl_ms: int) -> None:
        """Store a text for `ttl_ms` whatever was there."""
        self.store.put(key, text, ttl_ms)

    def delete(self, *keys: str) -> int:
        """Delete keys and say how many there were."""
        return self.store.delete(*keys)

    def scan(self, pattern: str) -> Iterator[str]:
        """Keys that match a glob pattern."""
        yield from self.store.scan(pattern)

    def close(self) -> None:
        """Give back the store's connections."""
        self.store.close()


class AsyncObservedStore(_Observed[AsyncStore]):
    """An awaited store under observation; see the module and `_Observed` for the arguments."""

    async def run(self, op: Op[R]) -> R:
        """Run one operation."""
        return await run_async(self._asking(op))

    async def run_many(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """Run operations in order, in one round trip."""
        return await run_async(self._asking_many(ops))

    async def get(self, key: str) -> str | None:
        """The stored text."""
        return await self.store.get(key)

    async def put(self, key: str, text: str, ttl_ms: int) -> None:
        """Store a text for `ttl_ms` whatever was there."""
        await self.store.put(key, text, ttl_ms)

    async def delete(self, *keys: str) -> int:
        """Delete keys and say how many there were."""
        return await self.store.delete(*keys)

    async def scan(self, pattern: str) -> AsyncIterator[str]:
        """Keys that match a glob pattern."""
        async for key in self.store.scan(pattern):
            yield key

    async def close(self) -> None:
        """Give back the store's connections."""
        await self.store.close()
