"""What a worker or a beat does when it starts, when it forks, and while it lives."""

from __future__ import annotations

import logging
from typing import Any

from celery.app.trace import LOG_SUCCESS
from celery.signals import (
    after_setup_logger,
    after_setup_task_logger,
    after_task_publish,
    beat_init,
    heartbeat_sent,
    worker_init,
    worker_process_init,
)
from celery.utils.log import get_multiprocessing_logger

from dedup.errors import StoreDenied, StoreError
from tasks.heartbeat import WORKER_GOOD_S, beat_good_s, vouch
from tasks.logs import LogFormat, Redactor, formatter
from tasks.refusal import refuse_to_start
from tasks.runtime import forget_pipeline, pipeline
from tasks.settings import current_settings

log = logging.getLogger("candlelatch.lifecycle")


@after_setup_logger.connect(weak=False)
@after_setup_task_logger.connect(weak=False)
def _format_lines(logger: Any = None, **_: Any) -> None:
    """Celery has chosen level and file; how a line looks is `LOG_FORMAT`'s."""
    settings = current_settings()
    lines = formatter(settings.log_format, Redactor(settings.secret_texts()))
    # Celery gives the pool's logger handlers of its own, and no signal tells of them.
    for one in filter(None, (logger, get_multiprocessing_logger())):
        for handler in one.handlers:
            handler.setFormatter(lines)
    # It repeats, with the result in Python's words, what the line of the outcome says.
    logging.getLogger("celery.app.trace").addFilter(_tells_no_success)


def _tells_no_success(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or record.msg is not LOG_SUCCESS


@worker_init.connect(weak=False)
def _no_banner(sender: Any = None, **_: Any) -> None:
    """Celery's banner is many lines that are no JSON."""
    if current_settings().log_format is LogFormat.JSON:
        sender.quiet = True


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
