"""Connection pools under each way to run many things at once: forks, threads, greenlets, coroutines.

Each test has many runners claim the same keys through one store. Where two of them shared a connection, one would read
the other's reply: then a key has no winner, or more than one.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dedup.ops import Answer, Claim
from dedup.stores import async_redis
from dedup.stores.redis import RedisStore
from tests.engines import Engine
from tests.topology.clusters import Cluster
from tests.topology.conftest import Open, server_binary
from tests.topology.sentinels import Sentinels

ROOT = Path(__file__).parents[2]
RUNNERS = 6
KEYS = [f"k{number}" for number in range(60)]


@pytest.fixture(scope="module", params=["server", "sentinel", "cluster"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of each topology."""
    if request.param == "server":
        with Engine() as engine:
            yield engine.url
    elif request.param == "sentinel":
        with Sentinels(server_binary("valkey9")) as running:
            yield running.url
    else:
        with Cluster(server_binary("valkey9")) as running:
            yield running.url


def named(runner: object, test: str) -> Callable[[str], Claim]:
    return lambda key: Claim(f"{test}:{key}", f"t{runner}", 60_000, 60_000)


def won(store: RedisStore, runner: object, test: str) -> list[str]:
    """The keys that this runner has claimed: one by one, then once more in one batch."""
    claim = named(runner, test)
    single = [key for key in KEYS if store.run(claim(key)).answer is Answer.ACQUIRED]
    batch = store.run_many([claim(key) for key in KEYS])
    assert [key for key, reply in zip(KEYS, batch, strict=True) if reply.answer is Answer.ACQUIRED] == single
    return single


def each_once(winners: Sequence[Sequence[str]]) -> None:
    assert Counter(key for keys in winners for key in keys) == dict.fromkeys(KEYS, 1)


def test_forks(url: str, open_store: Open) -> None:
    """Children that inherit a store which their parent has used make connections of their own."""
    store = open_store(url)
    assert store.run(Claim("parent", "t", 60_000, 60_000)).answer is Answer.ACQUIRED
    forking = multiprocessing.get_context("fork")
    told: Any = forking.Queue()

    def child(runner: int) -> None:
        told.put(won(store, runner, "forks"))

    children = [forking.Process(target=child, args=(runner,)) for runner in range(RUNNERS)]
    for one in children:
        one.start()
    winners = [told.get(timeout=30) for _ in children]
    for one in children:
        one.join()
    each_once(winners)
    assert store.run(Claim("parent", "other", 60_000, 60_000)).answer is Answer.BUSY


def test_threads(url: str, open_store: Open) -> None:
    """Threads share a store, from its very first use on."""
    store = open_store(url)
    with ThreadPoolExecutor(RUNNERS) as pool:
        each_once(list(pool.map(lambda runner: won(store, runner, "threads"), range(RUNNERS))))


def test_coroutines(url: str) -> None:
    """Coroutines of one event loop share a store, from its very first use on; each loop has its own."""

    async def claiming(store: async_redis.AsyncRedisStore, runner: int) -> list[str]:
        claim = named(runner, "coroutines")
        replies = await asyncio.gather(*(store.run(claim(key)) for key in KEYS))
        single = [key for key, reply in zip(KEYS, replies, strict=True) if reply.answer is Answer.ACQUIRED]
        batch = await store.run_many([claim(key) for key in KEYS])
        assert [key for key, reply in zip(KEYS, batch, strict=True) if reply.answer is Answer.ACQUIRED] == single
        return single

    async def main(runners: range) -> list[list[str]]:
        store = async_redis.AsyncRedisStore(async_redis.connect(url))
        try:
            return list(await asyncio.gather(*(claiming(store, runner) for runner in runners)))
        finally:
            await store.close()

    each_once([*asyncio.run(main(range(3))), *asyncio.run(main(range(3, 6)))])


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import gevent, json, sys
from dedup.stores.connect import connect
from dedup.stores.redis import RedisStore
from tests.topology.test_pools import won
store = RedisStore(connect(sys.argv[1]))
runners = [gevent.spawn(won, store, runner, "greenlets") for runner in range(int(sys.argv[2]))]
gevent.joinall(runners, raise_error=True, timeout=60)
print(json.dumps([one.value for one in runners]))
store.close()
"""


def test_greenlets(url: str) -> None:
    """Under gevent greenlets share a store, from its very first use on."""
    pytest.importorskip("gevent")
    command = [sys.executable, "-c", GREENLETS, url, str(RUNNERS)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=90)
    assert done.returncode == 0, done.stderr
    each_once(json.loads(done.stdout))
