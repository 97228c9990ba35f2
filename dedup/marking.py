"""The operations on the mark of when a store's memory began, without I/O. `dedup.amnesia` says what the mark is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dedup.amnesia import Mark, Server
from dedup.replies import Began, Remembered


@dataclass(frozen=True, slots=True)
class Begin:
    """Read when the store's memory began, and let it begin now where it has no such mark (`dedup.keys.since_key`)."""

    script: ClassVar[str] = "begin"
    key: str

    def keys(self) -> tuple[str, ...]:
        """KEYS[1]: the mark."""
        return (self.key,)

    def args(self) -> tuple[str | int, ...]:
        """None."""
        return ()

    def parse(self, reply: Sequence[Any], source: str) -> Began:
        """``{mark, just_now, now_ms, run, replid, promoted, replicas, evicted, up_s}``; `run` empty where unknown."""
        text, just_now, now_ms, run, replid, promoted, replicas, evicted, up_s = reply
        mark = Mark.loads(str(text)) or Mark(int(now_ms))
        server = None
        if run:
            server = Server(run, replid, bool(int(promoted)), int(replicas or 0), int(evicted or 0), int(up_s or 0))
        return Began(mark.since_ms, bool(int(just_now)), source, int(now_ms), mark, str(text), server, mark.why)


@dataclass(frozen=True, slots=True)
class Remember:
    """Replace the mark of when the store's memory began, where it still is what was seen.

    Attributes:
        seen: the mark's text; empty where there was none.
        text: what it is to be.
    """

    script: ClassVar[str] = "remember"
    key: str
    seen: str
    text: str

    def keys(self) -> tuple[str, ...]:
        """KEYS[1]: the mark."""
        return (self.key,)

    def args(self) -> tuple[str | int, ...]:
        """ARGV as ``remember.lua`` lists it."""
        return (self.seen, self.text)

    def parse(self, reply: Sequence[Any], source: str) -> Remembered:
        """``{acted, mark}``."""
        acted, text = reply
        return Remembered(bool(int(acted)), str(text), source)
