"""The record under a key: what the store remembers of one piece of work.

A record is one compact JSON object, readable with ``GET``. Fields that are empty are left out:

=====  =======================================================================================================
field  meaning
=====  =======================================================================================================
``s``  state: ``claimed``, ``released``, ``unknown`` or ``done``
``t``  token of the delivery that wrote it
``n``  attempt: how many deliveries have claimed the key; never falls while the key lives
``f``  failures: leases that ran out and attempts that failed; capped
``u``  until, ms: end of the lease (claimed), or when the next try is due (released, unknown)
``l``  in place of ``u`` (claimed): the lease runs out when this much is left of the key's TTL, ms
``a``  at, ms: when the record was written
``p``  1 where an earlier attempt's effect is in doubt
``h``  1 where only a person or a look-up may settle it: HELD
``g``  1 where a person lets it be sent once more: the next claim goes on, whatever the policy
``b``  by whom it was settled by hand, last
``y``  why they settled it so
``w``  why: the reason in words
``d``  digest of the payload
``o``  outcome (done)
``v``  value (done): for a candle its signals
=====  =======================================================================================================

All times are the store's own clock (Redis ``TIME``), in ms.

A newer version may add fields, of strings and numbers, and this one carries along what it does not know for as long as
the key lives. A state that it does not know is no record of ours to it: it counts as DONE, and is left to who knows it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_LETTERS = frozenset("stnfulaphgbywdov")

FOREIGN = "foreign"
"""Outcome of a value that is no record of ours: it counts as DONE."""


# An encoder that is made once: `json.dumps` with options makes one per call.
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class State(StrEnum):
    """Where a piece of work stands. No record at all means that nothing ever happened."""

    CLAIMED = "claimed"
    RELEASED = "released"
    UNKNOWN = "unknown"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Record:
    """One record; see the module's table for the fields' meaning and the letters they are stored under.

    Attributes:
        more: fields that this version does not know, by letter.
    """

    state: State
    token: str = ""
    attempt: int = 1
    failures: int = 0
    until_ms: int = 0
    at_ms: int = 0
    in_doubt: bool = False
    held: bool = False
    reason: str = ""
    digest: str = ""
    outcome: str = ""
    value: Any = None
    lapse_ttl_ms: int = 0
    granted: bool = False
    by: str = ""
    by_why: str = ""
    more: tuple[tuple[str, Any], ...] = ()

    def dumps(self) -> str:
        """The record as it is stored."""
        return _encode(self._fields())

    def _fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "s": self.state.value,
            "t": self.token,
            "n": self.attempt,
            "f": self.failures,
        }
        fields |= {"u": self.until_ms, "l": self.lapse_ttl_ms, "a": self.at_ms}
        fields |= {"p": int(self.in_doubt), "h": int(self.held), "w": self.reason, "d": self.digest, "o": self.outcome}
        fields |= {"g": int(self.granted), "b": self.by, "y": self.by_why}
        kept = {letter: value for letter, value in fields.items() if value not in ("", 0)}
        kept.update(self.more)
        return kept if self.value is None else kept | {"v": self.value}

    @classmethod
    def loads(cls, text: str) -> Record:
        """Read a stored value. What is no record of ours becomes DONE with outcome `FOREIGN`: never worked again."""
        try:
            fields = json.loads(text)
            return cls._from_fields(fields)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return cls(State.DONE, attempt=0, outcome=FOREIGN, value=text)

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Record:
        return cls(
            state=State(fields["s"]),
            token=fields.get("t", ""),
            attempt=int(fields.get("n", 1)),
            failures=int(fields.get("f", 0)),
            until_ms=int(fields.get("u", 0)),
            at_ms=int(fields.get("a", 0)),
            in_doubt=bool(fields.get("p", 0)),
            held=bool(fields.get("h", 0)),
            reason=fields.get("w", ""),
            digest=fields.get("d", ""),
            outcome=fields.get("o", ""),
            value=fields.get("v"),
            lapse_ttl_ms=int(fields.get("l", 0)),
            granted=bool(fields.get("g", 0)),
            by=fields.get("b", ""),
            by_why=fields.get("y", ""),
            more=tuple((letter, fields[letter]) for letter in sorted(fields.keys() - _LETTERS)),
        )

    @property
    def foreign(self) -> bool:
        """Whether it stands for a value that is no record of ours."""
        return self.state is State.DONE and self.outcome == FOREIGN and self.attempt == 0

    @property
    def waits(self) -> bool:
        """Whether it is HELD: it waits for a person or a look-up."""
        return self.state is State.UNKNOWN and self.held

    @property
    def settled(self) -> bool:
        """Whether no delivery will work on it again: DONE, or held for a person."""
        return self.state is State.DONE or self.waits
