"""The document's "After (With Redis)", as a user writes it."""

from __future__ import annotations

from datetime import datetime

import pytest

from dedup.aio.cache import get_candle_cache
from dedup.aio.candles import CandleDetector
from tests.engines import Engine

pytestmark = pytest.mark.usefixtures("closing")


async def after(timestamp: datetime) -> bool:
    processed = False
    cache = await get_candle_cache()  # Redis + in-memory fallback
    detector = CandleDetector(redis_cache=cache)
    if await detector.should_process_candle_async("GOLD", "15m", timestamp):
        # Duplicate prevention persists across restarts
        processed = True
    return processed


async def test_after(engine: Engine) -> None:
    """Every trigger of one candle, from its close to the next, is for the same candle, and one of them processes it."""
    triggers = ["10:30:00", "10:30:02", "10:31:00", "10:44:59"]
    answers = [await after(datetime.fromisoformat(f"2025-01-01T{moment}")) for moment in triggers]
    assert answers == [True, False, False, False]
    assert engine.client().keys("*") == ["candle:GOLD:15m:2025-01-01T10:15:00"]
    assert await after(datetime.fromisoformat("2025-01-01T10:45:00"))


async def test_old_and_new_code_may_run_side_by_side(engine: Engine) -> None:
    """A key that code of before has set counts as processed."""
    cache = await get_candle_cache()
    await cache.set("candle:GOLD:15m:2025-01-01T10:15:00", "processed", ttl=3600)
    assert not await after(datetime.fromisoformat("2025-01-01T10:30:00"))
