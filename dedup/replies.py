"""What the operations of `dedup.ops` are told, without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dedup.amnesia import Mark, Server, Why
from dedup.records import Record


class Answer(StrEnum):
    """What `Claim` was told."""

    ACQUIRED = "acquired"
    """The claim is held by this token: work, then settle it."""
    DUPLICATE = "duplicate"
    """The work is DONE; the record tells how."""
    BUSY = "busy"
    """Another delivery holds it, for `left_ms` more."""
    UNKNOWN = "unknown"
    """An effect whose outcome nobody knows is held for a person or a look-up."""
    CONFLICT = "conflict"
    """The key is taken by another payload: never work it."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """Reply to `Claim`.

    Attributes:
        answer: what to do.
        record: the record as it stands now.
        left_ms: what is left of the lease (ACQUIRED, BUSY).
        source: `redis`, `memory`, or `local`: known to be DONE without asking (`dedup.stores.local`).
    """

    answer: Answer
    record: Record
    left_ms: int
    source: str

    @property
    def fresh(self) -> bool:
        """Acquired where the store had no record at all. Only then may the store have forgotten one."""
        return self.answer is Answer.ACQUIRED and self.record.attempt == 1


@dataclass(frozen=True, slots=True)
class Settled:
    """Reply to `Complete`, `Release`, `Doubt` and `Resolve`.

    Attributes:
        acted: the record now says what was asked for, through this call or through its resent twin.
        record: the record as it stands now, None where there is none.
        source: `redis` or `memory`.
    """

    acted: bool
    record: Record | None
    source: str


@dataclass(frozen=True, slots=True)
class Began:
    """Reply to `Begin`.

    Attributes:
        since_ms: when the store's memory began, ms of its clock.
        just_now: it began with this call, or anything before it may be forgotten.
        source: `redis` or `memory`.
        now_ms: the store's clock; 0 where it does not say.
        mark: as it stands; `text` is how it is stored.
        server: the process that answered; None where it does not say.
        why: the memory began then.
    """

    since_ms: int
    just_now: bool
    source: str
    now_ms: int = 0
    mark: Mark | None = None
    text: str = ""
    server: Server | None = None
    why: Why = Why.UNKNOWN


@dataclass(frozen=True, slots=True)
class Remembered:
    """Reply to `Remember`: whether the mark is now what was asked for, its text as it stands, and where."""

    acted: bool
    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Peeked:
    """Reply to `Peek`: the record, None where there is none, and the store's clock at that moment in ms."""

    record: Record | None
    now_ms: int
    source: str


def read_record(text: str | Record | None) -> Record | None:
    """The record in a reply, None where there is none. In memory it comes as it is."""
    # An empty text is a foreign value, not an absent one.
    return text if text is None or isinstance(text, Record) else Record.loads(text)


def parse_settled(reply: Sequence[Any], source: str) -> Settled:
    """``{acted, record or nil}``."""
    acted, record = reply
    return Settled(bool(int(acted)), read_record(record), source)
