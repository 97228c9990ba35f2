"""`DEDUP_DURABILITY`: nothing is posted on a claim that was not acknowledged as it should be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from dedup.aio.backend import make_stores as make_async_stores
from dedup.backend import make_stores
from dedup.errors import InvalidSetting, StoreDenied, StoreUnavailable
from dedup.ops import Answer, Begin, Claim, Complete, Doubt, Peek, Release
from dedup.options import DedupOptions
from dedup.records import State
from dedup.stores import async_redis
from dedup.stores.connect import connect
from dedup.stores.durability import Durability, Level
from dedup.stores.redis import RedisStore
from tests.engines import DURABLE, Engine
from tests.topology.clusters import Cluster
from tests.topology.conftest import Open, server_binary
from tests.topology.posting import LONG_AGO_MS, SINCE, Posts, outcomes, publisher, signal
from tests.topology.sentinels import replica_of

ON_REPLICA = Durability(Level.REPLICAS, 1, timeout_ms=100)
LEASE = (60_000, 60_000)
EVERY_SECOND = {"appendonly": "yes", "appendfsync": "everysec"}


@pytest.fixture
def pair(binary: str) -> Iterator[tuple[Engine, Engine]]:
    """A primary and its replica."""
    with Engine(binary, {"repl-diskless-sync-delay": "0"}) as primary:
        primary.client().set(SINCE, LONG_AGO_MS)
        replica = replica_of(primary)
        yield primary, replica
        replica.close()


@pytest.mark.parametrize("text", ["", "AOF", "replicas", "replicas:0", "replicas:-1", "replicas:1000", "disk"])
def test_other_words_are_refused(text: str) -> None:
    """Only `server`, `aof` and `replicas:N` mean something, and the error says so under the name it was asked for."""
    with pytest.raises(InvalidSetting, match="write server, aof or replicas:N") as caught:
        Durability.parse(text)
    assert caught.value.what == "DEDUP_DURABILITY"
    with pytest.raises(InvalidSetting) as caught:
        DedupOptions(durability=text)
    assert caught.value.what == "durability"


@pytest.mark.parametrize("text", ["server", "aof", "replicas:2"])
def test_words_come_back(text: str) -> None:
    """What was written is what is shown."""
    assert str(Durability.parse(text)) == text


def test_replica_acknowledges(pair: tuple[Engine, Engine], open_store: Open) -> None:
    """With a replica that follows every step of a record is there by the time the call returns."""
    primary, replica = pair
    store, seen = open_store(primary.url, "replicas:1"), replica.client()
    ops = [
        Claim("a", "t", *LEASE, effect=True),
        Doubt("a", "t", "lost", 60_000, hold=False),
        Claim("b", "t", *LEASE, effect=True),
        Release("b", "t", 60_000),
        Claim("c", "t", *LEASE, effect=True),
        Complete("c", "t", "posted", 60_000),
    ]
    for op in ops:
        store.run(op)
        assert seen.get(op.key) == primary.client().get(op.key)


def test_missing_replica_stops_a_post(pair: tuple[Engine, Engine]) -> None:
    """A replica that does not follow makes the store unavailable before anything is posted, and the claim is given
    back: when the replica is back the signal is posted, once."""
    primary, replica = pair
    posts, one = Posts(), signal("one")
    store = RedisStore(primary.client(), ON_REPLICA)
    replica.freeze()
    with pytest.raises(StoreUnavailable, match="DEDUP_DURABILITY=replicas:1: acknowledged by 0 of 1 replicas"):
        publisher(store, posts).publish_job(one)
    assert (posts.of, store.run(Peek(one.key)).record.state) == ({}, State.RELEASED)
    replica.thaw()
    assert outcomes(RedisStore(primary.client(), Durability(Level.REPLICAS, 1)), posts, [one]) == ["posted"]
    assert posts.of == {"one": 1}
    store.close()


def test_partitioned_primary_posts_nothing(pair: tuple[Engine, Engine]) -> None:
    """A primary that has lost its replica to another one goes on answering; a claim there is not built upon."""
    primary, replica = pair
    posts, one = Posts(), signal("one")
    replica.client().replicaof("NO", "ONE")
    cut_off = RedisStore(primary.client(), ON_REPLICA)
    with pytest.raises(StoreUnavailable):
        publisher(cut_off, posts).publish_job(one)
    with pytest.raises(StoreUnavailable):
        publisher(RedisStore(replica.client(), ON_REPLICA), posts).publish_job(one)
    assert posts.of == {}


def test_reading_waits_for_nothing(pair: tuple[Engine, Engine]) -> None:
    """Looking at records, and hearing that somebody else has one, needs no replica."""
    primary, replica = pair
    store = RedisStore(primary.client(), ON_REPLICA)
    assert RedisStore(primary.client()).run(Claim("a", "t", *LEASE, effect=True)).fresh
    replica.freeze()
    assert store.run(Peek("a")).record is not None
    assert store.run(Claim("a", "other", *LEASE, effect=True)).answer is Answer.BUSY
    assert store.run_many([Peek("a"), Begin(SINCE)])[1].since_ms == LONG_AGO_MS
    replica.thaw()


def test_aof_vouches_for_a_restart(open_store: Open) -> None:
    """With `aof` every claim is on the disk before it is built upon, so that even under `everysec` a restart holds
    nothing, and posts nothing twice."""
    with Engine(config=EVERY_SECOND) as engine:
        engine.client().set(SINCE, LONG_AGO_MS)
        store, posts = open_store(engine.url, "aof"), Posts()
        before, waiting = signal("before"), signal("waiting")
        assert outcomes(store, posts, [before]) == ["posted"]
        engine.restart()
        assert outcomes(store, posts, [before, waiting]) == ["duplicate", "posted"]
        assert posts.doubled == []


CANNOT = {
    "server too old": ("redis7", DURABLE, "does not know WAITAOF, which Redis has from 7.2"),
    "no AOF": ("valkey9", {}, "keeps no AOF: set appendonly yes"),
}


@pytest.mark.parametrize(("name", "config", "says"), CANNOT.values(), ids=CANNOT)
def test_server_that_cannot_is_told_at_the_start(
    open_store: Open, name: str, config: dict[str, str], says: str
) -> None:
    """A server that cannot do it is refused when the store's memory is first asked for, with the remedy."""
    with Engine(server_binary(name), config) as engine:
        store = open_store(engine.url, "aof")
        with pytest.raises(StoreDenied, match=says):
            store.run(Begin(SINCE))
        with pytest.raises(StoreDenied, match=says):
            publisher(store, Posts()).publish_job(signal("one"))


