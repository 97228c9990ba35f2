"""Servers of one topology each, and stores on them that are closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dedup.stores.connect import connect
from dedup.stores.durability import Durability
from dedup.stores.redis import RedisStore
from tests.engines import redis_binary, valkey_binary

Open = Callable[..., RedisStore]


@pytest.fixture(params=["valkey9", "redis7"], scope="module")
def binary(request: pytest.FixtureRequest) -> str:
    """Path of a server: the newest that is supported, and the oldest."""
    return server_binary(request.param)


@pytest.fixture
def open_store() -> Iterator[Open]:
    """Opens stores by URL, as separate processes would: each with its own client."""
    opened: list[RedisStore] = []

    def opening(url: str, durability: str = "server", **options: Any) -> RedisStore:
        opened.append(RedisStore(connect(url, **options), Durability.parse(durability)))
        return opened[-1]

    yield opening
    for store in opened:
        store.close()


def server_binary(name: str) -> str:
    if name == "valkey9":
        return valkey_binary()
    path = redis_binary()
    if path is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    return path
