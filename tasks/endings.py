"""How every delivery ended, told once: to the log as one line, and to the observer.

A task that returns says itself how it ended (`tasks.results`). Celery's signals tell of the others:

===========  ==================================================================================================
outcome      meaning
===========  ==================================================================================================
retry        the task asked to be run again
gave_up      it asked as often as it may
error        it raised: bad arguments, or a mistake in the pipeline
time_limit   it ran into its time limit; the message is delivered again
worker_lost  its process died under it; it is run again
revoked      somebody revoked or terminated it
expired      its message was too old when a worker came to it
bad_message  no task of this pipeline
===========  ==================================================================================================
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery.signals import task_failure, task_rejected, task_retry, task_revoked, task_success, task_unknown

from dedup.errors import TryAgain
from tasks.logs import OUTCOME, outcome_logger
from tasks.runtime import pipeline

ERRORS = frozenset({"held", "conflict", "rejected", "failed", "gave_up", "error", "time_limit", "worker_lost"})
"""Outcomes that somebody should look at."""

MAX_CHARS = 300

_ABOUT = ("instrument", "timeframe", "candle_start")
_IDS = (("id", "task_id"), ("parent_id", "parent_id"), ("root_id", "root_id"))

log = outcome_logger()


@task_success.connect(weak=False)
def _returned(sender: Any = None, result: Any = None, runtime: float | None = None, **_: Any) -> None:
    if isinstance(result, dict) and "outcome" in result:
        took = {} if runtime is None else {"took_s": round(runtime, 4)}
        _tell(sender.name, result, took | _ids(sender.request))


@task_retry.connect(weak=False)
def _asked_again(sender: Any = None, request: Any = None, reason: Any = None, **_: Any) -> None:
    cause = getattr(reason, "exc", None)
    lost = isinstance(cause, WorkerLostError)
    # Celery's own words for it begin with when it is run again.
    said = {"outcome": "worker_lost" if lost else "retry", "reason": str(cause or reason)}
    kwargs = request.kwargs or getattr(sender.request, "kwargs", None)
    _tell(sender.name, said | about(kwargs), {"tries": request.retries + 1} | _ids(request))


@task_failure.connect(weak=False)
def _raised(sender: Any = None, task_id: str = "", exception: Any = None, kwargs: Any = None, **_: Any) -> None:
    said = {"outcome": _kind(exception), "reason": f"{type(exception).__name__}: {exception}"}
    # Where the worker itself tells of the end, no request is at hand.
    _tell(sender.name, said | about(kwargs), _ids(sender.request) | {"task_id": task_id})


@task_revoked.connect(weak=False)
def _revoked(
    sender: Any = None, request: Any = None, terminated: bool = False, expired: bool = False, **_: Any
) -> None:
    if expired:
        said = {"outcome": "expired", "reason": "its message was too old when a worker came to it"}
    else:
        said = {"outcome": "revoked", "reason": "terminated" if terminated else "before it began"}
    _tell(sender.name, said | about(request.kwargs), _ids(request))


@task_unknown.connect(weak=False)
@task_rejected.connect(weak=False)
def _no_task(message: Any = None, exc: Any = None, **_: Any) -> None:
    if message is None:
        return
    headers = message.headers if isinstance(message.headers, Mapping) else {}
    found = {"task_id": _short(headers.get("id"))} if headers.get("id") else {}
    reason = f"{type(exc).__name__}: {exc}" if exc is not None else "no message of a task"
    _tell(_short(headers.get("task") or "?"), {"outcome": "bad_message", "reason": reason}, found)


def about(kwargs: Any) -> dict[str, str]:
    """What a task is about, from arguments that may be anything."""
    if not isinstance(kwargs, Mapping):
        return {}
    signal = kwargs.get("signal")
    fields = signal if isinstance(signal, Mapping) else kwargs
    found = {name: _short(fields[name]) for name in _ABOUT if isinstance(fields.get(name), str)}
    if isinstance(signal, Mapping) and isinstance(signal.get("id"), str):
        found["signal"] = _short(signal["id"])
    return found


def _kind(error: object) -> str:
    if isinstance(error, (TimeLimitExceeded, SoftTimeLimitExceeded)):
        return "time_limit"
    if isinstance(error, WorkerLostError):
        return "worker_lost"
    return "gave_up" if isinstance(error, TryAgain) else "error"


def _tell(task: str, said: Mapping[str, Any], more: Mapping[str, Any]) -> None:
    outcome = str(said["outcome"])
    fields = {"task": task, **said, **more}
    if isinstance(fields.get("reason"), str):
        fields["reason"] = _short(fields["reason"])
    log.log(logging.ERROR if outcome in ERRORS else logging.INFO, OUTCOME, **fields)
    pipeline().observer.ended(task, outcome, said)


def _ids(request: Any) -> dict[str, str]:
    return {name: value for field, name in _IDS if (value := getattr(request, field, None))}


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…"
