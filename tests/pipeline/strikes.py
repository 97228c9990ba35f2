"""What a `tests.pipeline.proxy.Proxy` does to which request or reply: the decisions, without I/O."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["drop", "delay", "truncate", "reset"]
Place = Literal["request", "reply"]

KINDS: tuple[Kind, ...] = ("drop", "delay", "truncate", "reset")
PLACES: tuple[Place, ...] = ("request", "reply")

REMEMBERED_BYTES = 1 << 20
"""As much of an exchange is searched for a needle."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One misbehaviour of the network, and which requests or replies it strikes.

    A request is all that a client says on one connection until it is answered, a reply all that it hears until it says
    something more. Requests and replies are counted over all connections, from when the strike was put.

    Kinds:
        drop: it is lost, and as in TCP nothing that follows it in its direction on its connection arrives either.
        delay: it arrives `seconds` later.
        truncate: its first `keep` bytes arrive, then both ends see the connection end in good order.
        reset: it does not arrive, and both ends see the connection reset (RST).

    Args:
        kind: what is done.
        at: to requests or to replies. A reply that does not arrive belongs to a request that did.
        nth: the first that is struck, 1 is the next one.
        times: how many are struck from there on; None strikes for ever.
        needle: only exchanges in which this was said are counted: by the client or, up to now, by the server.
        chance: each that is counted is struck with this probability, by the proxy's generator of random numbers.
        seconds: how long `delay` takes.
        keep: bytes that `truncate` lets through; None is half of what there is.
    """

    kind: Kind
    at: Place
    nth: int = 1
    times: int | None = 1
    needle: bytes = b""
    chance: float = 1.0
    seconds: float = 1.0
    keep: int | None = None

    def __post_init__(self) -> None:
        if self.nth < 1 or (self.times is not None and self.times < 1) or not 0 < self.chance <= 1:
            raise ValueError(f"nth and times begin at 1, chance lies above 0 and up to 1: {self}")

    def __str__(self) -> str:
        return f"{self.kind} {self.at} {self.nth}"


class Counted:
    """A strike with its counts."""

    def __init__(self, strike: Strike) -> None:
        self.strike = strike
        self._seen = 0
        self._struck = 0

    def strikes(self, rng: random.Random) -> bool:
        """Count one more, and say whether it is struck."""
        self._seen += 1
        spent = self.strike.times is not None and self._struck >= self.strike.times
        if spent or self._seen < self.strike.nth:
            return False
        if self.strike.chance < 1 and rng.random() >= self.strike.chance:
            return False
        self._struck += 1
        return True


class Exchange:
    """What was said on one connection since its client last began to speak."""

    def __init__(self) -> None:
        self._said = {"request": b"", "reply": b""}
        self._speaker: Place | None = None
        self._counted_by: list[Counted] = []

    def hear(self, speaker: Place, data: bytes) -> None:
        """Take in what one side says."""
        if speaker != self._speaker:
            self._speaker, self._counted_by = speaker, []
            if speaker == "request":
                self._said = {"request": b"", "reply": b""}
        self._said[speaker] = (self._said[speaker] + data)[:REMEMBERED_BYTES]

    def struck_by(self, plan: Sequence[Counted], rng: random.Random) -> Strike | None:
        """The first strike of the plan that strikes what is being said. Each counts one turn of speaking once."""
        for counted in plan:
            strike = counted.strike
            if strike.at != self._speaker or counted in self._counted_by or not self._says(strike.needle):
                continue
            self._counted_by.append(counted)
            if counted.strikes(rng):
                return strike
        return None

    def _says(self, needle: bytes) -> bool:
        return any(needle in said for said in self._said.values())
