"""The document's example "Enhanced SignalPublisher", as a user writes it, and what it promises there."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from dedup.aio.cache import get_signal_publish_cache
from dedup.aio.publisher import SignalPublisher
from dedup.publisher import Published
from tasks.receiver import Receiver
from tests.engines import Engine

pytestmark = pytest.mark.usefixtures("closing")

CANDLE_START = datetime(2025, 1, 1, 10, 15, tzinfo=UTC)
SIGNAL = {"instrument": "GOLD", "side": "buy", "price": 2650.5}


async def publish(signal_data: dict[str, Any], candle_start: datetime) -> Published:
    # Initialize with persistent caching
    signal_cache = await get_signal_publish_cache()
    publisher = SignalPublisher(signal_publish_cache=signal_cache)

    # Duplicate prevention automatically applied in publish()
    result = await publisher.publish(signal_data, candle_start)
    return result


async def test_signal_is_posted_once(engine: Engine, api: Receiver) -> None:
    """The first publish posts the signal, every later one says that it was posted before, and the API saw one POST."""
    results = [await publish(SIGNAL, CANDLE_START) for _ in range(3)]
    assert [result.outcome for result in results] == ["posted", "duplicate", "duplicate"]
    assert (results[1].first, results[0].source, results[0].status) == ("posted", "redis", 201)
    assert len(api.read().posts) == 1


async def test_signal_stands_under_the_documents_key(engine: Engine) -> None:
    """The record stands under ``signal:publish:{instrument}:{candle_start}``, for a day, readable with GET."""
    await publish(SIGNAL, CANDLE_START)
    admin = engine.client()
    key = "signal:publish:GOLD:2025-01-01T10:15:00"
    assert set(admin.keys("*")) == {key, "dedup:since"}
    assert 86_390 < admin.ttl(key) <= 86_400
    assert '"o":"posted"' in admin.get(key)


async def test_of_many_at_once_one_posts(engine: Engine, api: Receiver) -> None:
    """Of fifty publishes of one signal at the same moment exactly one posts it."""
    results = await asyncio.gather(*(publish(SIGNAL, CANDLE_START) for _ in range(50)))
    assert [result.outcome for result in results].count("posted") == 1
    assert {result.outcome for result in results} <= {"posted", "busy", "duplicate"}
    assert len(api.read().posts) == 1


async def test_other_candles_and_instruments_are_other_signals(engine: Engine, api: Receiver) -> None:
    """Another candle's or another instrument's signal is posted beside it."""
    later = CANDLE_START.replace(minute=30)
    results = [await publish(SIGNAL, CANDLE_START), await publish(SIGNAL, later)]
    results.append(await publish({**SIGNAL, "instrument": "SILVER"}, CANDLE_START))
    assert [result.outcome for result in results] == ["posted", "posted", "posted"]
    assert len({post.key for post in api.read().posts}) == 3
