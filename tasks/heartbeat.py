"""A file by which a process vouches for itself, so that a health check costs next to nothing.

Asking a worker over the broker (`celery inspect ping`) starts a Python process of a second of CPU each time. Here the
process itself moves the modification time of `HEARTBEAT_FILE` ahead of the clock whenever it has shown that it works,
and all that is left to check is whether that time is still to come (`docker/healthcheck`).

A worker shows it by the heartbeat of its event loop, which stops while the broker is away; beat by a message that the
broker took.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

log = logging.getLogger("candlelatch.heartbeat")

WORKER_GOOD_S = 30.0
"""How long one heartbeat of a worker, which has one every 2 s, is good for."""


def beat_good_s(sweep_interval_s: float) -> float:
    """How long one message of beat, which sends a sweep every `sweep_interval_s`, is good for."""
    return 2 * sweep_interval_s + 30.0


def vouch(file: Path | None, good_s: float) -> None:
    """Move the file's modification time to `good_s` from now. No file to write does no harm."""
    if file is None:
        return
    until = time.time() + good_s
    try:
        file.touch()
        os.utime(file, (until, until))
    except OSError as error:
        log.warning("HEARTBEAT_FILE %s cannot be written: %s", file, error.strerror)
