"""Records in this process's memory: one process, on purpose, or while Redis is away."""

from __future__ import annotations

import fnmatch
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from dedup.adopt import Kept
from dedup.ops import Op
from dedup.records import Record, State
from dedup.transitions import apply

R = TypeVar("R")
log = logging.getLogger("dedup.stores.memory")


def _wall_ms() -> int:
    return int(time.time() * 1000)


class MemoryStore:
    """A bounded, thread-safe store in memory.

    Full, it first drops what has expired, then the oldest record that is DONE or RELEASED, and only when all are live
    claims or unknowns the oldest of these, which it counts in `dropped_live` and logs: a claim is never dropped
    silently.

    Args:
        max_entries: bound on the number of records.
        clock_ms: the store's clock, ms since the epoch.
    """

    source = "memory"

    def __init__(self, max_entries: int = 1000, clock_ms: Callable[[], int] = _wall_ms) -> None:
        self.max_entries = max_entries
        self.dropped_live = 0
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        # Insertion order is age: a rewritten record moves to the end.
        self._entries: dict[str, tuple[str, int]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def run(self, op: Op[R]) -> R:
        """Run one operation."""
        (key,) = op.keys()
        with self._lock:
            now_ms = self._clock_ms()
            step = apply(op, self._read(key, now_ms), now_ms)
            if step.write is not None:
                self._write(key, step.write.text, step.write.ttl_ms, now_ms)
        return op.parse(step.reply, self.source)

    def run_many(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """Run operations in order."""
        return [self.run(op) for op in ops]

    def get(self, key: str) -> str | None:
        """The stored text."""
        with self._lock:
            return self._read(key, self._clock_ms())

    def put(self, key: str, text: str, ttl_ms: int) -> None:
        """Store a text for `ttl_ms`."""
        with self._lock:
            self._write(key, text, ttl_ms, self._clock_ms())

    def delete(self, *keys: str) -> int:
        """Delete keys and say how many there were."""
        with self._lock:
            now_ms = self._clock_ms()
            there = [key for key in dict.fromkeys(keys) if self._read(key, now_ms) is not None]
            for key in there:
                del self._entries[key]
            return len(there)

    def scan(self, pattern: str) -> Iterator[str]:
        """Keys that match a glob pattern."""
        # Redis negates a class with ^, fnmatch with !.
        matches = re.compile(fnmatch.translate(pattern.replace("[^", "[!"))).match
        with self._lock:
            now_ms = self._clock_ms()
            found = [key for key in list(self._entries) if matches(key) and self._read(key, now_ms) is not None]
        yield from found

    def close(self) -> None:
        """Nothing to give back."""

    def entries(self) -> list[Kept]:
        """What has a TTL, oldest first. What has none is this store's own mark."""
        with self._lock:
            now_ms = self._clock_ms()
            return [
                Kept(key, text, expires_ms - now_ms, now_ms)
                for key, (text, expires_ms) in self._entries.items()
                if expires_ms > now_ms
            ]

    def forget(self, keys: Iterable[str]) -> None:
        """Drop these, whatever they hold."""
        with self._lock:
            for key in keys:
                self._entries.pop(key, None)

    def prune(self) -> int:
        """Drop what has expired and say how many."""
        with self._lock:
            return self._prune(self._clock_ms())

    def _read(self, key: str, now_ms: int) -> str | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        text, expires_ms = entry
        if expires_ms and expires_ms <= now_ms:
            del self._entries[key]
            return None
        return text

    def _write(self, key: str, text: str, ttl_ms: int, now_ms: int) -> None:
        self._entries.pop(key, None)
        if len(self._entries) >= self.max_entries:
            self._make_room(now_ms)
        self._entries[key] = (text, now_ms + ttl_ms if ttl_ms else 0)

    def _make_room(self, now_ms: int) -> None:
        if self._prune(now_ms):
            return
        # What never expires is a mark, without which everything older would have to be held.
        lasting = {key for key, (_, expires_ms) in self._entries.items() if not expires_ms}
        victim = next((key for key, (text, _) in self._entries.items() if key not in lasting and not _live(text)), None)
        if victim is None:
            victim = next(iter(self._entries))
            self.dropped_live += 1
            log.error(
                "memory store is full: dropped the live record %s; raise max_entries above %d",
                victim,
                self.max_entries,
            )
        del self._entries[victim]

    def _prune(self, now_ms: int) -> int:
        expired = [key for key, (_, expires_ms) in self._entries.items() if expires_ms and expires_ms <= now_ms]
        for key in expired:
            del self._entries[key]
        return len(expired)


def _live(text: str) -> bool:
    return Record.loads(text).state in (State.CLAIMED, State.UNKNOWN)
