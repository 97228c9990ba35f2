"""Bringing records home: what was kept in memory while the store was away is written to the store when it is back.

The store's own knowledge stands. A record that it has never heard of is adopted as it is. Where it knows the key, one
thing only is taken from memory: a delivery that had claimed the key in the store before the outage, and ended its work
during it, ends its own claim now, by the same operation, and under the same rule, as if the store had been there.
Everything else that the store knows stays as it is, and the record from memory is dropped.

All pure; `dedup.stores.fallback` does the asking.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from dedup.ops import Complete, Doubt, Op, Release
from dedup.records import Record, State


@dataclass(frozen=True, slots=True)
class Kept:
    """One entry of the store in memory.

    Attributes:
        text: as it is stored.
        left_ms: what is left of its life.
        now_ms: the clock of that store when the entry was read; the times in a record are taken from it.
    """

    key: str
    text: str
    left_ms: int
    now_ms: int


@dataclass(frozen=True, slots=True)
class Adopted:
    """Reply to `Adopt`.

    Attributes:
        acted: the store holds this text now, through this call or through its resent twin.
        record: what stands under the key now.
        source: where it stands.
    """

    acted: bool
    record: Record
    source: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """Keep a text under a key that the store knows nothing of; leave it alone where it knows something.

    Attributes:
        text: a record or a plain value.
        ttl_ms: how long it is kept.
    """

    script: ClassVar[str] = "adopt"
    key: str
    text: str
    ttl_ms: int

    def keys(self) -> tuple[str, ...]:
        """KEYS[1]: the record."""
        return (self.key,)

    def args(self) -> tuple[str | int, ...]:
        """ARGV as ``adopt.lua`` lists it."""
        return (self.text, self.ttl_ms)

    def parse(self, reply: Sequence[Any], source: str) -> Adopted:
        """``{acted, record}``."""
        acted, record = reply
        return Adopted(bool(int(acted)), Record.loads(record), source)


def adoption(kept: Kept, ahead_ms: int) -> Adopt:
    """What brings an entry home.

    Args:
        kept: the entry.
        ahead_ms: by how much the store's clock is ahead of the memory's: a lease keeps what is left of it.
    """
    record = Record.loads(kept.text)
    if record.state is State.DONE:
        # As it was written: the time at which it was done decides nothing any more, and a value stays to the byte.
        return Adopt(kept.key, kept.text, kept.left_ms)
    until_ms = record.until_ms + ahead_ms if record.until_ms else 0
    moved = replace(record, until_ms=until_ms, at_ms=record.at_ms + ahead_ms)
    return Adopt(kept.key, moved.dumps(), kept.left_ms)


def settlement(kept: Kept, adopted: Adopted) -> Op[Any] | None:
    """How a delivery's own claim, which the store still holds, is to end. None where the store's word stands."""
    ours, theirs = Record.loads(kept.text), adopted.record
    if adopted.acted or ours.foreign or theirs.state is not State.CLAIMED or theirs.token != ours.token:
        return None
    retry_ms = max(0, ours.until_ms - kept.now_ms)
    match ours.state:
        case State.DONE:
            value = "" if ours.value is None else json.dumps(ours.value, separators=(",", ":"), ensure_ascii=False)
            # Posted is a fact, and ends a doubt; anything else is the owner's decision, and does not.
            fact = ours.outcome == "posted"
            return Complete(kept.key, ours.token, ours.outcome, kept.left_ms, value, ours.reason, ours.digest, fact)
        case State.RELEASED:
            return Release(kept.key, ours.token, kept.left_ms, retry_ms, ours.reason, failed=ours.failures > 0)
        case State.UNKNOWN:
            return Doubt(kept.key, ours.token, ours.reason, kept.left_ms, ours.held, retry_ms, ours.digest)
        case State.CLAIMED:
            return None
