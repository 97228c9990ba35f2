"""What became of the jobs: counted from the API's own log, and from the records of who holds jobs back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dedup.records import Record, State
from tasks.receiver import ReceiverLog


@dataclass(frozen=True, slots=True)
class Job:
    """One job at the end.

    Attributes:
        posts: POSTs that reached the API.
        effects: how many of them had an effect.
        held: why it is kept for a person; empty where it is not.
    """

    posts: int
    effects: int
    held: str = ""

    @property
    def doubled(self) -> bool:
        """It had its effect more than once."""
        return self.effects > 1

    @property
    def lost(self) -> bool:
        """It had none, and nothing says so."""
        return not self.effects and not self.held


@dataclass(frozen=True, slots=True)
class Counts:
    """Jobs of one kind, added up.

    Attributes:
        jobs: all of them.
        doubled: see `Job`.
        lost: see `Job`.
        held_unposted: held, and the API does not have them.
        held_posted: held, and the API has them.
        reposted: posted more than once, with one effect or more.
    """

    jobs: int
    doubled: int
    lost: int
    held_unposted: int
    held_posted: int
    reposted: int


def count(jobs: Iterable[Job]) -> Counts:
    """Add jobs up."""
    found = list(jobs)
    return Counts(
        len(found),
        sum(job.doubled for job in found),
        sum(job.lost for job in found),
        sum(bool(job.held) and not job.effects for job in found),
        sum(bool(job.held) and job.effects > 0 for job in found),
        sum(job.posts > 1 for job in found),
    )


def judge(names: Iterable[str], log: ReceiverLog, held: Mapping[str, str]) -> dict[str, Job]:
    """Every job by name."""
    posts = Counter(json.loads(post.body)["job"] for post in log.posts)
    effects = log.effects_by("job")
    return {name: Job(posts[name], effects.get((name,), 0), held.get(name, "")) for name in names}


def held_back(store: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """The jobs that a record of candlelatch holds, with the reason that stands in it."""
    held: dict[str, str] = {}
    wanted = list(names)
    for key, text in store.items():
        record = Record.loads(text)
        if record.state is State.UNKNOWN and record.held:
            held |= {name: record.reason for name in wanted if name in key}
    return held
