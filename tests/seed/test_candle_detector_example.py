"""The document's example "Enhanced CandleDetector", as a user writes it, and what it promises there."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import datetime

import pytest

from dedup.aio.cache import get_candle_cache
from dedup.aio.candles import CandleDetector
from tests.engines import Engine
from tests.seed.moments import last_quarter, within_a_quarter

pytestmark = pytest.mark.usefixtures("closing")


async def strategy_execution() -> bool:
    processed = False
    # Initialize with persistent caching
    cache = await get_candle_cache()
    detector = CandleDetector(redis_cache=cache)

    # Use async method for persistent duplicate prevention
    if await detector.should_process_candle_async("GOLD", "15m", datetime.utcnow()):
        # Process signal (guaranteed no duplicate across restarts)
        processed = True
    return processed


PROCESS = """
import asyncio, sys, time
import dedup
from tests.seed.test_candle_detector_example import strategy_execution
dedup.configure(redis_url=sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(asyncio.run(strategy_execution()))
"""


def new_process(engine: Engine) -> subprocess.Popen[str]:
    """Another process, which runs the example when it is told to."""
    argv = [sys.executable, "-W", "ignore", "-c", PROCESS, engine.url]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ends(process: subprocess.Popen[str]) -> bool:
    """Tell it to run, and take its answer."""
    out, _ = process.communicate("\n", timeout=60)
    return out.split() == ["ready", "True"]


async def test_candle_is_processed_once(engine: Engine) -> None:
    """The first trigger is told to process the candle, and every later one is not."""
    within_a_quarter()
    assert [await strategy_execution() for _ in range(3)] == [True, False, False]


async def test_candle_stands_under_the_documents_key(engine: Engine) -> None:
    """The claim stands under ``candle:{instrument}:{timeframe}:{candle_start}``, for an hour, readable with GET."""
    within_a_quarter()
    await strategy_execution()
    admin = engine.client()
    (key,) = admin.keys("*")
    assert key == f"candle:GOLD:15m:{last_quarter().replace(tzinfo=None).isoformat()}"
    assert 3_590 < admin.ttl(key) <= 3_600
    assert '"s":"claimed"' in admin.get(key)


async def test_of_many_at_once_one_processes(engine: Engine) -> None:
    """Of a hundred triggers at the same moment exactly one is told to process the candle."""
    within_a_quarter()
    answers = await asyncio.gather(*(strategy_execution() for _ in range(100)))
    assert answers.count(True) == 1


async def test_of_many_processes_one_processes(engine: Engine) -> None:
    """Of four processes at once exactly one is told to process the candle."""
    within_a_quarter()
    processes = [new_process(engine) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    answers = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        out, _ = process.communicate(timeout=60)
        answers.append(out.strip())
    assert sorted(answers) == ["False", "False", "False", "True"]


async def test_restart_processes_no_candle_again(engine: Engine) -> None:
    """A process that starts after another one ended, without a word about its candle, does not process it again."""
    within_a_quarter()
    assert ends(new_process(engine))
    assert not ends(new_process(engine))
    assert not await strategy_execution()
