"""What a store has to offer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from dedup.ops import Op

R = TypeVar("R")


class Store(Protocol):
    """Runs the operations of `dedup.ops`, and the plain values of the seed's cache.

    Every method raises `StoreUnavailable` or `StoreRefused` where the store gives no usable answer: then nothing may be
    assumed about the record.
    """

    @property
    def source(self) -> str:
        """`redis` or `memory`: named in every answer."""
        ...

    def run(self, op: Op[R]) -> R:
        """Run one operation: atomic, one round trip."""
        ...

    def run_many(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """Run operations in order, in one round trip. Each is atomic; the whole is not."""
        ...

    def get(self, key: str) -> str | None:
        """The stored text, None where there is none (``GET``)."""
        ...

    def put(self, key: str, text: str, ttl_ms: int) -> None:
        """Store a text for `ttl_ms` whatever was there (``SET … PX``)."""
        ...

    def delete(self, *keys: str) -> int:
        """Delete keys and say how many there were (``UNLINK``)."""
        ...

    def scan(self, pattern: str) -> Iterator[str]:
        """Keys that match a glob pattern (``SCAN``, never ``KEYS``). A key may come twice."""
        ...

    def close(self) -> None:
        """Give back connections. The store may be used again."""
        ...


class AsyncStore(Protocol):
    """A `Store` whose methods are awaited."""

    @property
    def source(self) -> str:
        """`redis` or `memory`: named in every answer."""
        ...

    async def run(self, op: Op[R]) -> R:
        """Run one operation: atomic, one round trip."""
        ...

    async def run_many(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """Run operations in order, in one round trip. Each is atomic; the whole is not."""
        ...

    async def get(self, key: str) -> str | None:
        """The stored text, None where there is none (``GET``)."""
        ...

    async def put(self, key: str, text: str, ttl_ms: int) -> None:
        """Store a text for `ttl_ms` whatever was there (``SET … PX``)."""
        ...

    async def delete(self, *keys: str) -> int:
        """Delete keys and say how many there were (``UNLINK``)."""
        ...

    def scan(self, pattern: str) -> AsyncIterator[str]:
        """Keys that match a glob pattern (``SCAN``, never ``KEYS``). A key may come twice."""
        ...

    async def close(self) -> None:
        """Give back connections. The store may be used again."""
        ...
