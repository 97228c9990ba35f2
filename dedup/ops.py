"""The operations on a record, without I/O: what to send, and what the reply means.

Each is a frozen dataclass. A store runs it as one atomic Lua script on one key (``lua/<script>.lua``, one round trip),
or, in memory, as the same transition in `dedup.transitions`. ``keys()`` and ``args()`` say what the script gets,
``parse(reply, source)`` what it said (`dedup.replies`). The protocol and its state table are in ``docs/design.md``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, TypeVar

from dedup.marking import Begin, Remember
from dedup.records import Record, State
from dedup.replies import Answer, Began, Claimed, Peeked, Remembered, Settled, parse_settled, read_record
from dedup.resolving import Resolution, Resolve

__all__ = [
    "Answer",
    "Began",
    "Begin",
    "Claim",
    "Claimed",
    "Complete",
    "Doubt",
    "Op",
    "Peek",
    "Peeked",
    "Release",
    "Remember",
    "Remembered",
    "Resolution",
    "Resolve",
    "Settled",
]

R_co = TypeVar("R_co", covariant=True)


class Op(Protocol[R_co]):
    """One operation. `script` names its Lua file."""

    script: ClassVar[str]

    def keys(self) -> tuple[str, ...]:
        """Every key it touches: exactly one."""
        ...

    def args(self) -> tuple[str | int, ...]:
        """What the script finds in ARGV."""
        ...

    def parse(self, reply: Any, source: str) -> R_co:
        """The meaning of the store's reply; `source` is `redis` or `memory`."""
        ...


@dataclass(frozen=True, slots=True)
class Claim:
    """Take the exclusive right to work on a key for `lease_ms`.

    Claiming again with the same token is ACQUIRED again: a client resends a command whose reply was lost.

    Attributes:
        token: a fresh nonce per delivery, never the task id, which redeliveries share.
        lease_ms: longer than the work's hard time limit, so that nothing has to be renewed.
        ttl_ms: how long the record is kept.
        digest: of the payload; a key taken by another digest is a CONFLICT. Empty is not compared.
        effect: the work has an effect that cannot be taken back, so a lease that ran out leaves it UNKNOWN. Where it is
            False the work may be done again and is simply taken over.
        resume: a new delivery may go on with UNKNOWN work (the API is idempotent, or it will look it up). Where it is
            False the work becomes HELD.
        max_failures: leases that ran out and failed attempts after which re-doable work is DONE `failed`, and an effect
            HELD.
        held_ttl_ms: how long a HELD record is kept; 0 means `ttl_ms`.
    """

    script: ClassVar[str] = "claim"
    key: str
    token: str
    lease_ms: int
    ttl_ms: int
    digest: str = ""
    effect: bool = False
    resume: bool = False
    max_failures: int = 5
    held_ttl_ms: int = 0

    def keys(self) -> tuple[str, ...]:
        """KEYS[1]: the record."""
        return (self.key,)

    def args(self) -> tuple[str | int, ...]:
        """ARGV as ``claim.lua`` lists it."""
        held_ttl_ms = self.held_ttl_ms or self.ttl_ms
        flags = (int(self.effect), int(self.resume))
        return (self.token, self.lease_ms, self.ttl_ms, self.digest, *flags, self.max_failures, held_ttl_ms)

    def opening(self) -> tuple[str, int]:
        """Text and TTL in ms of a plain ``SET key text NX GET PX ttl``: the whole claim where nothing is there.

        A plain command cannot say when the lease ends by the server's clock, so the text says at which remaining TTL it
        does.
        """
        lapse_ttl_ms = max(self.ttl_ms - self.lease_ms, 1)
        digest = f',"d":{_quoted(self.digest)}' if self.digest else ""
        text = f'{{"s":"claimed","t":{_quoted(self.token)},"n":1,"l":{lapse_ttl_ms}{digest}}}'
        return text, self.lease_ms + lapse_ttl_ms

    def opened(self, found: str | None, source: str) -> Claimed | None:
        """The answer, given what the ``SET`` found under the key; None where only the script can tell."""
        if found is None:
            lapse_ttl_ms = max(self.ttl_ms - self.lease_ms, 1)
            record = Record(State.CLAIMED, self.token, digest=self.digest, lapse_ttl_ms=lapse_ttl_ms)
            return Claimed(Answer.ACQUIRED, record, self.lease_ms, source)
        record = Record.loads(found)
        if record.state is not State.DONE:
            return None
        other = self.digest and record.digest and self.digest != record.digest
        return Claimed(Answer.CONFLICT if other else Answer.DUPLICATE, record, 0, source)

    def parse(self, reply: Sequence[Any], source: str) -> Claimed:
        """``{answer, left_ms, record}``."""
        answer, left_ms, record = reply
        # In memory the record comes as it is.
        found = record if isinstance(record, Record) else Record.loads(record)
        return Claimed(Answer(answer), found, int(left_ms), source)


