"""What a store has to offer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from dedup.ops import Op

R = TypeVar("R")


class Store(Protocol):
    """Runs the operations of `dedup.ops`, and the plain values of the seed's cache.

    Every method raises `StoreUnavailable` or `StoreRefused` where the store gives no usable answer: then nothing may be
    assumed about the record.
    """

    source: str
    """`redis` or `memory`: named in every answer."""

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
