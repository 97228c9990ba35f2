"""The rules that one kind of record lives by: its lease, how long it is kept, and what follows a doubt.

A rules object turns a key and a token into the operations of `dedup.ops`, so that sync and async code, the pipeline and
the library make the same ones.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import StrEnum

from dedup.ops import Begin, Claim, Complete, Doubt, Release, Resolution, Resolve
from dedup.records import Record


def new_token() -> str:
    """A fresh nonce for one delivery: 64 random bits in hex. Never use a task id, which redeliveries share."""
    return secrets.token_hex(8)


def token_start(token: str) -> str:
    """As much of a token as is shown to people: enough to tell deliveries apart, too little to act for one."""
    return token[:6]


class OnUnknown(StrEnum):
    """What follows when nobody knows whether a signal was posted."""

    HOLD = "hold"
    """It is HELD for a person. Right for every API."""
    RESEND = "resend"
    """It is sent again under the same `Idempotency-Key`. Only where the API honours it."""
    LOOKUP = "lookup"
    """The API is asked for the id: found is posted, not found is HELD."""


@dataclass(frozen=True, slots=True)
class CandleRules:
    """Rules of candle records: re-doable work.

    Attributes:
        ttl_ms: how long DONE is kept.
        lease_ms: longer than the candle task's hard time limit.
        max_failures: attempts that may fail or die before the candle is DONE `failed`.
    """

    ttl_ms: int = 3_600_000
    lease_ms: int = 90_000
    max_failures: int = 5

    def claim(self, key: str, token: str) -> Claim:
        """Claim a candle."""
        return Claim(key, token, self.lease_ms, self.ttl_ms, max_failures=self.max_failures)

    def complete(self, key: str, token: str, outcome: str, value: str = "", reason: str = "") -> Complete:
        """The candle was worked: what it led to is in the broker, so this is a fact."""
        return Complete(key, token, outcome, self.ttl_ms, value=value, reason=reason)

    def release(self, key: str, token: str, reason: str, retry_s: float = 0, failed: bool = False) -> Release:
        """Give the candle back."""
        return Release(key, token, self.ttl_ms, int(retry_s * 1000), reason, failed)


@dataclass(frozen=True, slots=True)
class SignalRules:
    """Rules of signal records: an effect that cannot be taken back.

    Attributes:
        ttl_ms: how long DONE is kept.
        held_ttl_ms: how long HELD is kept for a person.
        lease_ms: longer than the publish task's hard time limit.
        on_unknown: what follows a doubt.
        max_failures: leases that may run out before a signal is HELD even under `resend`.
        send_ms: the time one attempt may take: no attempt begins with less than this left of its lease.
        max_retry_s: the longest wait for which a task is scheduled; the sweep brings back what waits longer.
    """

    ttl_ms: int = 86_400_000
    held_ttl_ms: int = 2_592_000_000
    lease_ms: int = 60_000
    on_unknown: OnUnknown = OnUnknown.HOLD
    max_failures: int = 5
    send_ms: int = 10_000
    max_retry_s: float = 900.0

    @property
    def resume(self) -> bool:
        """Whether a new delivery may go on where another one left a doubt."""
        return self.on_unknown is not OnUnknown.HOLD

    def claim(self, key: str, token: str, digest: str) -> Claim:
        """Claim a signal: the write-ahead mark. From here its outcome is unknown until it is settled."""
        return Claim(
            key,
            token,
            self.lease_ms,
            self.ttl_ms,
            digest,
            effect=True,
            resume=self.resume,
            max_failures=self.max_failures,
            held_ttl_ms=self.held_ttl_ms,
        )

    def begin(self, key: str) -> Begin:
        """Read when the store's memory began."""
        return Begin(key)

    def posted(self, key: str, token: str, digest: str, reason: str) -> Complete:
        """The API has it: a fact."""
        return Complete(key, token, "posted", self.ttl_ms, reason=reason, digest=digest)

    def decided(self, key: str, token: str, outcome: str, reason: str) -> Complete:
        """The owner's decision: `expired`, `rejected`."""
        return Complete(key, token, outcome, self.ttl_ms, reason=reason, fact=False)

    def release(self, key: str, token: str, retry_s: float, reason: str) -> Release:
        """Definitely not sent, or refused for now."""
        return Release(key, token, self.ttl_ms, int(retry_s * 1000), reason)

    def doubt(self, key: str, token: str, digest: str, reason: str, hold: bool, retry_s: float = 0) -> Doubt:
        """Nobody knows whether it was posted. Kept as long as what is held: a doubt may meet a record that is."""
        return Doubt(key, token, reason, self.held_ttl_ms, hold, int(retry_s * 1000), digest)

    def resolve(self, key: str, token: str, seen: Record, resolution: Resolution, by: str, why: str) -> Resolve:
        """A person settles what is HELD, as they have seen it."""
        outcome = "" if resolution is Resolution.RESEND else resolution.value
        # What is sent once more is known for as long as what is held: it may be again.
        ttl_ms = self.ttl_ms if outcome else self.held_ttl_ms
        return Resolve(key, token, seen.token, seen.attempt, seen.at_ms, outcome, by, why, ttl_ms)
