"""celery-once: a lock from `apply_async` until the task has ended."""

from __future__ import annotations

from celery_once import QueueOnce

from bench.peers.terms import REMEMBER_S
from bench.peers.working import AUTORETRY, STORE, make_app, post

app = make_app()
app.conf.ONCE = {
    "backend": "celery_once.backends.Redis",
    # The documentation's hour. A shorter lock would only be lost sooner: nothing here waits for one.
    "settings": {"url": STORE, "default_timeout": REMEMBER_S},
}


# graceful: a duplicate is no error of its sender. Not unlock_before_run, which would end the lock before the work.
@app.task(name="work", base=QueueOnce, once={"graceful": True, "keys": ["job"]}, **AUTORETRY)
def work(job: str, closed_at: str) -> str:
    """POST, under the lock that the sender took."""
    post(job)
    return "posted"
