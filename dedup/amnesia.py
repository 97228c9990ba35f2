"""Whether a server still knows all that it once acknowledged. Pure; `dedup.stores.guard` does the asking.

Beside the moment at which a store's memory began, its mark (``dedup:since``) names the server process that answered
last, and what is known of how it keeps its data. Every publish claim reads the mark together with the facts of the
process that answers, in one step of that process. So whatever lies between two claims shows:

=========================================  ===========================================================================
what happened                              how it shows
=========================================  ===========================================================================
FLUSHALL, an empty replica takes over      the mark is gone
keys were evicted                          the process has evicted more, or less, than the mark says
a restart                                  another process answers. Its memory is the old one where every acknowledged
                                           write was on the disk (`Mark.keeps`); otherwise it begins with the process
a failover, to a lagging replica or not    another process, and it was a replica, or replicas were about
a slot of a Cluster was moved              another process, while the one that the mark names still serves its part
=========================================  ===========================================================================

What it cannot see: a backup that is put in place of newer data while no publisher runs. Delete the mark then.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum


class Why(StrEnum):
    """Why a memory began when it did."""

    UNKNOWN = ""
    MISSING = "missing"
    RESTARTED = "restarted"
    TAKEN_OVER = "taken_over"
    DEMOTED = "demoted"
    EVICTED = "evicted"

    @classmethod
    def _missing_(cls, value: object) -> Why:
        # Another version gives other reasons. What one says does not make the mark unreadable, and all of it forgotten.
        return cls.UNKNOWN

    @property
    def in_words(self) -> str:
        """For a log or a reason."""
        return _IN_WORDS[self]


_IN_WORDS = {
    Why.UNKNOWN: "nobody noted why",
    Why.MISSING: "there was no mark: everything was deleted, or this is the first start",
    Why.RESTARTED: "the server was restarted and had not every acknowledged write on its disk (appendfsync always)",
    Why.TAKEN_OVER: "another server took over (failover) and may not have all that the one before it acknowledged",
    Why.DEMOTED: "the server was a replica for a while and may not have all that was acknowledged then",
    Why.EVICTED: "the server has evicted keys (maxmemory): set maxmemory-policy noeviction",
}


@dataclass(frozen=True, slots=True)
class Server:
    """What a server process says of itself (``INFO``).

    Attributes:
        run: ``run_id``, a random name that each process chooses at its start.
        replid: ``master_replid``, which changes when a replica becomes a primary.
        promoted: it was a replica before: ``master_replid2`` is set.
        replicas: how many are connected.
        evicted: ``evicted_keys`` since its start.
        up_s: how long it has been running, full seconds.
    """

    run: str
    replid: str = ""
    promoted: bool = False
    replicas: int = 0
    evicted: int = 0
    up_s: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """What is kept under ``dedup:since``.

    Attributes:
        since_ms: when the store's memory began, by the server's clock.
        run, replid, evicted: of the process that answered last. `run` is empty where nobody looked yet: a plain number,
            which a person may write to vouch for the data.
        keeps: every write that it acknowledges is on its disk by then.
        replicated: it had replicas, one of which may take over.
        why: the memory began then, where anybody noticed.
    """

    since_ms: int
    run: str = ""
    replid: str = ""
    evicted: int = 0
    keeps: bool = False
    replicated: bool = False
    why: Why = Why.UNKNOWN

    def dumps(self) -> str:
        """As it is stored: a plain number where no process is named."""
        if not self.run:
            return str(self.since_ms)
        fields: dict[str, object] = {"since": self.since_ms, "run": self.run, "replid": self.replid}
        fields["evicted"] = self.evicted
        given = {"keeps": int(self.keeps), "replicated": int(self.replicated), "why": self.why}
        return json.dumps(fields | {name: value for name, value in given.items() if value}, separators=(",", ":"))

    @classmethod
    def loads(cls, text: str) -> Mark | None:
        """Read a mark; None where the text is none."""
        if text.isascii() and text.isdigit():
            return cls(int(text))
        try:
            found = json.loads(text)
            return cls(
                int(found["since"]),
                str(found["run"]),
                str(found["replid"]),
                int(found["evicted"]),
                bool(found.get("keeps")),
                bool(found.get("replicated")),
                Why(found.get("why", "")),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


def looked_at(
    mark: Mark, server: Server, now_ms: int, keeps: bool | None = None, neighbours: Collection[Server] = ()
) -> Mark:
    """The mark as it should stand, now that a server answered. Where its memory began anew the mark says why.

    Args:
        mark: as it stands.
        server: who answers.
        now_ms: by that server's clock.
        keeps: whether that server keeps every acknowledged write on its disk; None where that is not known.
        neighbours: the other servers of a Cluster, as they are now.
    """
    same = mark.run in ("", server.run)
    seen = replace(
        mark,
        run=server.run,
        replid=server.replid,
        evicted=server.evicted,
        keeps=keeps if keeps is not None else same and mark.keeps,
        replicated=mark.replicated or server.replicas > 0,
    )
    why = _why_anew(mark, server, neighbours) if mark.run else Why.UNKNOWN
    if not why:
        return seen
    # A process that has evicted nothing knows all that it was told since its start.
    # It counts full seconds, and began up to one of them later.
    started_ms = now_ms - 1000 * max(server.up_s - 1, 0)
    since_ms = min(now_ms, max(mark.since_ms, started_ms)) if why is Why.RESTARTED and not server.evicted else now_ms
    return replace(seen, since_ms=since_ms, replicated=server.replicas > 0, why=why)


def _why_anew(mark: Mark, server: Server, neighbours: Collection[Server]) -> Why:
    if mark.run == server.run:
        if mark.replid != server.replid and server.promoted:
            return Why.DEMOTED
        return Why.EVICTED if mark.evicted != server.evicted else Why.UNKNOWN
    moved_here = any(
        (mark.run, mark.replid, mark.evicted) == (other.run, other.replid, other.evicted) for other in neighbours
    )
    if not moved_here and (server.promoted or mark.replicated):
        return Why.TAKEN_OVER
    if not moved_here and not mark.keeps:
        return Why.RESTARTED
    return Why.EVICTED if server.evicted else Why.UNKNOWN
