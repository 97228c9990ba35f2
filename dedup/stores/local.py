"""What is DONE stays DONE: a bounded memory of settled keys before a store, so that duplicates cost no round trip.

Only DONE is remembered: a claim or a doubt may change at any moment, elsewhere, and is asked for every time. What is
remembered is forgotten after `max_age_s`, and at once where it is deleted or overwritten through this process: so a
record that somebody deletes elsewhere, to have its work done again, is noticed by then.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dedup.flows import Flow, run, run_async
from dedup.ops import Claim, Claimed, Complete, Op, Settled
from dedup.records import Record, State
from dedup.stores.protocol import AsyncStore, Store
from dedup.transitions import apply

R = TypeVar("R")
S = TypeVar("S", bound=Store | AsyncStore)

SOURCE = "local"


@dataclass(frozen=True, slots=True)
class LocalStats:
    """How the local memory of DONE did.

    Attributes:
        hits: claims that it answered.
        misses: claims that went to the store.
        entries: keys that it remembers now.
    """

    hits: int
    misses: int
    entries: int

    @property
    def hit_rate(self) -> float:
        """Hits among the claims, 0 to 1; 0 before the first."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


def _wall_ms() -> int:
    return int(time.time() * 1000)


class DoneAnswers:
    """Settled keys, the least recently used of which is dropped when it is full. Safe in threads.

    Args:
        max_entries: bound.
        max_age_s: how long one is remembered at most.
        clock_ms: the wall clock, ms since the epoch.
    """

    def __init__(
        self, max_entries: int = 1000, max_age_s: float = 60.0, clock_ms: Callable[[], int] = _wall_ms
    ) -> None:
        self._max_entries = max_entries
        self._max_age_ms = int(max_age_s * 1000)
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[Record, int]] = OrderedDict()
        self._hits = self._misses = 0

    def stats(self) -> LocalStats:
        """Counts since the start."""
        with self._lock:
            return LocalStats(self._hits, self._misses, len(self._entries))

    def answer(self, op: Op[R]) -> R | None:
        """The answer to a claim of a key that is known to be DONE; None for anything else."""
        if not isinstance(op, Claim):
            return None
        with self._lock:
            now_ms = self._clock_ms()
            record = self._read(op.key, now_ms)
            self._hits += record is not None
            self._misses += record is None
        if record is None:
            return None
        # The protocol's own decision on a DONE record, which writes nothing: duplicate, or conflict.
        return op.parse(apply(op, record.dumps(), now_ms).reply, SOURCE)

    def learn(self, op: Op[Any], reply: Any) -> None:
        """Remember what the store said, where that is DONE."""
        if isinstance(op, (Claim, Complete)) and isinstance(reply, (Claimed, Settled)):
            record = reply.record
            # What is no record of ours may become anything.
            if record is not None and record.state is State.DONE and not record.foreign:
                self._write(op.key, record, op.ttl_ms)

    def forget(self, *keys: str) -> None:
        """Remember nothing about these keys."""
        with self._lock:
            for key in keys:
                self._entries.pop(key, None)

    def _read(self, key: str, now_ms: int) -> Record | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        record, until_ms = entry
        if until_ms <= now_ms:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return record

    def _write(self, key: str, record: Record, ttl_ms: int) -> None:
        with self._lock:
            now_ms = self._clock_ms()
            left_ms = record.at_ms + ttl_ms - now_ms
            self._entries[key] = (record, now_ms + min(self._max_age_ms, left_ms))
            self._entries.move_to_end(key)
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)


class _Knowing(Generic[S]):
    """What the blocking and the awaited store have in common.

    Args:
        store: where records live.
        answers: what is known to be DONE.
    """

    def __init__(self, store: S, answers: DoneAnswers | None = None) -> None:
        self._store: S = store
        self.answers = DoneAnswers() if answers is None else answers

    @property
    def source(self) -> str:
        """The store's own; what is answered from here says `local`."""
        return self._store.source

    def _asking(self, op: Op[Any]) -> Flow[Any]:
        known = self.answers.answer(op)
        if known is not None:
            return known
        reply = yield self._store.run(op)
        self.answers.learn(op, reply)
        return reply

    def _asking_many(self, ops: Sequence[Op[Any]]) -> Flow[list[Any]]:
        replies = {at: known for at, op in enumerate(ops) if (known := self.answers.answer(op)) is not None}
        asked = [(at, op) for at, op in enumerate(ops) if at not in replies]
        told: list[Any] = (yield self._store.run_many([op for _, op in asked])) if asked else []
        for (at, op), reply in zip(asked, told, strict=True):
            self.answers.learn(op, reply)
            replies[at] = reply
        return [replies[at] for at in range(len(ops))]


class LocalStore(_Knowing[Store]):
    """A blocking store that remembers what is DONE; see the module and `_Knowing` for the arguments."""

    def run(self, op: Op[R]) -> R:
        """Run one operation."""
        reply: R = run(self._asking(op))
        return reply

    def run_many(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """Run operations in order, in one round trip at most."""
        return run(self._asking_many(ops))

    def get(self, key: str) -> str | None:
        """The stored text."""
        return self._store.get(key)

    def put(self, key: str, text: str, ttl_ms: int) -> None:
        """Store a text for `ttl_ms` whatever was there."""
        self._store.put(key, text, ttl_ms)
        self.answers.forget(key)

    def delete(self, *keys: str) -> int:
        """Delete keys and say how many there were."""
        deleted = self._store.delete(*keys)
        self.answers.forget(*keys)
        return deleted

    def scan(self, pattern: str) -> Iterator[str]:
        """Keys that match a glob pattern."""
        yield from self._store.scan(pattern)

    def close(self) -> None:
        """Give back the store's connections."""
        self._store.close()


class AsyncLocalStore(_Knowing[AsyncStore]):
    """An awaited store that remembers what is DONE; see the module and `_Knowing` for the arguments."""

    async def run(self, op: Op[R]) -> R:
        """Run one operation."""
        reply: R = await run_async(self._asking(op))
        return reply

    async def run_many(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """Run operations in order, in one round trip at most."""
        return await run_async(self._asking_many(ops))

    async def get(self, key: str) -> str | None:
        """The stored text."""
        return await self._store.get(key)

    async def put(self, key: str, text: str, ttl_ms: int) -> None:
        """Store a text for `ttl_ms` whatever was there."""
        await self._store.put(key, text, ttl_ms)
        self.answers.forget(key)

    async def delete(self, *keys: str) -> int:
        """Delete keys and say how many there were."""
        deleted = await self._store.delete(*keys)
        self.answers.forget(*keys)
        return deleted

    async def scan(self, pattern: str) -> AsyncIterator[str]:
        """Keys that match a glob pattern."""
        async for key in self._store.scan(pattern):
            yield key

    async def close(self) -> None:
        """Give back the store's connections."""
        await self._store.close()