def _quoted(text: str) -> str:
    # Tokens and digests are hex as a rule, and a claim's first try is made to cost what a bare lock costs.
    return f'"{text}"' if text.isalnum() else json.dumps(text, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Complete:
    """Make the record DONE. The first DONE stands.

    Attributes:
        outcome: how it ended: ``posted``, ``evaluated``, ``expired`` …
        ttl_ms: how long DONE is kept.
        value: JSON text to keep with it, empty for none. A candle keeps its signals here.
        reason: in words.
        digest: kept where there was no record to keep it.
        fact: it is a fact about the world (the API said 201; the tasks are in the broker), true whoever holds the
            claim, and even where the record was forgotten. Where it is False it is the owner's decision ("never
            posted"), and acts only for the token that holds the record, and only where no earlier attempt is in doubt.
    """

    script: ClassVar[str] = "complete"
    key: str
    token: str
    outcome: str
    ttl_ms: int
    value: str = ""
    reason: str = ""
    digest: str = ""
    fact: bool = True

    def keys(self) -> tuple[str, ...]:
        """KEYS[1]: the record."""
        return (self.key,)

    def args(self) -> tuple[str | int, ...]:
        """ARGV as ``complete.lua`` lists it."""
        return (self.token, self.outcome, self.ttl_ms, self.value, self.reason, self.digest, int(self.fact))

    parse = staticmethod(parse_settled)


@dataclass(frozen=True, slots=True)
class Release:
    """Give the claim back: definitely nothing happened in this attempt. Acts only for the token that holds it.

    The record becomes RELEASED, open to the next claim, and keeps attempt and failures. Where an earlier attempt is in
    doubt it goes back to UNKNOWN: a release after doubt never means "never happened".

    Attributes:
        retry_ms: when the owner will try again; until then the sweep leaves the key alone. Claims do not wait for it.
        failed: count the attempt as a failure.
    """

    script: ClassVar[str] = "release"
    key: str
    token: str
    ttl_ms: int
    retry_ms: int = 0
    reason: str = ""
    failed: bool = False

    def keys(self) -> tuple[str, ...]:
        """KEYS[1]: the record."""
        return (self.key,)

    def args(self) -> tuple[str | int, ...]:
        """ARGV as ``release.lua`` lists it."""
        return (self.token, self.ttl_ms, self.retry_ms, self.reason, int(self.failed))

    parse = staticmethod(parse_settled)


@dataclass(frozen=True, slots=True)
class Doubt:
    """Say that nobody knows whether the effect happened. Acts only for the token that holds the record, or where the
    store has forgotten it.

    Attributes:
        hold: leave it to a person (HELD); otherwise a claim with `resume` goes on with it.
        retry_ms: when the next delivery is due; until then the sweep leaves the key alone.
    """

    script: ClassVar[str] = "doubt"
    key: str
    token: str
    reason: str
    ttl_ms: int
    hold: bool
    retry_ms: int = 0
    digest: str = ""

    def keys(self) -> tuple[str, ...]:
        """KEYS[1]: the record."""
        return (self.key,)

    def args(self) -> tuple[str | int, ...]:
        """ARGV as ``doubt.lua`` lists it."""
        return (self.token, self.reason, self.ttl_ms, int(self.hold), self.retry_ms, self.digest)

    parse = staticmethod(parse_settled)


@dataclass(frozen=True, slots=True)
class Peek:
    """Read a record and change nothing."""

    script: ClassVar[str] = "peek"
    key: str

    def keys(self) -> tuple[str, ...]:
        """KEYS[1]: the record."""
        return (self.key,)

    def args(self) -> tuple[str | int, ...]:
        """None."""
        return ()

    def parse(self, reply: Sequence[Any], source: str) -> Peeked:
        """``{record or nil, now_ms, pttl_ms}``."""
        text, now_ms, pttl_ms = reply
        record = read_record(text)
        if record is not None and record.lapse_ttl_ms:
            record = replace(record, until_ms=int(now_ms) + int(pttl_ms) - record.lapse_ttl_ms)
        return Peeked(record, int(now_ms), source)
