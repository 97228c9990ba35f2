"""Records in this process's memory, behind awaitable methods that never wait."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

from dedup.ops import Op
from dedup.stores.memory import MemoryStore

R = TypeVar("R")


class AsyncMemoryStore:
    """A `MemoryStore` for asynchronous code. Several may stand before one, and threads may share it.

    Args:
        memory: by default one of its own.
    """

    source = MemoryStore.source

    def __init__(self, memory: MemoryStore | None = None) -> None:
        self.memory = MemoryStore() if memory is None else memory

    async def run(self, op: Op[R]) -> R:
        """Run one operation."""
        return self.memory.run(op)

    async def run_many(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """Run operations in order."""
        return self.memory.run_many(ops)

    async def get(self, key: str) -> str | None:
        """The stored text."""
        return self.memory.get(key)

    async def put(self, key: str, text: str, ttl_ms: int) -> None:
        """Store a text for `ttl_ms`."""
        self.memory.put(key, text, ttl_ms)

    async def delete(self, *keys: str) -> int:
        """Delete keys and say how many there were."""
        return self.memory.delete(*keys)

    async def scan(self, pattern: str) -> AsyncIterator[str]:
        """Keys that match a glob pattern."""
        for key in self.memory.scan(pattern):
            yield key

    async def close(self) -> None:
        """Nothing to give back."""
