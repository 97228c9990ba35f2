"""Real servers for every folder of tests. Each session (and each xdist worker) starts its own, on a port of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from dedup.stores.async_redis import AsyncRedisStore
from dedup.stores.async_redis import connect as async_connect
from dedup.stores.connect import connect
from dedup.stores.redis import RedisStore
from tests.contract.subjects import Driven
from tests.engines import Engine, redis_binary, valkey_binary
from tests.faults.summary import pytest_terminal_summary
from tests.topology.clusters import Cluster

__all__ = ["pytest_terminal_summary"]

# One run of `pytest --hypothesis-profile=long` is a soak; the default keeps to seconds.
settings.register_profile("default", deadline=None, max_examples=100)
settings.register_profile("long", deadline=None, max_examples=5000)
settings.load_profile("default")


@pytest.fixture(scope="session")
def valkey() -> Iterator[Engine]:
    """Valkey 9, running for the whole session: whatever other tests left is in it (see `empty_valkey`)."""
    with Engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def redis7() -> Iterator[Engine]:
    """Redis 7.0, the oldest server that is supported, running for the whole session."""
    binary = redis_binary()
    if binary is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    with Engine(binary) as engine:
        yield engine


@pytest.fixture
def empty_valkey(valkey: Engine) -> Engine:
    """Valkey 9 without a key."""
    return _emptied(valkey)


@pytest.fixture
def empty_redis7(redis7: Engine) -> Engine:
    """Redis 7.0 without a key."""
    return _emptied(redis7)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Three primaries of Valkey 9, running for the whole session."""
    with Cluster(valkey_binary()) as running:
        yield running


@pytest.fixture
def empty_cluster(cluster: Cluster) -> Cluster:
    """The Cluster without a key."""
    for node in cluster.primaries:
        _emptied(node)
    return cluster


@pytest.fixture(scope="session")
def cluster_store(cluster: Cluster) -> Iterator[RedisStore]:
    """A store on the Cluster, for the whole session: it takes a while to get to know one."""
    store = RedisStore(connect(cluster.url))
    yield store
    store.close()


@pytest.fixture(scope="session")
def async_cluster_store(cluster: Cluster) -> Iterator[Driven]:
    """An awaited store on the Cluster, for the whole session, on an event loop of its own."""
    store = Driven(AsyncRedisStore(async_connect(cluster.url)))
    yield store
    store.end()


def _emptied(engine: Engine) -> Engine:
    client = engine.client()
    client.flushall()
    client.close()
    return engine
