"""What every peer's worker has in common: the app's settings, the POST, and the points at which it can be stopped."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import redis
import requests
from celery import Celery
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from bench.peers.terms import HTTP_S, LIMIT_S, QUEUE, VISIBILITY_S

BROKER = os.environ["PEERS_BROKER"]
RESULTS = os.environ["PEERS_RESULTS"]
STORE = os.environ["PEERS_STORE"]
API = os.environ["PEERS_API"]
POINTS = os.environ.get("PEERS_POINTS")

AUTORETRY: dict[str, Any] = {
    "autoretry_for": (Exception,),
    "retry_backoff": 1,
    "retry_backoff_max": 4,
    "retry_jitter": False,
    "max_retries": 10,
}
"""Celery's own way to try again what failed, the same for all that are given it."""


def patience() -> Retry:
    """How often a client sends again what went wrong: what `redis.Redis()` does by itself, and `from_url` does not."""
    return Retry(ExponentialWithJitterBackoff(base=0.01, cap=1), 10)


def store_client(**options: Any) -> redis.Redis:
    """A client of the store, for peers that are handed one."""
    client: redis.Redis = redis.Redis.from_url(STORE, retry=patience(), **options)
    return client


def make_app() -> Celery:
    """An app that loses as little as Celery's documentation knows how to, whatever peer is on it."""
    app = Celery("peers", broker=BROKER, backend=RESULTS)
    app.conf.update(
        task_default_queue=QUEUE,
        task_time_limit=LIMIT_S,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # What ran into its time limit goes back to the queue. By default it would be acknowledged, and gone.
        task_acks_on_timeout=False,
        worker_prefetch_multiplier=1,
        # Children start slowly on a busy machine.
        worker_proc_alive_timeout=60,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_S,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "unacked_mutex_expire": 5,
        },
    )
    return app


def post(job: str) -> None:
    """The effect. The key is sent to every API; a plain one does not look at it.

    Raises:
        requests.RequestException: no answer, or one that is not 2xx.
    """
    stop_at("before", job)
    headers = {"Idempotency-Key": job}
    requests.post(API, json={"job": job}, headers=headers, timeout=HTTP_S).raise_for_status()
    stop_at("after", job)


def stop_at(point: str, job: str) -> None:
    """Say that this point is reached, and wait there while the harness wants it. Only a job's first delivery does."""
    if POINTS is None:
        return
    wanted = Path(POINTS) / point
    been_here = Path(POINTS) / f"{point}.{job}.{os.getpid()}"
    if not wanted.exists() or any(other != been_here for other in Path(POINTS).glob(f"{point}.{job}.*")):
        return
    been_here.touch()
    while wanted.exists():
        time.sleep(0.05)
