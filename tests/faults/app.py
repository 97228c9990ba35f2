"""The pipeline's app with labelled points in it: `celery -A tests.faults.app worker`. For tests only.

The tasks are the real ones. Functions that they call are wrapped, so that `tests.faults.labels.Plan` hears when one is
about to be called and when it has returned.

===============  ===================================================================================================
task             points
===============  ===================================================================================================
evaluate_candle  before and after each of claim, fetch, enqueue, complete, ack
publish_signal   before and after each of claim, post, complete, ack; and `post sent`, when the request has left and
                 nothing of the reply has been read
sweep            before and after each of reads, enqueue (of one candle), republish (of one signal), ack
===============  ===================================================================================================
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

from celery import current_task
from celery.worker.request import Request

import tasks.lifecycle
from dedup import http_deadline
from dedup.cache import CandleCache, SignalPublishCache
from dedup.delivery import HttpDelivery
from dedup.ops import Claim
from tasks import candles, sweep
from tasks.app import app
from tests.faults.labels import Plan

__all__ = ["app", "tasks"]

PLAN = Plan.of(os.environ)


def reach(point: str) -> None:
    """Pass a point of the task that runs in this process."""
    if current_task:
        request = current_task.request
        PLAN.reach(current_task.name, point, _subject(request.id, request.kwargs))


def reach_beside(request: Request, point: str) -> None:
    """Pass a point in the parent, which acknowledges a task's message when the task has ended."""
    PLAN.reach(request.name, point, _subject(request.id, request.kwargs))


def _subject(task_id: str, kwargs: dict[str, Any] | None) -> str:
    kwargs = kwargs or {}
    return str(kwargs.get("instrument") or kwargs.get("signal", {}).get("instrument") or task_id)


def around(owner: Any, name: str, step: str | Callable[..., str]) -> None:
    """Wrap a function: it is a step of the task, or whichever step its arguments say."""
    function = getattr(owner, name)

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        called = step if isinstance(step, str) else step(*args, **kwargs)
        reach(f"before {called}")
        answer = function(*args, **kwargs)
        reach(f"after {called}")
        return answer

    setattr(owner, name, wrapped)


def _asked(_: SignalPublishCache, ops: Any) -> str:
    return "claim" if isinstance(ops[0], Claim) else type(ops[0]).__name__.lower()


def _acknowledging() -> None:
    acknowledge = Request.acknowledge

    def acknowledged(self: Request) -> None:
        reach_beside(self, "before ack")
        acknowledge(self)
        reach_beside(self, "after ack")

    Request.acknowledge = acknowledged


def _sending() -> None:
    connection = http_deadline._Connection
    getresponse = connection.getresponse

    def awaited(self: Any) -> Any:
        reach("post sent")
        return getresponse(self)

    connection.getresponse = awaited


def _enqueueing_one() -> None:
    apply_async = candles.evaluate_candle.apply_async

    def one(*args: Any, **kwargs: Any) -> Any:
        # A candle that is tried again comes this way too.
        sweeping = current_task and current_task.name == "sweep"
        if sweeping:
            reach("before enqueue")
        sent = apply_async(*args, **kwargs)
        if sweeping:
            reach("after enqueue")
        return sent

    candles.evaluate_candle.apply_async = one


around(CandleCache, "claim", "claim")
around(CandleCache, "complete", "complete")
around(candles, "ask_source", "fetch")
around(candles, "enqueue_publish", "enqueue")
around(SignalPublishCache, "ask", _asked)
around(HttpDelivery, "send", "post")
around(sweep, "look", "reads")
around(sweep, "enqueue_publish", "republish")
_enqueueing_one()
_sending()
_acknowledging()
