"""Operations with the defaults that most tests share, and the way to the states that they start from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dedup.ops import Claim, Claimed, Complete, Doubt, Peek, Release, Resolve
from dedup.records import Record
from dedup.stores.protocol import Store
from tests.contract.subjects import Subject

KEY = "candle:GOLD:15m:2025-01-01T10:15:00"
LEASE_MS = 60_000
SHORT_MS = 20
TTL_MS = 600_000


def claim(token: str, **fields: Any) -> Claim:
    return Claim(KEY, token, **{"lease_ms": LEASE_MS, "ttl_ms": TTL_MS, **fields})


def complete(token: str, outcome: str = "posted", **fields: Any) -> Complete:
    return Complete(KEY, token, outcome, **{"ttl_ms": TTL_MS, **fields})


def release(token: str, **fields: Any) -> Release:
    return Release(KEY, token, **{"ttl_ms": TTL_MS, **fields})


def doubt(token: str, reason: str = "read timeout", hold: bool = False, **fields: Any) -> Doubt:
    return Doubt(KEY, token, reason, **{"ttl_ms": TTL_MS, "hold": hold, **fields})


def resolve(token: str, seen: Record, outcome: str = "", **fields: Any) -> Resolve:
    """Settle what was seen: as `outcome`, or to be sent once more where there is none."""
    of_seen = {"seen_token": seen.token, "seen_attempt": seen.attempt, "seen_at_ms": seen.at_ms}
    said = {"by": "anna", "why": "asked the broker", "ttl_ms": TTL_MS}
    return Resolve(KEY, token, outcome=outcome, **{**of_seen, **said, **fields})


def record_of(store: Store) -> Record:
    """The record as it stands."""
    record = store.run(Peek(KEY)).record
    assert record is not None
    return record


def untimed(record: Record | None) -> Record | None:
    """The record without its times: one claimed by a plain SET says in another way when its lease ends."""
    return None if record is None else replace(record, at_ms=0, until_ms=0, lapse_ttl_ms=0)


def lapse(subject: Subject, token: str, **fields: Any) -> Claimed:
    """Claim with a short lease and let it run out."""
    claimed = subject.store.run(claim(token, lease_ms=SHORT_MS, **fields))
    subject.pass_ms(SHORT_MS + 1)
    return claimed


def in_doubt(subject: Subject, old: str = "old", new: str = "new") -> Claimed:
    """`new` holds an effect that `old` may have had already."""
    lapse(subject, old, effect=True)
    return subject.store.run(claim(new, effect=True, resume=True))
