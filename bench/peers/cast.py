"""Who takes part, and with which settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version


def as_it_is(job: str) -> str:
    """The job's name stands in its key."""
    return job


def singleton_lock(job: str) -> str:
    """celery-singleton hashes the task's name with its arguments."""
    from celery_singleton.util import generate_lock

    return str(generate_lock("work", [], {"job": job}))


def powertools_hash(job: str) -> str:
    """Powertools hashes what its JMESPath finds."""
    return hashlib.md5(json.dumps(job).encode()).hexdigest()


_LOOKUP, _RESEND, _RESUME = {"PEERS_ON_UNKNOWN": "lookup"}, {"PEERS_ON_UNKNOWN": "resend"}, {"PEERS_RESUME": "1"}


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to write the job.

    Attributes:
        name: in the table.
        app: module below `bench.peers.apps`.
        distribution: whose version is told; empty for what is no package.
        env: settings of the app.
        idempotent: its API honours `Idempotency-Key`. Otherwise it has one that does not look at it.
        needle: text that stands in the Redis commands about a job, and in none about another.
    """

    name: str
    app: str
    distribution: str
    env: Mapping[str, str] = field(default_factory=dict)
    idempotent: bool = False
    needle: Callable[[str], str] = as_it_is

    @property
    def module(self) -> str:
        """What its workers load."""
        return f"bench.peers.apps.{self.app}"

    @property
    def version(self) -> str:
        """Of the installed package."""
        return version(self.distribution) if self.distribution else "PR-072"

    @property
    def installed(self) -> bool:
        """Whether it can take part."""
        try:
            return bool(self.version)
        except PackageNotFoundError:
            return False


PLAIN = (
    Peer("celery-once", "once_queue", "celery-once"),
    Peer("celery-singleton", "singleton", "celery-singleton", needle=singleton_lock),
    Peer("celery-heimdall", "heimdall", "celery-heimdall"),
    Peer("Powertools", "powertools", "aws-lambda-powertools", needle=powertools_hash),
    Peer("plain Celery", "plain_celery", "celery"),
    Peer("seed, publisher", "seed", ""),
    Peer("seed, whole", "seed", "", {"PEERS_SEED": "whole"}),
    Peer("candlelatch Once", "candlelatch_once", "candlelatch"),
    Peer("candlelatch publisher", "candlelatch_publisher", "candlelatch"),
    Peer("candlelatch publisher, lookup", "candlelatch_publisher", "candlelatch", _LOOKUP),
)
"""Before an API that is plain: every POST that it takes has an effect. It can be asked for an id; `lookup` does."""

IDEMPOTENT = (
    Peer("plain Celery", "plain_celery", "celery", idempotent=True),
    Peer("Powertools", "powertools", "aws-lambda-powertools", idempotent=True, needle=powertools_hash),
    Peer("candlelatch Once, resume", "candlelatch_once", "candlelatch", _RESUME, idempotent=True),
    Peer("candlelatch publisher, resend", "candlelatch_publisher", "candlelatch", _RESEND, idempotent=True),
)
"""Before an API that honours `Idempotency-Key`."""

PEERS = PLAIN + IDEMPOTENT
