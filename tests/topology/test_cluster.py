"""A Redis Cluster of three primaries: every operation, batches across nodes, slots that move, nodes that forget."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dedup.amnesia import Mark, Why
from dedup.errors import StoreUnavailable
from dedup.ops import Answer, Begin, Claim, Complete, Op, Peek
from dedup.stores import async_redis
from dedup.stores.slots import SLOTS, mark_in, slot_of
from tests.contract.subjects import Driven
from tests.engines import DURABLE, HOST, Engine, free_port
from tests.topology.clusters import Cluster
from tests.topology.conftest import Open, server_binary
from tests.topology.posting import LONG_AGO_MS, SINCE, Posts, all_at_once, now_ms, outcomes, signal
from tests.topology.sentinels import wait_for


@pytest.fixture(scope="module")
def old(binary: str) -> Iterator[Cluster]:
    """Three primaries that remember since long ago; every write is on the disk before it is acknowledged."""
    with Cluster(binary, DURABLE) as running:
        remembering(running)
        yield running


@pytest.fixture(params=["blocking", "awaited"])
def store(request: pytest.FixtureRequest, old: Cluster, open_store: Open) -> Iterator[Any]:
    """A store of either flavour."""
    if request.param == "blocking":
        yield open_store(old.url)
        return
    driven = Driven(async_redis.AsyncRedisStore(async_redis.connect(old.url)))
    yield driven
    driven.end()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Begins keys that no other test uses."""
    return request.node.name.replace("[", "-").replace("]", "-")


@pytest.fixture
def posts() -> Posts:
    return Posts()


def remembering(cluster: Cluster) -> None:
    """Say of every slot that all is known since long ago, as a deployment that has been running does."""
    for number, node in enumerate(cluster.primaries):
        info = node.client().info("everything")
        mark = Mark(LONG_AGO_MS, info["run_id"], info["master_replid"], keeps=True).dumps()
        pipe = node.client().pipeline(transaction=False)
        for slot in range(SLOTS):
            if slot * 3 // SLOTS == number:
                pipe.set(mark_in(slot, SINCE), mark)
        assert True in pipe.execute(raise_on_error=False)


def mark_on(engine: Engine, key: str) -> Mark:
    mark = Mark.loads(engine.client().get(mark_in(slot_of(key), SINCE)))
    assert mark is not None
    return mark


