"""The document's "Before (In-Memory Only)", as a user writes it: old code goes on working."""

from __future__ import annotations

from datetime import datetime
from types import ModuleType

import pytest

import dedup.aio.candles
import dedup.candles


@pytest.mark.parametrize("module", [dedup.candles, dedup.aio.candles], ids=lambda module: module.__name__)
def test_before(process: None, module: ModuleType) -> None:
    """Without a cache and without a Redis a candle is processed once in this process."""
    timestamp = datetime.fromisoformat("2025-01-01T10:30:02")
    processed = 0

    detector = module.CandleDetector()  # In-memory cache only
    if detector.should_process_candle("GOLD", "15m", timestamp):
        # Duplicate prevention lost on restart
        processed += 1
    if detector.should_process_candle("GOLD", "15m", timestamp):
        processed += 1

    assert processed == 1
    assert detector.should_process_candle("GOLD", "15m", datetime.fromisoformat("2025-01-01T10:45:00"))
    assert detector.should_process_candle("GOLD", "1h", timestamp)
    assert detector.should_process_candle("SILVER", "15m", timestamp)


async def test_both_methods_share_one_memory(process: None) -> None:
    """Without a cache a detector gives a candle once, whichever of its two methods is asked."""
    timestamp = datetime.fromisoformat("2025-01-01T10:30:02")
    detector = dedup.aio.candles.CandleDetector()
    assert await detector.should_process_candle_async("GOLD", "15m", timestamp)
    assert not detector.should_process_candle("GOLD", "15m", timestamp)
    assert detector.should_process_candle("SILVER", "15m", timestamp)
    assert not await detector.should_process_candle_async("SILVER", "15m", timestamp)
