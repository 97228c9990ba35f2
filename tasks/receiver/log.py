"""The receiver's log: every POST that arrived and what it did, as JSON lines that are only ever appended to.

Three kinds of line, told apart by `event`:

- `start`: a receiver opened the log. `at`, `pid`, `plain`.
- `post`: a POST has arrived, written before anything is decided about it. `seq`, `at`, `key` (Idempotency-Key),
  `webhook_id`, `attempt` (X-Attempt), `declared` (Content-Length), `size` (bytes that arrived), `sha256`, `body`.
- `decision`: what was done about post `seq`, written before it is answered. `at`, `effect`, `id`, `status`, `fault`,
  `replayed`, `error`.

Bytes that are no UTF-8 are kept in `body` as surrogate escapes, so the text gives back the bytes as they came.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from dedup.errors import InvalidInput, InvalidSetting


@dataclass(frozen=True, slots=True)
class Decision:
    """What the receiver did about one POST.

    `effect` is true exactly when the signal was newly committed. `status` is the HTTP status that was set out to be
    answered, None where a fault or a shutdown left the POST without any.
    """

    at: datetime
    effect: bool
    id: str | None
    status: int | None
    fault: str | None
    replayed: bool
    error: str | None


@dataclass(frozen=True, slots=True)
class Post:
    """One POST as it arrived. `decision` is None when the receiver died before it had decided."""

    seq: int
    at: datetime
    key: str | None
    webhook_id: str | None
    attempt: str | None
    declared: str | None
    size: int
    sha256: str
    body: str
    decision: Decision | None = None

    @property
    def effect(self) -> bool:
        """Whether this POST newly committed a signal."""
        return self.decision is not None and self.decision.effect

    @property
    def status(self) -> int | None:
        """HTTP status decided upon, None where there was none."""
        return self.decision.status if self.decision else None

    @property
    def body_bytes(self) -> bytes:
        """The body as it arrived."""
        return self.body.encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class ReceiverLog:
    """Everything one log says, in the order of arrival.

    `starts` counts the receivers that opened it. `torn` counts lines that end in the middle: a writer that is killed
    leaves at most one, and what it held was never answered.
    """

    posts: tuple[Post, ...]
    starts: int
    torn: int

    @cached_property
    def effects(self) -> dict[str, int]:
        """Number of effects by signal id."""
        decisions = (post.decision for post in self.posts if post.decision)
        return dict(Counter(done.id for done in decisions if done.effect and done.id is not None))

    @property
    def ids(self) -> frozenset[str]:
        """Distinct ids of the signals that had an effect."""
        return frozenset(self.effects)

    @property
    def doubles(self) -> dict[str, int]:
        """The signals that had more than one effect, with how many."""
        return {signal: count for signal, count in self.effects.items() if count > 1}

    @cached_property
    def statuses(self) -> dict[int | None, int]:
        """Number of decided POSTs by status; None counts those that were given no answer."""
        return dict(Counter(post.status for post in self.posts if post.decision))

    @cached_property
    def faults(self) -> dict[str, int]:
        """Number of POSTs by the fault that struck them."""
        return dict(Counter(post.decision.fault for post in self.posts if post.decision and post.decision.fault))

    @property
    def replays(self) -> int:
        """Number of POSTs that were given the first answer again, or would have been but for a fault."""
        return sum(1 for post in self.posts if post.decision and post.decision.replayed)

    @property
    def undecided(self) -> tuple[Post, ...]:
        """POSTs that arrived and about which nothing was decided yet, or ever."""
        return tuple(post for post in self.posts if post.decision is None)

    def effects_by(self, *fields: str) -> dict[tuple[Any, ...], int]:
        """Number of effects by fields of the body, such as `("strategy", "instrument", "candle_start")`.

        It trusts no id that a sender made up: two effects for one candle show here even under two ids.
        """
        bodies = (json.loads(post.body) for post in self.posts if post.effect)
        return dict(Counter(tuple(body.get(field) for field in fields) for body in bodies))


def read_log(path: str | os.PathLike[str]) -> ReceiverLog:
    """Read a receiver's log, also while a receiver is writing to it.

    Raises:
        InvalidInput: a whole line that no receiver writes; it names file and line.
        OSError: the file cannot be read.
    """
    posts: dict[int, Post] = {}
    starts = torn = 0
    for number, line in _lines(Path(path)):
        if line is None:
            torn += 1
            continue
        try:
            match line["event"]:
                case "start":
                    starts += 1
                case "post" if line["seq"] not in posts:
                    posts[line["seq"]] = _post(line)
                case "decision" if posts[line["seq"]].decision is None:
                    posts[line["seq"]] = replace(posts[line["seq"]], decision=_decision(line))
                case event:
                    raise ValueError(event)  # noqa: TRY301 one place says which line it was
        except (KeyError, TypeError, ValueError) as error:
            remedy = f"not a line of a receiver's log, or the second of its kind ({error!r}); give one unedited log"
            raise InvalidInput("receiver log", f"{path}:{number}", remedy) from error
    return ReceiverLog(tuple(posts[seq] for seq in sorted(posts)), starts, torn)


class LogWriter:
    """Appends lines to a log that it holds alone; safe to call from many threads.

    After a write has failed nothing more is written: what reached the disk is no longer known, and a log with a hole
    is no evidence.

    Raises:
        InvalidSetting: another receiver holds the log.
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path, *, fsync: bool = False) -> None:
        self.path = path
        self._fsync = fsync
        self._failed: OSError | None = None
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._end_torn_line()
        except BlockingIOError as error:
            os.close(self._file)
            remedy = "another receiver is writing to it; stop that one or give another file"
            raise InvalidSetting("log", str(path), remedy) from error
        except BaseException:
            os.close(self._file)
            raise

    def append(self, event: str, **fields: object) -> None:
        """Write one line. On return it is in the file, not only in a buffer of this process.

        Raises:
            OSError: it could not be written, now or at an earlier line.
        """
        if self._failed is not None:
            raise OSError(self._failed.errno, "the log could not be written earlier; restart the receiver")
        line = json.dumps({"event": event, **fields}, separators=(",", ":")).encode() + b"\n"
        try:
            self._write(line)
        except OSError as error:
            self._failed = error
            raise

    def close(self) -> None:
        """Give the log up. A process forked meanwhile does not keep it locked."""
        fcntl.flock(self._file, fcntl.LOCK_UN)
        os.close(self._file)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._file, data) :]
        if self._fsync:
            os.fsync(self._file)

    def _end_torn_line(self) -> None:
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            # Not a bare newline: a line that lost only its newline was counted as torn and has to stay so.
            self._write(b" torn\n")


def stamp(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds and a Z."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            yield number, _parsed(raw)


def _parsed(raw: bytes) -> Mapping[str, Any] | None:
    # A line without its newline is still being written, however whole it looks.
    if not raw.endswith(b"\n"):
        return None
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _post(line: Mapping[str, Any]) -> Post:
    fields = ("key", "webhook_id", "attempt", "declared", "size", "sha256", "body")
    return Post(line["seq"], datetime.fromisoformat(line["at"]), *(line[field] for field in fields))


def _decision(line: Mapping[str, Any]) -> Decision:
    fields = ("effect", "id", "status", "fault", "replayed", "error")
    return Decision(datetime.fromisoformat(line["at"]), *(line[field] for field in fields))
