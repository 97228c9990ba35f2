"""The publish task: `publish_signal` posts one signal, once. The outcomes are those of `dedup.publish_flow`."""

from __future__ import annotations

import logging
from typing import Any

from celery import Task

from dedup.delivery import Message
from dedup.errors import InvalidSignal, StoreError, TryAgain
from dedup.publish_flow import Publication, Published
from dedup.signals import Signal, digest
from tasks.app import app
from tasks.results import Result, signal_result
from tasks.runtime import Pipeline, pipeline, wall_ms, wall_now_ms
from tasks.shown import showing_again, showing_signal

log = logging.getLogger("candlelatch.publish")

STORE_RETRY_S = 3.0


def enqueue_publish(signal: Signal, producer: Any = None) -> None:
    """Send `publish_signal`. Inside a task it becomes that task's child, which Flower and the result show."""
    publish_signal.apply_async(kwargs={"signal": signal.fields()}, producer=producer, **showing_signal(signal))


def publication(line: Pipeline, signal: Signal) -> Publication:
    """What is published, under its key, with its times by the wall clock."""
    body = signal.body()
    return Publication(
        line.signals.key(signal.instrument, signal.candle_start, signal.timeframe, signal.strategy),
        Message(signal.id, body),
        digest(body),
        closed_at_ms=wall_ms(line.clock, signal.candle_close),
        expires_at_ms=wall_ms(line.clock, signal.expires_at),
    )


@app.task(name="publish_signal", bind=True, max_retries=200, Request="tasks.request:OutcomeRequest")
def publish_signal(self: Task[..., Result], signal: dict[str, Any]) -> Result:
    """Publish one signal: claim, POST, settle."""
    line = pipeline()
    posting = Signal.parse(signal)
    _check_closed(line, posting)
    if posting.candle_close <= line.horizon_start(line.clock.now()):
        old = Published("expired", "older than the horizon: its record may be gone", line.store.source)
        return signal_result(posting, old)
    try:
        published = line.publisher.publish_job(publication(line, posting))
    except StoreError as error:
        log.error("signal %s waits for the store: %s", posting.id, error)  # noqa: TRY400 the message says it all
        countdown_s = min(STORE_RETRY_S, line.settings.longest_wait_s)
        raise self.retry(countdown=countdown_s, exc=TryAgain(str(error)), **showing_again(self)) from error
    return _ended(self, line, posting, published)


def _check_closed(line: Pipeline, signal: Signal) -> None:
    """A clock that is behind by less than the check window may publish; a signal of the future is nobody's."""
    left_s = line.clock.seconds_until(signal.candle_close)
    if left_s > line.settings.candle_check_window and not line.past_by_store(signal.candle_close):
        close = signal.candle_close.isoformat()
        raise InvalidSignal("signal.candle_close", close, f"has not come: the candle closes in {left_s:.0f} s")


def _ended(task: Task[..., Result], line: Pipeline, signal: Signal, published: Published) -> Result:
    level = logging.ERROR if published.outcome in ("held", "conflict", "rejected") else logging.INFO
    log.log(level, "signal %s %s: %s (%s)", signal.id, signal.instrument, published.outcome, published.reason)
    wait_s = published.retry_in_s
    if published.outcome == "retry" and wait_s is not None and wait_s <= line.signals.rules.max_retry_s:
        raise task.retry(countdown=wait_s, exc=TryAgain(published.reason), **showing_again(task))
    late_s = (wall_now_ms() - wall_ms(line.clock, signal.candle_close)) / 1000
    return signal_result(signal, published, late_s=round(late_s, 3))
