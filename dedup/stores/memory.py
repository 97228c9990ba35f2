"""Records in this process's memory: one process, on purpose, or while Redis is away."""

from __future__ import annotations

import fnmatch
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Any, NamedTuple, TypeVar

from dedup.adopt import Kept
from dedup.amnesia import Mark
from dedup.keys import is_candle
from dedup.ops import Op
from dedup.records import State
from dedup.transitions import Stored, apply, record_of, text_of

R = TypeVar("R")
log = logging.getLogger("dedup.stores.memory")

_NEVER_MS = 1 << 62


def _wall_ms() -> int:
    return int(time.time() * 1000)


class _Entry(NamedTuple):
    """What is under a key, until when, and since when. `expires_ms` is 0 where it is kept for ever: a mark."""

    stored: Stored
    expires_ms: int
    written_ms: int


class MemoryStore:
    """A bounded, thread-safe store in memory.

    Full, it drops, in this order: what has expired; the oldest record that nothing is lost with (a candle that is DONE,
    anything RELEASED); the oldest other record that is DONE; the oldest live one, a claim or an unknown. The last two
    are counted and logged. A signal that was dropped may be asked for again, and must not be taken for new: the mark of
    when this memory began (`dedup.keys.since_key`) moves past the moment at which its record was written, so that it
    is held.

    Args:
        max_entries: bound on the number of records.
        clock_ms: the store's clock, ms since the epoch.

    Attributes:
        dropped_live: claims and unknowns that were dropped before they had expired.
        dropped_done: records of signals, and others than candles, that were DONE and dropped before they had expired.
    """

    source = "memory"

    def __init__(self, max_entries: int = 1000, clock_ms: Callable[[], int] = _wall_ms) -> None:
        self.max_entries = max_entries
        self.dropped_live = 0
        self.dropped_done = 0
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        # Insertion order is age: a rewritten record moves to the end.
        self._entries: dict[str, _Entry] = {}
        # Nothing expires before. Most writes to a full store need not look at all of it.
        self._soonest_ms = 0

    def __len__(self) -> int:
        return len(self._entries)

    def run(self, op: Op[R]) -> R:
        """Run one operation."""
        (key,) = op.keys()
        with self._lock:
            now_ms = self._clock_ms()
            step = apply(op, self._read(key, now_ms), now_ms)
            if step.write is not None:
                self._write(key, step.write.stored, step.write.ttl_ms, now_ms)
        return op.parse(step.reply, self.source)

    def run_many(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """Run operations in order."""
        return [self.run(op) for op in ops]

    def get(self, key: str) -> str | None:
        """The stored text."""
        with self._lock:
            stored = self._read(key, self._clock_ms())
        return None if stored is None else text_of(stored)

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
                Kept(key, text_of(entry.stored), entry.expires_ms - now_ms, now_ms)
                for key, entry in self._entries.items()
                if entry.expires_ms > now_ms
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

    def _read(self, key: str, now_ms: int) -> Stored | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires_ms and entry.expires_ms <= now_ms:
            del self._entries[key]
            return None
        return entry.stored

    def _write(self, key: str, stored: Stored, ttl_ms: int, now_ms: int) -> None:
        self._entries.pop(key, None)
        if len(self._entries) >= self.max_entries:
            self._make_room(now_ms)
        expires_ms = now_ms + ttl_ms if ttl_ms else 0
        if ttl_ms and expires_ms < self._soonest_ms:
            self._soonest_ms = expires_ms
        self._entries[key] = _Entry(stored, expires_ms, now_ms)

    def _make_room(self, now_ms: int) -> None:
        if self._prune(now_ms):
            return
        key, worth = self._victim()
        entry = self._entries.pop(key)
        if worth is not _Worth.NOTHING:
            self._move_marks(entry.written_ms + 1)
            self._say(key, worth)

    def _victim(self) -> tuple[str, _Worth]:
        """The oldest of what is worth least. What never expires is a mark, without which all that is older is held."""
        oldest: dict[_Worth, str] = {}
        for key, entry in self._entries.items():
            if entry.expires_ms:
                worth = _worth(key, entry.stored)
                if worth is _Worth.NOTHING:
                    return key, worth
                oldest.setdefault(worth, key)
        for worth in (_Worth.DONE, _Worth.LIVE):
            if worth in oldest:
                return oldest[worth], worth
        return next(iter(self._entries)), _Worth.LIVE

    def _move_marks(self, since_ms: int) -> None:
        for key, entry in self._entries.items():
            mark = None if entry.expires_ms else Mark.loads(text_of(entry.stored))
            if mark is not None and mark.since_ms < since_ms:
                self._entries[key] = entry._replace(stored=replace(mark, since_ms=since_ms).dumps())

    def _say(self, key: str, worth: _Worth) -> None:
        if worth is _Worth.LIVE:
            self.dropped_live += 1
            log.error(
                "memory store is full: dropped the live record %s; raise max_entries above %d", key, self.max_entries
            )
            return
        self.dropped_done += 1
        # The first one, and then one line for as many as there is room for.
        if (self.dropped_done - 1) % self.max_entries == 0:
            log.warning(
                "memory store is full: dropped %s, which is done, the %d. such record: signals as old are held, not "
                "taken for new; raise max_entries above %d",
                key,
                self.dropped_done,
                self.max_entries,
            )

    def _prune(self, now_ms: int) -> int:
        if now_ms < self._soonest_ms:
            return 0
        expired = [key for key, entry in self._entries.items() if entry.expires_ms and entry.expires_ms <= now_ms]
        for key in expired:
            del self._entries[key]
        ends = (entry.expires_ms for entry in self._entries.values() if entry.expires_ms)
        self._soonest_ms = min(ends, default=_NEVER_MS)
        return len(expired)


class _Worth(Enum):
    """What is lost with a record."""

    NOTHING = auto()
    DONE = auto()
    LIVE = auto()


def _worth(key: str, stored: Stored) -> _Worth:
    state = record_of(stored).state
    if state is State.RELEASED or (state is State.DONE and is_candle(key)):
        return _Worth.NOTHING
    return _Worth.DONE if state is State.DONE else _Worth.LIVE
