"""The library on its own: pipelined, asynchronous and in-memory claims, pruning, and what a record weighs."""

from __future__ import annotations

import asyncio
import statistics
import time
from itertools import count

import redis

from bench.engine import engine
from bench.figures import Figure, medians_us
from dedup.http_outcome import describe_status
from dedup.ops import Complete
from dedup.rules import CandleRules, SignalRules, new_token
from dedup.stores.async_redis import AsyncRedisStore
from dedup.stores.async_redis import connect as connect_async
from dedup.stores.connect import connect
from dedup.stores.memory import MemoryStore
from dedup.stores.redis import RedisStore

BATCH = 1000
AT_ONCE = 100
CANDLE_KEY = "candle:GOLD:15m:2025-01-01T10:15:00"
SIGNAL_KEY = "signal:publish:GOLD:2025-01-01T10:15:00:15m:ema_cross"


def figures() -> list[Figure]:
    """Absolute figures of this machine, each against its goal."""
    with engine() as url:
        return [
            Figure.absolute("pipelined claims", pipelined_per_s(url), "claims/s", 80_000, False),
            Figure.absolute(f"async claims, {AT_ONCE} at once", asyncio.run(async_per_s(url)), "claims/s", None, False),
            Figure.absolute("claim in memory", memory_us(), "µs", 5.0),
            Figure.absolute("prune of 1,000 in memory", prune_us() / 1000, "ms", 1.0),
            Figure.absolute("a DONE candle in the server", candle_bytes(url), "bytes", 200),
            Figure.absolute("a DONE signal in the server", signal_bytes(url), "bytes", 200),
        ]


def pipelined_per_s(url: str) -> float:
    """Claims per second in batches of 1,000: median of 20 batches."""
    store, rules, numbers = RedisStore(connect(url)), CandleRules(), count()
    rates = []
    for _ in range(20):
        batch = [rules.claim(f"p:{next(numbers)}", new_token()) for _ in range(BATCH)]
        began = time.perf_counter()
        store.run_many(batch)
        rates.append(BATCH / (time.perf_counter() - began))
    return statistics.median(rates)


async def async_per_s(url: str) -> float:
    """Claims per second of 100 coroutines over one client: median of 20 turns."""
    store, rules, numbers = AsyncRedisStore(connect_async(url)), CandleRules(), count()
    rates = []
    for _ in range(20):
        began = time.perf_counter()
        await asyncio.gather(*(store.run(rules.claim(f"a:{next(numbers)}", new_token())) for _ in range(AT_ONCE)))
        rates.append(AT_ONCE / (time.perf_counter() - began))
    await store.close()
    return statistics.median(rates)


def memory_us() -> float:
    """Median time of a claim in memory on a fresh key."""
    store, rules, numbers = MemoryStore(max_entries=1_000_000), CandleRules(), count()
    return medians_us({"claim": lambda: store.run(rules.claim(f"m:{next(numbers)}", "0123456789abcdef"))})["claim"]


def prune_us() -> float:
    """Median time of dropping 1,000 expired records."""
    times = []
    for _ in range(50):
        now_ms = [0]
        store = MemoryStore(1000, lambda now_ms=now_ms: now_ms[0])  # type: ignore[misc]
        for number in range(1000):
            store.run(CandleRules(ttl_ms=1, lease_ms=1).claim(f"x:{number}", "0123456789abcdef"))
        now_ms[0] = 10
        began = time.perf_counter_ns()
        store.prune()
        times.append((time.perf_counter_ns() - began) / 1000)
    return statistics.median(times)


def candle_bytes(url: str) -> float:
    """``MEMORY USAGE`` of the record of a candle without signals, key included."""
    return _bytes_of(url, CANDLE_KEY, CandleRules().complete(CANDLE_KEY, new_token(), "evaluated"))


def signal_bytes(url: str) -> float:
    """``MEMORY USAGE`` of the record of a posted signal, key included, as a publisher leaves it."""
    token = new_token()
    return _bytes_of(url, SIGNAL_KEY, SignalRules().posted(SIGNAL_KEY, token, token, describe_status(201)))


def _bytes_of(url: str, key: str, op: Complete) -> float:
    RedisStore(connect(url)).run(op)
    with redis.Redis.from_url(url) as client:
        return float(client.memory_usage(key))
