"""What the receiver knows: which signals are committed, which keys were used for what, and which are in flight.

The log is the database. A commit is its line in the log; the book in memory is what the log says, read back at start.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from tasks.receiver.log import Decision, LogWriter, Post, read_log, stamp


@dataclass(frozen=True, slots=True)
class Commit:
    """A signal that had its effect: the POST that brought it, its id, and when that POST arrived."""

    seq: int
    id: str
    sha256: str
    at: datetime
    effects: int = 1


Standing = Literal["free", "in_flight", "other_body"]
"""What stands under an idempotency key when no commit can be replayed."""


@dataclass(frozen=True, slots=True)
class Totals:
    """How many POSTs arrived, how many of them had an effect, and on how many signals."""

    posts: int
    effects: int
    signals: int


class Book:
    """The receiver's memory and its log, under one lock. `now` gives tz-aware times.

    Raises:
        InvalidSetting: another receiver holds the log.
        InvalidInput: the log holds what no receiver writes.
        OSError: the log cannot be opened, read or written.
    """

    def __init__(self, path: Path, *, plain: bool, fsync: bool, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._signals: dict[str, Commit] = {}
        self._keys: dict[str, Commit] = {}
        self._in_flight: dict[str, str] = {}
        self._seq = self._posts = self._effects = 0
        # Opened before it is read: from then on nobody else writes to it, and a torn last line is ended.
        self._log = LogWriter(path, fsync=fsync)
        try:
            self._read_back(path)
            self._log.append("start", at=stamp(now()), pid=os.getpid(), plain=plain)
        except BaseException:
            self._log.close()
            raise

    def arrived(
        self,
        *,
        key: str | None,
        webhook_id: str | None,
        attempt: str | None,
        declared: str | None,
        sha256: str,
        body: bytes,
    ) -> Post:
        """Number a POST and write it down, before anything is decided about it.

        Raises:
            OSError: it could not be written; nothing may be done about this POST.
        """
        text = body.decode("utf-8", "surrogateescape")
        with self._lock:
            self._seq += 1
            post = Post(self._seq, self._now(), key, webhook_id, attempt, declared, len(body), sha256, text)
            self._log.append(
                "post",
                seq=post.seq,
                at=stamp(post.at),
                key=key,
                webhook_id=webhook_id,
                attempt=attempt,
                declared=declared,
                size=post.size,
                sha256=sha256,
                body=text,
            )
            self._posts += 1
        return post

    def reserve(self, key: str, sha256: str) -> Commit | Standing:
        """Take `key` for the request at hand: after `free` it is in flight until `release`.

        A commit is to be replayed.
        """
        with self._lock:
            known = self._in_flight.get(key)
            if known is not None:
                return "in_flight" if known == sha256 else "other_body"
            commit = self._keys.get(key)
            if commit is None:
                self._in_flight[key] = sha256
                return "free"
            return commit if commit.sha256 == sha256 else "other_body"

    def release(self, key: str) -> None:
        """Take `key` out of flight."""
        with self._lock:
            self._in_flight.pop(key, None)

    def commit(self, post: Post, signal_id: str, key: str | None, *, status: int | None, fault: str | None) -> Commit:
        """Commit a signal: write the decision with its effect, then remember it.

        Args:
            key: what a later POST may replay this commit by, None for nothing.
            status, fault: what the log is to say about the answer.

        Raises:
            OSError: it could not be written; the signal is not committed.
        """
        decision = Decision(self._now(), True, signal_id, status, fault, False, None)
        with self._lock:
            self._write(post.seq, decision)
            return self._remember(post, signal_id, key)

    def decided(
        self,
        post: Post,
        *,
        status: int | None,
        fault: str | None,
        signal_id: str | None = None,
        replayed: bool = False,
        error: str | None = None,
    ) -> None:
        """Write down a decision that has no effect.

        Raises:
            OSError: it could not be written.
        """
        with self._lock:
            self._write(post.seq, Decision(self._now(), False, signal_id, status, fault, replayed, error))

    def find(self, signal_id: str) -> Commit | None:
        """The first commit of a signal, with the number of its effects."""
        with self._lock:
            return self._signals.get(signal_id)

    def latest(self, limit: int) -> list[Commit]:
        """The signals committed last, at most `limit`, oldest first."""
        with self._lock:
            return list(self._signals.values())[max(0, len(self._signals) - limit) :]

    @property
    def totals(self) -> Totals:
        """The counts so far, those of earlier runs included."""
        with self._lock:
            return Totals(self._posts, self._effects, len(self._signals))

    def close(self) -> None:
        """Give the log up."""
        with self._lock:
            self._log.close()

    def _read_back(self, path: Path) -> None:
        for post in read_log(path).posts:
            self._seq, self._posts = post.seq, self._posts + 1
            done = post.decision
            if done is not None and done.effect and done.id is not None:
                self._remember(post, done.id, post.key)

    def _remember(self, post: Post, signal_id: str, key: str | None) -> Commit:
        first = self._signals.get(signal_id)
        commit = Commit(post.seq, signal_id, post.sha256, post.at)
        self._signals[signal_id] = replace(first, effects=first.effects + 1) if first else commit
        if key is not None:
            self._keys.setdefault(key, commit)
        self._effects += 1
        return commit

    def _write(self, seq: int, done: Decision) -> None:
        self._log.append(
            "decision",
            seq=seq,
            at=stamp(done.at),
            effect=done.effect,
            id=done.id,
            status=done.status,
            fault=done.fault,
            replayed=done.replayed,
            error=done.error,
        )


def wall_now() -> datetime:
    """The wall clock, tz-aware."""
    return datetime.now(UTC)
