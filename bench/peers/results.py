"""One peer under one fault, run and written down."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.peers.cast import Peer
from bench.peers.faults import Fault
from bench.peers.judging import Counts, Job, count, held_back, judge
from bench.peers.world import world


@dataclass(frozen=True, slots=True)
class Result:
    """What one peer made of one fault.

    Attributes:
        peer: its name.
        version: its package's.
        idempotent: whether its API was.
        fault: its name.
        jobs: by name.
        took_s: from the engine's start to the end.
        notes: what happened besides.
    """

    peer: str
    version: str
    idempotent: bool
    fault: str
    jobs: dict[str, Job]
    took_s: float
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> Counts:
        """The jobs added up."""
        return count(self.jobs.values())

    def dumps(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, line: str) -> Result:
        """What `dumps` wrote."""
        fields: dict[str, Any] = json.loads(line)
        jobs = {name: Job(**job) for name, job in fields.pop("jobs").items()}
        return cls(jobs=jobs, notes=tuple(fields.pop("notes")), **fields)


def run(peer: Peer, fault: Fault, jobs: int, keep: Path | None = None) -> Result:
    """Let a fault happen to a peer.

    Args:
        peer: installed.
        fault: happens once, to all jobs.
        jobs: how many.
        keep: its files are left there; by default they are removed.

    Raises:
        AssertionError: it did not come to the point where the fault strikes; tells what the processes wrote.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
        home = Path(scratch) if keep is None else keep
        home.mkdir(parents=True, exist_ok=True)
        with world(home, peer, jobs) as found:
            fault.happen(found, peer)
            seen = judge(found.jobs, found.receiver.read(), held_back(found.store(), found.jobs))
            notes = tuple(found.notes)
    took_s = round(time.monotonic() - began, 1)
    return Result(peer.name, peer.version, peer.idempotent, fault.name, seen, took_s, notes)


def read(path: Path) -> Iterator[Result]:
    """Results that were written to a file, one per line."""
    with path.open() as lines:
        yield from (Result.loads(line) for line in lines)


def of(results: Iterable[Result], peer: Peer, fault: Fault | None = None) -> list[Result]:
    """Those of one peer, and of one fault where it is given."""
    return [
        one
        for one in results
        if (one.peer, one.idempotent) == (peer.name, peer.idempotent) and (fault is None or one.fault == fault.name)
    ]
