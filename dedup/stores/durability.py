"""How sure a write has to be before anything is built on it.

``server``      whatever the server is configured to do: ``appendfsync always`` replies when it is on the disk
``aof``         wait until it is on the server's disk, whatever ``appendfsync`` says (``WAITAOF``, Redis 7.2 and Valkey)
``replicas:N``  wait until N replicas have it in memory (``WAIT``)

The wait goes with the write in the same round trip, on the same connection. What is not acknowledged in time is
`StoreUnavailable`: nothing is posted on a claim that may be forgotten. The price is in ``docs/durability.md``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dedup.errors import InvalidSetting
from dedup.ops import Answer, Begin, Claimed, Op, Peek, Remembered, Settled

TIMEOUT_MS = 2000
_REPLICAS = re.compile(r"replicas:([1-9][0-9]{0,2})", re.ASCII)


class Level(StrEnum):
    """What a write waits for."""

    SERVER = "server"
    AOF = "aof"
    REPLICAS = "replicas"


@dataclass(frozen=True, slots=True)
class Durability:
    """What a write waits for, and for how long.

    Attributes:
        replicas: how many must have it, with `Level.REPLICAS`.
        timeout_ms: shorter than the client's socket time-out.
    """

    level: Level = Level.SERVER
    replicas: int = 0
    timeout_ms: int = TIMEOUT_MS

    @classmethod
    def parse(cls, text: str, what: str = "DEDUP_DURABILITY") -> Durability:
        """Read ``server``, ``aof`` or ``replicas:N``.

        Raises:
            InvalidSetting: anything else; `what` names the setting.
        """
        replicas = _REPLICAS.fullmatch(text)
        if replicas:
            return cls(Level.REPLICAS, int(replicas[1]))
        if text not in (Level.SERVER, Level.AOF):
            raise InvalidSetting(what, text, "write server, aof or replicas:N, as in replicas:1")
        return cls(Level(text))

    def __str__(self) -> str:
        return f"{self.level}:{self.replicas}" if self.level is Level.REPLICAS else self.level.value

    def command_behind(self, ops: Sequence[Op[Any]]) -> tuple[str | int, ...]:
        """What is sent behind operations, on the same connection; empty where nothing has to be waited for."""
        if self.level is Level.SERVER or all(isinstance(op, (Peek, Begin)) for op in ops):
            return ()
        match self.level:
            case Level.AOF:
                return ("WAITAOF", 1, 0, self.timeout_ms)
            case Level.REPLICAS:
                return ("WAIT", self.replicas, self.timeout_ms)
            case Level.SERVER:
                return ()

    def check(self) -> tuple[str | int, ...]:
        """What finds out, at once, whether a server can do it at all."""
        return ("WAITAOF", 1, 0, 1) if self.level is Level.AOF else ()

    def shortfall(self, reply: Any) -> str:
        """What is missing, in words; empty where the wait ended well."""
        if self.level is Level.AOF:
            return "" if int(reply[0]) >= 1 else f"not on the server's disk within {self.timeout_ms} ms"
        got = int(reply)
        if got >= self.replicas:
            return ""
        return f"acknowledged by {got} of {self.replicas} replicas within {self.timeout_ms} ms"


def relied_upon(reply: Any) -> bool:
    """Whether something is built on this reply: a claim that was acquired, a record that was settled."""
    match reply:
        case Claimed(answer=answer):
            return answer is Answer.ACQUIRED
        case Settled(acted=acted) | Remembered(acted=acted):
            return acted
    return False
