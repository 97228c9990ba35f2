"""Waiting for what happens in other processes: polled, with a deadline, never a fixed sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.03
DEADLINE_S = 60.0


def eventually(
    holds: Callable[[], T], what: str, timeout_s: float = DEADLINE_S, situation: Callable[[], str] = str
) -> T:
    """Wait until `holds` answers something true, and return that.

    Raises:
        AssertionError: it did not within `timeout_s`; names `what`, and tells the end of the situation.
    """
    deadline = time.monotonic() + timeout_s
    while not (answer := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain for {what}\n{situation()[-8000:]}")
        time.sleep(POLL_S)
    return answer
