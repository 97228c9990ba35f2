"""Tests that look at the wall clock stay away from the close of a candle."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

QUARTER_S = 900
ROOM_S = 5.0


def within_a_quarter() -> None:
    """Wait until no 15m candle closes within the next seconds."""
    left_s = QUARTER_S - time.time() % QUARTER_S
    if left_s < ROOM_S:
        time.sleep(left_s + 0.01)


def last_quarter() -> datetime:
    """The start of the 15m candle that closed last."""
    return datetime.fromtimestamp(time.time() // QUARTER_S * QUARTER_S, UTC) - timedelta(seconds=QUARTER_S)
