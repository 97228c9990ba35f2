"""Connections that stay with a store between its commands: what they must not do."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from redis.connection import Connection

from dedup.errors import StoreUnavailable
from dedup.ops import Answer, Claim, Peek
from dedup.stores.connect import connect
from dedup.stores.lanes import KEPT, ROOM, lanes_of
from dedup.stores.redis import RedisStore
from tests.engines import Engine

LEASE = (60_000, 60_000)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as running:
        yield running


def connections(engine: Engine) -> int:
    """How many connections the server has, but for the one that asks."""
    with engine.client() as admin:
        return int(admin.info("clients")["connected_clients"]) - 1


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, TimeoutError])
def test_interrupted_command_leaves_no_reply_behind(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException]
) -> None:
    """A time limit that strikes between a command and its reply does not make that the reply to the next command."""
    store = RedisStore(connect(engine.url))
    store.run(Peek("a"))
    sent = Connection.send_command

    def interrupted(connection: Connection, *words: Any, **options: Any) -> None:
        sent(connection, *words, **options)
        monkeypatch.setattr(Connection, "send_command", sent)
        raise interruption

    monkeypatch.setattr(Connection, "send_command", interrupted)
    # redis-py sends again what an operating system's time-out ended: the claim answers its own token alike.
    if interruption is TimeoutError:
        assert store.run(Claim("a", "t", *LEASE)).answer is Answer.ACQUIRED
    else:
        with pytest.raises(interruption):
            store.run(Claim("a", "t", *LEASE))
    assert store.run(Claim("b", "t", *LEASE)).record.token == "t"
    assert store.run(Claim("a", "other", *LEASE)).answer is Answer.BUSY
    assert store.run(Peek("nothing")).record is None
    store.close()


def test_restart_between_two_commands_goes_unnoticed(engine: Engine) -> None:
    """A connection that the server closed meanwhile is made anew, within the call."""
    store = RedisStore(connect(engine.url))
    for number in range(3):
        assert store.run(Claim(f"k{number}", "t", *LEASE)).answer is Answer.ACQUIRED
        engine.restart()
    store.close()


def test_refused_command_spoils_nothing(engine: Engine) -> None:
    """A server that is away costs each call its own error, and the first call after its return works."""
    store = RedisStore(connect(engine.url))
    store.run(Peek("a"))
    engine.kill()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            store.run(Peek("a"))
    engine.start()
    assert store.run(Peek("a")).record is None
    store.close()


def test_few_connections_are_kept(engine: Engine) -> None:
    """After a rush most of its connections are the pool's again, and a closed store has none."""
    store = RedisStore(connect(engine.url))
    rush = 3 * KEPT
    gate = threading.Barrier(rush)

    def hurry(number: int) -> Answer:
        gate.wait()
        return store.run(Claim(f"k{number}", "t", *LEASE)).answer

    with ThreadPoolExecutor(rush) as pool:
        assert set(pool.map(hurry, range(rush))) == {Answer.ACQUIRED}
    lanes = store._lanes
    assert lanes is not None
    assert len(lanes._idle) <= KEPT
    store.close()
    assert connections(engine) == 0
    assert store.run(Claim("k0", "other", *LEASE)).answer is Answer.BUSY
    store.close()
    assert connections(engine) == 0


def test_one_thread_needs_one_connection(engine: Engine) -> None:
    """Commands one after the other go over one connection."""
    store = RedisStore(connect(engine.url))
    for number in range(20):
        store.run(Claim(f"k{number}", "t", *LEASE))
    assert connections(engine) == 1
    store.close()


def test_child_leaves_its_parents_connection_alone(engine: Engine) -> None:
    """A fork that never uses the store, and one that does, end without harm to the parent's connection."""
    store = RedisStore(connect(engine.url))
    store.run(Claim("a", "t", *LEASE))
    forking = multiprocessing.get_context("fork")
    for work in (lambda: None, lambda: store.run(Claim("b", "t", *LEASE)), store.close):
        child = forking.Process(target=work)
        child.start()
        child.join()
        assert child.exitcode == 0
    assert store.run(Claim("a", "t", *LEASE)).answer is Answer.ACQUIRED
    assert store.run(Claim("b", "other", *LEASE)).answer is Answer.BUSY
    store.close()


class OwnPool(redis.ConnectionPool):
    """A pool of somebody's own kind."""


@pytest.mark.parametrize(
    "client",
    [
        redis.Redis(max_connections=ROOM - 1),
        redis.Redis.from_pool(redis.BlockingConnectionPool()),
        redis.Redis(connection_pool=OwnPool()),
        object(),
    ],
    ids=["narrow", "blocking", "own", "cluster"],
)
def test_other_pools_keep_what_they_have(client: Any) -> None:
    """A pool with few connections, or of another kind, is asked for one with each command, as ever."""
    assert lanes_of(client) is None
