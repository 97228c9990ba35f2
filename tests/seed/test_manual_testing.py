"""The document's "Manual Testing", as a user writes it."""

from __future__ import annotations

import pytest

from dedup.aio.cache import initialize_caches
from tests.engines import Engine

pytestmark = pytest.mark.usefixtures("closing")


async def test_manual_testing(engine: Engine) -> None:
    """What is set exists, with its TTL, and what is deleted does not."""
    # Test with Redis
    cache, _ = await initialize_caches()

    # Test duplicate prevention
    key1 = "candle:GOLD:15m:2025-01-01T10:15:00"
    await cache.set(key1, "processed", ttl=3600)

    # Check exists
    exists = await cache.exists(key1)  # True
    assert exists is True
    assert (await cache.get(key1), engine.client().ttl(key1)) == ("processed", 3600)

    await cache.delete(key1)
    exists = await cache.exists(key1)  # False
    assert exists is False


async def test_both_caches_are_there(engine: Engine) -> None:
    """Both caches are over Redis, with the TTLs of the document's table."""
    cache, signal_cache = await initialize_caches()
    await cache.set("candle:a", "1")
    await signal_cache.set("signal:publish:a", "1")
    admin = engine.client()
    assert (cache.source, signal_cache.source) == ("redis", "redis")
    assert (admin.ttl("candle:a"), admin.ttl("signal:publish:a")) == (3600, 86400)
