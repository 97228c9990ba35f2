"""celery-heimdall: a lock from `apply_async` on, held by the task's id, looked at again when the task runs."""

from __future__ import annotations

from typing import Any

import redis
from celery_heimdall import HeimdallTask

from bench.peers.terms import REMEMBER_S
from bench.peers.working import AUTORETRY, make_app, post, store_client

app = make_app()


class StoredTask(HeimdallTask):
    """Its locks live where everybody's do."""

    abstract = True

    def setup_redis(self) -> redis.Redis:
        """As its documentation shows."""
        return store_client()


def _key(args: Any, kwargs: Any) -> str:
    return str(args[0])


# unique_wait_for_expiry keeps the lock when the task has ended: the only memory of work done that it has.
@app.task(
    name="work",
    base=StoredTask,
    heimdall={"unique": True, "key": _key, "unique_timeout": REMEMBER_S, "unique_wait_for_expiry": True},
    **AUTORETRY,
)
def work(job: str, closed_at: str) -> str:
    """POST, under the lock."""
    post(job)
    return "posted"
