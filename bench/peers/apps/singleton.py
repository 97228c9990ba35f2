"""celery-singleton: a lock from `apply_async` until the task has succeeded or failed."""

from __future__ import annotations

from typing import Any

from celery.signals import worker_ready
from celery_singleton import Singleton, clear_locks

from bench.peers.terms import REMEMBER_S
from bench.peers.working import AUTORETRY, STORE, make_app, patience, post

app = make_app()
app.conf.singleton_backend_url = STORE
app.conf.singleton_backend_kwargs = {"retry": patience()}


# raise_on_duplicate stays off: with it a retry, which is a duplicate there, ends the worker (its issue 55).
@app.task(name="work", base=Singleton, unique_on=["job"], lock_expiry=REMEMBER_S, **AUTORETRY)
def work(job: str, closed_at: str) -> str:
    """POST, under the lock that the sender took."""
    post(job)
    return "posted"


@worker_ready.connect
def unlock_all(**_: Any) -> None:
    """What its documentation recommends against locks that a crash left behind."""
    clear_locks(app)