def test_awaited_store_waits_too() -> None:
    """The awaited store raises as the blocking one does, and gives the claim back."""

    async def main(url: str) -> None:
        store = async_redis.AsyncRedisStore(async_redis.connect(url), ON_REPLICA)
        try:
            with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
                await store.run_many([Claim("a", "t", *LEASE, effect=True), Begin(SINCE)])
            record = (await store.run(Peek("a"))).record
            assert record is not None
            assert record.state is State.RELEASED
        finally:
            await store.close()

    with Engine() as engine:
        asyncio.run(main(engine.url))


def test_cluster_waits_on_the_node_that_wrote() -> None:
    """On a Cluster the node that took the claim is asked whether its replica has it."""
    with Cluster(server_binary("valkey9"), replicas=1) as running:
        store = RedisStore(connect(running.url), Durability(Level.REPLICAS, 1, timeout_ms=500))
        with_replica, without = running.key_on(0), running.key_on(1)
        assert store.run(Claim(with_replica, "t", *LEASE, effect=True)).answer is Answer.ACQUIRED
        with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
            store.run(Claim(without, "t", *LEASE, effect=True))
        store.close()


def test_option_is_for_signals_only() -> None:
    """The library's option makes records of signals wait; candles, which may be evaluated twice, do not pay for it."""
    with Engine() as engine:
        options = DedupOptions(redis_url=engine.url, durability="aof")
        stores = make_stores(options)
        assert stores.candles.run(Claim("c", "t", *LEASE)).answer is Answer.ACQUIRED
        with pytest.raises(StoreDenied, match="keeps no AOF"):
            stores.signals.run(Claim("s", "t", *LEASE, effect=True))
        stores.close()

        async def awaited() -> None:
            made = make_async_stores(options)
            with pytest.raises(StoreDenied, match="keeps no AOF"):
                await made.signals.run(Claim("s2", "t", *LEASE, effect=True))
            await made.close()

        asyncio.run(awaited())
