"""What a worker does when it starts, when it forks, and when a task has ended."""

from __future__ import annotations

import json
import logging
from typing import Any

from celery.signals import (
    after_task_publish,
    beat_init,
    heartbeat_sent,
    task_retry,
    task_success,
    worker_init,
    worker_process_init,
)

from dedup.errors import StoreDenied, StoreError
from tasks.heartbeat import WORKER_GOOD_S, beat_good_s, vouch
from tasks.refusal import refuse_to_start
from tasks.runtime import forget_pipeline, pipeline

log = logging.getLogger("candlelatch.lifecycle")
outcomes = logging.getLogger("candlelatch.outcomes")


@worker_process_init.connect(weak=False)
def _forked(**_: Any) -> None:
    forget_pipeline()


@worker_init.connect(weak=False)
@beat_init.connect(weak=False)
def _begin_memory(**_: Any) -> None:
    """Let the store's memory begin before the first candle closes, so that the first signal is not held.

    A store that is away may come back and is waited for. One that denies this user will not change its mind.
    """
    try:
        since_ms = pipeline().signals.begin()
    except StoreDenied as error:
        refuse_to_start(error)
    except StoreError as error:
        log.warning("cannot read when the store's memory began: %s", error)
    else:
        log.info("the store remembers since %d ms", since_ms)


@heartbeat_sent.connect(weak=False)
def _worker_lives(**_: Any) -> None:
    vouch(pipeline().settings.heartbeat_file, WORKER_GOOD_S)


@beat_init.connect(weak=False)
def _beat_begins(**_: Any) -> None:
    # Connected here, as in a worker it would run for every message that a task sends.
    after_task_publish.connect(_beat_lives, weak=False)
    _beat_lives()


def _beat_lives(**_: Any) -> None:
    settings = pipeline().settings
    vouch(settings.heartbeat_file, beat_good_s(settings.sweep_interval))


@task_success.connect(weak=False)
def _log_outcome(sender: Any = None, result: Any = None, **_: Any) -> None:
    if outcomes.isEnabledFor(logging.INFO) and isinstance(result, dict) and "outcome" in result:
        outcomes.info("outcome %s", json.dumps({"task": sender.name, **result}, default=str, ensure_ascii=False))


@task_retry.connect(weak=False)
def _log_retry(sender: Any = None, request: Any = None, reason: Any = None, **_: Any) -> None:
    fields = {"task": sender.name, "outcome": "retry", "reason": str(reason), "id": request.id}
    outcomes.info("outcome %s", json.dumps(fields, ensure_ascii=False))