def jobs_on(cluster: Cluster, number: int, count: int, name: str) -> list[Any]:
    """Signals whose records are on one node."""
    every = (signal(f"{name}{at}") for at in range(10_000))
    found = (job for job in every if slot_of(job.key) * 3 // SLOTS == number)
    return [next(found) for _ in range(count)]


def test_batch_across_nodes_keeps_its_order(store: Any, name: str) -> None:
    """A batch over all nodes answers in its order, and what is on one key happens in that order."""
    keys = [f"{name}{number}" for number in range(300)]
    ops: list[Op[Any]] = []
    for key in keys:
        ops += [Peek(key), Claim(key, "a", 60_000, 60_000), Claim(key, "b", 60_000, 60_000)]
        ops += [Complete(key, "a", "evaluated", 60_000), Peek(key)]
    replies = store.run_many(ops)
    for at in range(0, len(ops), 5):
        absent, ours, theirs, done, found = replies[at : at + 5]
        assert absent.record is None
        assert (ours.answer, theirs.answer) == (Answer.ACQUIRED, Answer.BUSY)
        assert done.acted
        assert found.record.outcome == "evaluated"


def test_plain_values_on_every_node(store: Any, name: str) -> None:
    """Values are found, scanned and deleted wherever they are."""
    keys = [f"{name}{number}" for number in range(60)]
    for key in keys:
        store.put(key, key, 60_000)
    assert [store.get(key) for key in keys] == keys
    assert sorted(store.scan(f"{name}*")) == sorted(keys)
    assert store.delete(*keys, "absent") == len(keys)
    assert list(store.scan(f"{name}*")) == []


def test_start_marks_every_slot(old: Cluster, open_store: Open) -> None:
    """The first start of a deployment marks every slot, the second one changes nothing."""
    for node in old.primaries:
        node.client().flushall()
    assert open_store(old.url).run(Begin(SINCE)).just_now
    assert sum(node.client().dbsize() for node in old.primaries) == SLOTS
    assert not open_store(old.url).run(Begin(SINCE)).just_now
    remembering(old)


def test_flush_of_one_node_holds_what_was_there(
    old: Cluster, open_store: Open, posts: Posts, caplog: pytest.LogCaptureFixture
) -> None:
    """One node loses its keys: its signals are held, those of other nodes are known, and new ones are posted."""
    lost, kept = jobs_on(old, 0, 5, "lost"), jobs_on(old, 1, 5, "kept")
    new = jobs_on(old, 0, 10, "new")
    store = open_store(old.url)
    assert outcomes(store, posts, lost + kept) == ["posted"] * 10
    old.primaries[0].client().flushall()
    with caplog.at_level(logging.ERROR, "dedup.stores.guard"):
        assert outcomes(store, posts, lost + kept) == ["held"] * 5 + ["duplicate"] * 5
    assert sum("begins anew" in one.getMessage() for one in caplog.records) == 1
    later_ms = 50 + now_ms()
    fresh = [signal(job.message.id, later_ms) for job in new]
    assert outcomes(store, posts, fresh) == ["posted"] * 10
    assert posts.doubled == []
    remembering(old)


def test_restart_of_a_node_that_keeps_everything_holds_nothing(old: Cluster, open_store: Open, posts: Posts) -> None:
    """A node with `appendfsync always` comes back with all it knew: nothing is held, nothing posted twice."""
    (before, waiting), node = jobs_on(old, 2, 2, "r"), old.primaries[2]
    store = open_store(old.url)
    assert outcomes(store, posts, [before]) == ["posted"]
    run = mark_on(node, before.key).run
    node.restart()
    wait_for(lambda: node.client().execute_command("CLUSTER INFO")["cluster_state"] == "ok", "the node")
    assert outcomes(open_store(old.url), posts, [before]) == ["duplicate"]
    assert mark_on(node, before.key).since_ms == LONG_AGO_MS
    assert mark_on(node, waiting.key).run == mark_on(node, before.key).run != run
    assert outcomes(store, posts, [waiting]) == ["posted"]


def test_slot_moves_during_claims(old: Cluster, open_store: Open, posts: Posts) -> None:
    """A slot moves from node to node while publishers are at its signals: each is posted once, none is held."""
    slot = slot_of("signal:publish:{tag}")
    source, target = old.primaries[slot * 3 // SLOTS], old.primaries[(slot * 3 // SLOTS + 1) % 3]
    jobs = [signal(f"{{tag}}{number}") for number in range(200)]
    # Braces make them share the slot.
    assert {slot_of(job.key) for job in jobs} == {slot}

    def move() -> None:
        until(posts, 40)
        old.begin_move(slot, source, target)
        until(posts, 80)
        old.move_keys(slot, source, target)
        until(posts, 120)
        old.move_keys(slot, source, target)
        old.end_move(slot, target)

    try:
        published = all_at_once([open_store(old.url) for _ in range(2)], posts, jobs, move)
    finally:
        old.begin_move(slot, target, source)
        old.move_keys(slot, target, source)
        old.end_move(slot, source)
    assert (posts.doubled, len(posts.of)) == ([], len(jobs))
    assert {one.outcome for one in published} <= {"posted", "duplicate", "busy"}
    again = outcomes(open_store(old.url), posts, jobs)
    assert set(again) == {"duplicate"}


def until(posts: Posts, count: int) -> None:
    while len(posts.of) < count:
        time.sleep(0.001)


def test_batch_follows_a_slot_that_is_half_moved(old: Cluster, store: Any, name: str) -> None:
    """In a slot that is being moved a claim is made at the new place before the mark is read at the old one."""
    slot = slot_of(key := f"{{half}}{name}")
    source, target = old.primaries[slot * 3 // SLOTS], old.primaries[(slot * 3 // SLOTS + 1) % 3]
    old.begin_move(slot, source, target)
    try:
        claimed, began = store.run_many([Claim(key, "a", 60_000, 60_000), Begin(SINCE)])
        assert claimed.answer is Answer.ACQUIRED
        assert (began.just_now, began.since_ms) == (False, LONG_AGO_MS)
        assert source.client().exists(mark_in(slot, SINCE))
        assert store.run_many([Claim(key, "b", 60_000, 60_000), Peek(key)])[0].answer is Answer.BUSY
    finally:
        old.move_keys(slot, source, target)
        old.end_move(slot, target)
        old.begin_move(slot, target, source)
        old.move_keys(slot, target, source)
        old.end_move(slot, source)


def test_failover_of_a_node_holds(open_store: Open, posts: Posts, caplog: pytest.LogCaptureFixture) -> None:
    """A replica takes over its node's slots: what it does not know is held, and new signals are posted."""
    with Cluster(server_binary("valkey9"), DURABLE, replicas=1) as running:
        remembering(running)
        store, (replica,) = open_store(running.url), running.replicas
        known, lost, *new = jobs_on(running, 0, 8, "f")
        assert outcomes(store, posts, [known]) == ["posted"]
        admin = running.primaries[0].client()
        wait_for(lambda: admin.wait(1, 1000) == 1, "the replica to have it")
        replica.client().execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
        running.primaries[0].kill()
        wait_for(lambda: replica.client().info("replication")["role"] == "master", "the failover")
        with caplog.at_level(logging.ERROR, "dedup.stores.guard"):
            assert eventually(store, posts, [known, lost]) == ["duplicate", "held"]
        assert mark_on(replica, lost.key).why is Why.TAKEN_OVER
        assert all(mark_on(replica, job.key).why is Why.TAKEN_OVER for job in new)
        later_ms = 50 + now_ms()
        assert eventually(store, posts, [signal(job.message.id, later_ms) for job in new]) == ["posted"] * 6
        assert posts.doubled == []


def eventually(store: Any, posts: Posts, jobs: list[Any]) -> list[str]:
    """Outcomes, as soon as the Cluster has settled."""
    found: list[str] = []

    def told() -> bool:
        try:
            found[:] = outcomes(store, posts, jobs)
        except StoreUnavailable:
            return False
        return True

    wait_for(told, "the Cluster to answer")
    return found


def test_nobody_there_is_unavailable(open_store: Open) -> None:
    """A Cluster of which no node answers is unavailable, in both flavours."""
    url = f"redis+cluster://{HOST}:{free_port()}"
    with pytest.raises(StoreUnavailable):
        open_store(url).run(Peek("k"))

    async def asked() -> None:
        store = async_redis.AsyncRedisStore(async_redis.connect(url))
        try:
            await store.run_many([Peek("k")])
        finally:
            await store.close()

    with pytest.raises(StoreUnavailable):
        asyncio.run(asked())


def test_every_slot_has_a_mark_of_its_own() -> None:
    """The mark of a slot is a key of that slot, whatever the prefix."""
    assert [slot_of(mark_in(slot, "prod:dedup:since")) for slot in range(SLOTS)] == list(range(SLOTS))
