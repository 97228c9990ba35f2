"""The stores that the contract is run against.

To add one, write a generator that yields a `Subject` and enter it into `SUBJECTS`. An asynchronous store is entered
through a small adapter that runs each call on a loop of its own: the suite itself stays synchronous.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import redis

from dedup.ops import Peek
from dedup.stores.connect import connect
from dedup.stores.memory import MemoryStore
from dedup.stores.protocol import Store
from dedup.stores.redis import RedisStore
from tests.engines import Engine


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


def memory(_: pytest.FixtureRequest) -> Iterator[Subject]:
    clock = SetClock()
    store = MemoryStore(clock_ms=clock)

    def ttl_ms(key: str) -> int:
        if store.get(key) is None:
            return -2
        _, expires_ms = store._entries[key]
        return expires_ms - clock() if expires_ms else -1

    yield Subject(store, clock.pass_ms, ttl_ms)


def valkey9(request: pytest.FixtureRequest) -> Iterator[Subject]:
    engine: Engine = request.getfixturevalue("empty_valkey")
    yield from _on_server(connect(engine.url), engine)


def redis7(request: pytest.FixtureRequest) -> Iterator[Subject]:
    engine: Engine = request.getfixturevalue("empty_redis7")
    yield from _on_server(connect(engine.url), engine)


def undecoded(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A client as redis-py makes it by default: it answers bytes."""
    engine: Engine = request.getfixturevalue("empty_valkey")
    yield from _on_server(redis.Redis.from_url(engine.url), engine)


def _on_server(client: redis.Redis, engine: Engine) -> Iterator[Subject]:
    store = RedisStore(client)
    admin = engine.client()

    def pass_ms(ms: int) -> None:
        until_ms = store.run(Peek("clock")).now_ms + ms
        while store.run(Peek("clock")).now_ms < until_ms:
            time.sleep(ms / 4000)

    yield Subject(store, pass_ms, lambda key: int(admin.pttl(key)), admin)
    store.close()
    admin.close()


ON_SERVER = {"valkey9": valkey9, "redis7": redis7, "undecoded": undecoded}
SUBJECTS = {"memory": memory, **ON_SERVER}
