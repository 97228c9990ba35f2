"""The document's "Fallback Behavior": what a program sees when Redis is not there, and when it is again.

Where the document would post a signal twice it is not followed: publishing refuses, unless it is told otherwise.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import dedup
from dedup import BreakerRules, StoreUnavailable
from tasks.receiver import Receiver
from tests.engines import DURABLE, Engine
from tests.fallback.conftest import Server
from tests.seed.flavours import Flavour, told

CLOSE = datetime(2025, 1, 1, 10, 30, tzinfo=UTC)
KEY = "candle:GOLD:15m:2025-01-01T10:15:00"
SIGNAL = {"instrument": "GOLD", "side": "buy"}
SOON = BreakerRules(first_wait_s=0.001, max_wait_s=0.001)


@pytest.fixture
def server(process: None, api: Receiver) -> Iterator[Engine]:
    """A server that can be taken away; the library asks it again at once."""
    with Server(config=DURABLE) as engine:
        dedup.configure(redis_url=engine.url, signal_api_url=api.signals_url, breaker=SOON)
        yield engine


async def back(server: Server, flavour: Flavour) -> None:
    """Bring the server back, and wait until this process has noticed."""
    server.back()
    cache = await flavour.candle_cache()
    async with asyncio.timeout(30):
        while cache.source != "redis":
            await told(cache.exists("x"))
            await asyncio.sleep(0.01)


async def process_candle(flavour: Flavour) -> bool:
    detector = flavour.names.CandleDetector(redis_cache=await flavour.candle_cache())
    process: bool = await told(detector.should_process_candle_async("GOLD", "15m", CLOSE))
    return process


async def publish(flavour: Flavour, **options: Any) -> dedup.Published:
    cache = await flavour.signal_cache(options=dedup.configure(dedup.configured(), **options))
    published: dedup.Published = await told(
        flavour.names.SignalPublisher(signal_publish_cache=cache).publish(SIGNAL, CLOSE)
    )
    return published


async def test_startup_without_redis(server: Server, flavour: Flavour, caplog: pytest.LogCaptureFixture) -> None:
    """Startup: a warning is logged, and candles are processed once, in memory."""
    server.stop()
    cache, _ = await told(flavour.names.initialize_caches())
    assert "Redis cache: starting without Redis" in caplog.text
    assert cache.source == "memory"
    assert [await process_candle(flavour) for _ in range(3)] == [True, False, False]


async def test_runtime_without_redis(server: Server, flavour: Flavour) -> None:
    """Runtime: a Redis that goes away while the program runs is replaced by memory."""
    cache = await flavour.candle_cache()
    await told(cache.set("candle:before", "1"))
    server.stop()
    assert [await process_candle(flavour) for _ in range(2)] == [True, False]
    await told(cache.set("candle:during", "1"))
    assert await told(cache.exists("candle:during"))
    assert not await told(cache.exists("candle:before"))


async def test_redis_recovers(server: Server, flavour: Flavour) -> None:
    """Recovery: what was processed during the outage is in Redis then, and a process that starts now knows it."""
    server.stop()
    assert await process_candle(flavour)
    await back(server, flavour)
    assert not await process_candle(flavour)
    record = server.client().get(KEY)
    assert record is not None
    assert '"s":"claimed"' in record


async def test_publishing_refuses_without_redis(server: Server, api: Receiver, flavour: Flavour) -> None:
    """A signal is not posted while nobody can know whether it was, and is posted when Redis is back."""
    server.stop()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await publish(flavour)
    assert api.read().posts == ()
    await back(server, flavour)
    assert (await publish(flavour)).outcome == "posted"


async def test_publishing_may_be_told_to_go_on(server: Server, api: Receiver, flavour: Flavour) -> None:
    """With `signal_fallback="memory"` a signal is posted without Redis, once in this process, and says so; Redis
    knows it afterwards.
    """
    server.stop()
    results = [await publish(flavour, signal_fallback="memory") for _ in range(2)]
    assert [(result.outcome, result.source) for result in results] == [("posted", "memory"), ("duplicate", "local")]
    await back(server, flavour)
    cache = await flavour.signal_cache()
    assert (await told(cache.record(cache.key("GOLD", CLOSE)))).outcome == "posted"
    assert '"o":"posted"' in server.client().get("signal:publish:GOLD:2025-01-01T10:30:00")
    assert len(api.read().posts) == 1


async def test_signal_that_was_sent_when_redis_went_away(server: Server, api: Receiver, flavour: Flavour) -> None:
    """A signal whose record cannot be settled raises, and stays claimed: it is in doubt when its lease is over, and
    not posted again.
    """
    cache = await flavour.signal_cache()
    waited: list[float] = []

    class TakesRedisAway:
        """A delivery during which Redis goes away."""

        def send(self, message: dedup.Message, attempt: int) -> Any:
            server.stop()
            return self._answer()

        def look_up(self, signal_id: str) -> Any:
            return self._answer()

        def _answer(self) -> Any:
            posted = dedup.Attempted(dedup.Verdict.POSTED, "201 Created", 201)
            return _later(posted) if flavour.awaited else posted

    def sleep(seconds: float) -> Any:
        waited.append(seconds)
        return _later(None) if flavour.awaited else None

    publisher = flavour.names.SignalPublisher(cache, TakesRedisAway(), sleep=sleep)
    with pytest.raises(StoreUnavailable):
        await told(publisher.publish(SIGNAL, CLOSE))
    assert waited == list(dedup.publisher.SETTLE_WAITS_S)
    await back(server, flavour)
    assert (await publish(flavour)).outcome == "busy"


async def _later(answer: Any) -> Any:
    return answer


async def test_every_answer_names_its_source(server: Server, flavour: Flavour) -> None:
    """Whoever wants to know whether Redis answered finds it in the answer and in the cache."""
    cache = await flavour.candle_cache()
    detector = flavour.names.CandleDetector(redis_cache=cache)
    check = await told(detector.check("GOLD", "15m", CLOSE))
    assert (check.source, cache.source) == ("redis", "redis")
    server.stop()
    check = await told(detector.check("SILVER", "15m", CLOSE))
    assert (check.source, cache.source) == ("memory", "memory")


async def test_outage_is_logged(server: Server, flavour: Flavour, caplog: pytest.LogCaptureFixture) -> None:
    """The log says when Redis went away and when it was back."""
    caplog.set_level(logging.WARNING)
    cache = await flavour.candle_cache()
    server.stop()
    await told(cache.exists(KEY))
    await back(server, flavour)
    await told(cache.exists(KEY))
    assert [message.partition(":")[2].split(":")[0].strip() for message in caplog.messages] == ["open", "closed"]
