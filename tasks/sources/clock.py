"""What a source takes for the present."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Tells the present as a tz-aware datetime. A replay runs on a clock of its own."""


def utc_now() -> datetime:
    """The computer's clock, in UTC."""
    return datetime.now(UTC)
