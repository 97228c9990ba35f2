"""candlelatch's publish path: `SignalPublisher`, in a task. `PEERS_ON_UNKNOWN` is its policy, `hold` by default."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from celery import Task
from celery.signals import worker_process_init

import dedup
from bench.peers.terms import HTTP_S, LEASE_S, REMEMBER_S
from bench.peers.working import API, STORE, make_app, stop_at
from dedup.delivery import Attempted, HttpDelivery, Message

dedup.configure(
    redis_url=STORE,
    signal_api_url=API,
    signal_lookup_url=f"{API}/{{id}}",
    on_unknown=os.environ.get("PEERS_ON_UNKNOWN", "hold"),
    publish_lease_s=float(LEASE_S),
    http_deadline_s=HTTP_S,
    signal_ttl_s=float(REMEMBER_S),
)
app = make_app()


class StoppableDelivery:
    """Its own delivery, between the points that every peer's POST has."""

    def __init__(self, inner: HttpDelivery) -> None:
        self._inner = inner

    def send(self, message: Message, attempt: int) -> Attempted:
        """POST."""
        job = json.loads(message.body)["job"]
        stop_at("before", job)
        attempted = self._inner.send(message, attempt)
        stop_at("after", job)
        return attempted

    def look_up(self, signal_id: str) -> Attempted:
        """GET."""
        return self._inner.look_up(signal_id)


@cache
def publisher() -> dedup.SignalPublisher:
    """One per process."""
    delivery = StoppableDelivery(HttpDelivery(dedup.configured().delivery()))
    return dedup.SignalPublisher(dedup.get_signal_publish_cache(), delivery)


@worker_process_init.connect
def begin(**_: Any) -> None:
    """The store's memory begins when the program starts, not with the first signal."""
    publisher()


@app.task(name="work", bind=True, max_retries=30)
def work(self: Task[..., str], job: str, closed_at: str) -> str:
    """Publish. What the pipeline leaves to its sweep, a key that is busy, comes back here by itself."""
    close = datetime.fromisoformat(closed_at)
    signal = {"instrument": job, "candle_close": closed_at, "job": job}
    try:
        published = publisher().publish(signal, close - timedelta(minutes=15))
    except dedup.StoreError as error:
        raise self.retry(countdown=1, exc=dedup.TryAgain(str(error))) from error
    if published.outcome in ("retry", "busy"):
        wait_s = 1 if published.retry_in_s is None else published.retry_in_s
        raise self.retry(countdown=wait_s, exc=dedup.TryAgain(published.reason))
    return published.outcome
