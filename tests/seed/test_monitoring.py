"""The document's "Monitoring" and "Support": what an operator types into redis-cli finds what there is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dedup.aio import CandleDetector, SignalPublisher, initialize_caches
from tests.engines import Engine

pytestmark = pytest.mark.usefixtures("closing")


async def test_keys_are_found_by_their_prefixes(engine: Engine) -> None:
    """``KEYS candle:*`` and ``KEYS signal:publish:GOLD:*`` find the records, and ``GET`` shows them as JSON text."""
    cache, signal_cache = await initialize_caches()
    close = datetime(2025, 1, 1, 10, 30, tzinfo=UTC)
    await CandleDetector(redis_cache=cache).should_process_candle_async("GOLD", "15m", close)
    await SignalPublisher(signal_publish_cache=signal_cache).publish({"instrument": "gold"}, close)
    admin = engine.client()
    assert admin.keys("candle:*") == ["candle:GOLD:15m:2025-01-01T10:15:00"]
    assert admin.keys("signal:publish:GOLD:*") == ["signal:publish:GOLD:2025-01-01T10:30:00"]
    assert admin.get("candle:GOLD:15m:2025-01-01T10:15:00").startswith('{"s":"claimed"')
    assert admin.get("signal:publish:GOLD:2025-01-01T10:30:00").startswith("{")
    assert admin.dbsize() == 3


async def test_no_command_blocks_the_server(engine: Engine) -> None:
    """Clearing and listing walk with SCAN: the server never sees KEYS."""
    cache, _ = await initialize_caches()
    await cache.set("candle:GOLD:15m:a", "1")
    admin = engine.client()
    admin.config_resetstat()
    assert await cache.clear("candle:GOLD:*") == 1
    assert await cache.list_records() == []
    calls = admin.info("commandstats")
    assert "cmdstat_scan" in calls
    assert "cmdstat_keys" not in calls
