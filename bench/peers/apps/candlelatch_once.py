"""candlelatch for any task: `Once(effect=True)`. `PEERS_RESUME=1`: the API recognises a repetition."""

from __future__ import annotations

import os
from typing import Any

import dedup
from bench.peers.terms import LEASE_S, LIMIT_S, REMEMBER_S
from bench.peers.working import AUTORETRY, STORE, make_app, post
from dedup.celery import Once, OnceTask

dedup.configure(redis_url=STORE)
app = make_app()
RESUME = os.environ.get("PEERS_RESUME") == "1"
RULES = Once(key="{job}", effect=True, resume=RESUME, lease_s=LEASE_S, remember_s=REMEMBER_S, max_wait_s=2)
# A retry says that nothing happened. Nobody knows that of a failed POST, unless the API recognises the next one.
RETRY: dict[str, Any] = AUTORETRY if RESUME else {}


@app.task(name="work", base=OnceTask, once=RULES, time_limit=LIMIT_S, **RETRY)
def work(job: str, closed_at: str) -> str:
    """POST, under the claim that this delivery has."""
    post(job)
    return "posted"
