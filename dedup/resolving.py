"""Settling by hand what is held: a person's operation on a record, without I/O.

A person looks at what is HELD, finds out, and says what is so. It acts on the record exactly as it was seen: where a
late owner, another person or a look-up came first, it is refused, and the reply shows what stands there instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from dedup.replies import Settled, parse_settled


class Resolution(StrEnum):
    """What a person says of a signal that is held."""

    POSTED = "posted"
    """The API has it. It is DONE."""
    REJECTED = "rejected"
    """It is not to be posted any more. It is DONE."""
    RESEND = "resend"
    """It is to be sent, once: the next delivery goes on, whatever `ON_UNKNOWN` says. Its doubt stays: should that
    delivery be refused or come too late, it is HELD again."""


@dataclass(frozen=True, slots=True)
class Resolve:
    """Settle what is HELD. Acts only on a record that is as it was seen.

    Attributes:
        token: a fresh nonce: it takes the record from its owner, whose late release or doubt then does nothing.
        seen_token, seen_attempt, seen_at_ms: of the record that the person has seen.
        outcome: the record becomes DONE so; empty leaves it UNKNOWN and open to one delivery.
        by: who says so.
        why: in words.
        ttl_ms: how long the record is kept from now on.
    """

    script: ClassVar[str] = "resolve"
    key: str
    token: str
    seen_token: str
    seen_attempt: int
    seen_at_ms: int
    outcome: str
    by: str
    why: str
    ttl_ms: int

    def keys(self) -> tuple[str, ...]:
        """KEYS[1]: the record."""
        return (self.key,)

    def args(self) -> tuple[str | int, ...]:
        """ARGV as ``resolve.lua`` lists it."""
        seen = (self.seen_token, self.seen_attempt, self.seen_at_ms)
        return (self.token, *seen, self.outcome, self.by, self.why, self.ttl_ms)

    def parse(self, reply: Sequence[Any], source: str) -> Settled:
        """``{acted, record or nil}``."""
        return parse_settled(reply, source)
