"""The stores that the contract is run against.

To add one, write a generator that yields a `Subject` and enter it into `SUBJECTS`. An awaited store is driven from the
outside (`Driven`): the suite itself stays synchronous.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dedup.ops import Op, Peek
from dedup.stores.async_memory import AsyncMemoryStore
from dedup.stores.async_redis import AsyncRedisStore
from dedup.stores.async_redis import connect as async_connect
from dedup.stores.connect import connect
from dedup.stores.fallback import FallbackStore
from dedup.stores.local import LocalStore
from dedup.stores.memory import MemoryStore
from dedup.stores.protocol import AsyncStore, Store
from dedup.stores.redis import RedisStore
from tests.engines import HOST, Engine, free_port
from tests.topology.clusters import Cluster

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Subject:
    """A store under test, and the means to look behind it.

    Attributes:
        store: what the contract is about.
        pass_ms: let that many ms pass by the store's own clock.
        ttl_ms: what is left of a key's life; -1 for ever, -2 no such key.
        client: reaches the server behind it; None where there is none.
    """

    store: Store
    pass_ms: Callable[[int], None]
    ttl_ms: Callable[[str], int]
    client: redis.Redis | None = None


class SetClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_ms = 1_750_000_000_000

    def __call__(self) -> int:
        return self.now_ms

    def pass_ms(self, ms: int) -> None:
        self.now_ms += ms


class Driven:
    """An awaited store, each call of which is driven to its end on one event loop."""

    def __init__(self, store: AsyncStore) -> None:
        self._store = store
        self._runner = asyncio.Runner()

    @property
    def source(self) -> str:
        return self._store.source

    def run(self, op: Op[R]) -> R:
        return self._runner.run(self._store.run(op))

    def run_many(self, ops: Sequence[Op[Any]]) -> list[Any]:
        return self._runner.run(self._store.run_many(ops))

    def get(self, key: str) -> str | None:
        return self._runner.run(self._store.get(key))

    def put(self, key: str, text: str, ttl_ms: int) -> None:
        self._runner.run(self._store.put(key, text, ttl_ms))

    def delete(self, *keys: str) -> int:
        return self._runner.run(self._store.delete(*keys))

    def scan(self, pattern: str) -> Iterator[str]:
        async def collected() -> list[str]:
            return [key async for key in self._store.scan(pattern)]

        yield from self._runner.run(collected())

    def close(self) -> None:
        self._runner.run(self._store.close())

    def end(self) -> None:
        self.close()
        self._runner.close()


class InBatches(RedisStore):
    """Every operation as a batch of one: all by script, where a claim otherwise tries a plain SET first."""

    def run(self, op: Op[R]) -> R:
        reply: R = self.run_many([op])[0]
        return reply


def memory(_: pytest.FixtureRequest) -> Iterator[Subject]:
    """Memory with a clock that the test moves."""
    clock = SetClock()
    yield in_memory(clock, store := MemoryStore(clock_ms=clock), store)


def async_memory(_: pytest.FixtureRequest) -> Iterator[Subject]:
    """The same, awaited."""
    clock = SetClock()
    store = Driven(AsyncMemoryStore(behind := MemoryStore(clock_ms=clock)))
    yield in_memory(clock, behind, store)
    store.end()


def fallback_away(_: pytest.FixtureRequest) -> Iterator[Subject]:
    """A fallback whose server is away, so that memory answers."""
    clock = SetClock()
    nobody = redis.Redis(host=HOST, port=free_port(), retry=Retry(NoBackoff(), 0))
    store = FallbackStore(RedisStore(nobody), behind := MemoryStore(clock_ms=clock))
    yield in_memory(clock, behind, store)
    store.close()


def valkey9(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """Valkey 9."""
    engine: Engine = request.getfixturevalue("empty_valkey")
    yield from on_engine(RedisStore(connect(engine.url)), engine)


def redis7(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """Redis 7.0."""
    engine: Engine = request.getfixturevalue("empty_redis7")
    yield from on_engine(RedisStore(connect(engine.url)), engine)


def undecoded(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A client as redis-py makes it by default: it answers bytes."""
    engine: Engine = request.getfixturevalue("empty_valkey")
    yield from on_engine(RedisStore(redis.Redis.from_url(engine.url)), engine)


def in_batches(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """Batches of one."""
    engine: Engine = request.getfixturevalue("empty_valkey")
    yield from on_engine(InBatches(connect(engine.url)), engine)


def fallback(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A fallback whose server is there."""
    engine: Engine = request.getfixturevalue("empty_valkey")
    yield from on_engine(FallbackStore(RedisStore(connect(engine.url))), engine)


def local(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """Valkey 9 behind a memory of what is done."""
    engine: Engine = request.getfixturevalue("empty_valkey")
    yield from on_engine(LocalStore(RedisStore(connect(engine.url))), engine)


def async_valkey9(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """Valkey 9, awaited."""
    engine: Engine = request.getfixturevalue("empty_valkey")
    store = Driven(AsyncRedisStore(async_connect(engine.url)))
    yield from on_engine(store, engine)
    store.end()


def cluster(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A Cluster."""
    running: Cluster = request.getfixturevalue("empty_cluster")
    yield on_cluster(request.getfixturevalue("cluster_store"), running)


def async_cluster(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A Cluster, awaited."""
    running: Cluster = request.getfixturevalue("empty_cluster")
    yield on_cluster(request.getfixturevalue("async_cluster_store"), running)


def in_memory(clock: SetClock, behind: MemoryStore, store: Store) -> Subject:
    """A subject whose records are in `behind`."""

    def ttl_ms(key: str) -> int:
        if behind.get(key) is None:
            return -2
        expires_ms = behind._entries[key].expires_ms
        return expires_ms - clock() if expires_ms else -1

    return Subject(store, clock.pass_ms, ttl_ms)


def on_engine(store: Store, engine: Engine) -> Iterator[Subject]:
    """A subject whose records are on a server."""
    admin = engine.client()
    yield Subject(store, waiting(store), lambda key: int(admin.pttl(key)), admin)
    store.close()
    admin.close()


def on_cluster(store: Store, running: Cluster) -> Subject:
    """A subject whose records are on a Cluster. It has no one server to look at."""

    def ttl_ms(key: str) -> int:
        admin = running.node_of(key).client()
        left_ms = int(admin.pttl(key))
        admin.close()
        return left_ms

    return Subject(store, waiting(store), ttl_ms)


def waiting(store: Store) -> Callable[[int], None]:
    """Waits by the clock of a store's server."""

    def pass_ms(ms: int) -> None:
        until_ms = store.run(Peek("clock")).now_ms + ms
        while store.run(Peek("clock")).now_ms < until_ms:
            time.sleep(ms / 4000)

    return pass_ms


IN_MEMORY = {made.__name__: made for made in (memory, async_memory, fallback_away)}
ON_SERVER = {made.__name__: made for made in (valkey9, redis7, undecoded, in_batches, async_valkey9, fallback, local)}
ON_CLUSTER = {made.__name__: made for made in (cluster, async_cluster)}
SUBJECTS = {**IN_MEMORY, **ON_SERVER, **ON_CLUSTER}
