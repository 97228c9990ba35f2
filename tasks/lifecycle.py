"""What a worker does when it starts and when it forks."""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import beat_init, worker_init, worker_process_init

from dedup.errors import StoreError
from tasks.runtime import forget_pipeline, pipeline

log = logging.getLogger("candlelatch.lifecycle")


@worker_process_init.connect(weak=False)
def _forked(**_: Any) -> None:
    forget_pipeline()


@worker_init.connect(weak=False)
@beat_init.connect(weak=False)
def _begin_memory(**_: Any) -> None:
    """Let the store's memory begin before the first candle closes, so that the first signal is not held."""
    try:
        since_ms = pipeline().signals.begin()
    except StoreError as error:
        log.warning("cannot read when the store's memory began: %s", error)
    else:
        log.info("the store remembers since %d ms", since_ms)
