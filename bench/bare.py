"""Celery tasks to compare with: one INCR and nothing else, and a mark of when it was run."""

from __future__ import annotations

import os
import time
from functools import cache

import redis

from tasks.app import app

celery = app


@cache
def client() -> redis.Redis:
    """This process' client."""
    return redis.Redis.from_url(os.environ["REDIS_URL"])


@app.task(name="bench.incr")
def incr() -> None:
    """One INCR."""
    client().incr("bench:counter")


@app.task(name="bench.finish")
def finish() -> None:
    """Say when this was run."""
    client().rpush("bench:finished", time.time())
