"""Plain Celery with late acknowledgement: at least once, and no claim at all."""

from __future__ import annotations

from bench.peers.working import AUTORETRY, make_app, post

app = make_app()


@app.task(name="work", **AUTORETRY)
def work(job: str, closed_at: str) -> str:
    """POST."""
    post(job)
    return "posted"
