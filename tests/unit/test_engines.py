"""The servers that tests run on: that they are what the tests take them for."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.engines import DURABLE, HOST, Engine, redis_binary, valkey_binary


@pytest.fixture(params=["valkey9", "redis7"])
def binary(request: pytest.FixtureRequest) -> str:
    """The path of each server there is."""
    path = valkey_binary() if request.param == "valkey9" else redis_binary()
    if path is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    return path


@pytest.fixture
def durable(binary: str) -> Iterator[Engine]:
    """A server configured as in production."""
    with Engine(binary, DURABLE) as engine:
        yield engine


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _pid(engine: Engine) -> int:
    return int(engine.client().info("server")["process_id"])


def test_servers_are_those_we_support(valkey: Engine, redis7: Engine) -> None:
    """The suite runs on Valkey 9 and on Redis 7.0, the oldest one supported."""
    assert str(valkey.client().info("server")["valkey_version"]).startswith("9.")
    assert str(redis7.client().info("server")["redis_version"]).startswith("7.0.")


@pytest.mark.parametrize("_", range(2))
def test_every_test_finds_its_server_empty(empty_valkey: Engine, empty_redis7: Engine, _: int) -> None:
    """What one test left in a server of the session is gone in the next."""
    for engine in (empty_valkey, empty_redis7):
        client = engine.client()
        assert client.dbsize() == 0
        client.set("left behind", "x")
        client.close()


def test_durable_server_keeps_what_it_acknowledged(durable: Engine) -> None:
    """After SIGKILL a durable server comes back on the same port with every acknowledged write, and the same client."""
    client = durable.client()
    url, pid = durable.url, _pid(durable)
    for number in range(100):
        client.set(f"k{number}", "x")
    durable.restart()
    assert client.dbsize() == 100
    assert (durable.url, _gone(pid)) == (url, True)
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_plain_server_forgets(binary: str) -> None:
    """Without DURABLE a server that is killed comes back empty: a test of amnesia may rely on it."""
    with Engine(binary) as engine:
        client = engine.client()
        client.set("k", "x")
        engine.restart()
        assert client.dbsize() == 0


def test_frozen_server_holds_its_connections(binary: str) -> None:
    """A frozen server answers nobody and refuses nobody; thawed, it goes on."""
    with Engine(binary) as engine:
        client = engine.client(socket_timeout=0.05, retry=None)
        client.set("k", "x")
        engine.freeze()
        with pytest.raises(redis.TimeoutError):
            client.get("k")
        with socket.create_connection((HOST, engine.port), timeout=1):
            pass
        engine.thaw()
        assert engine.client().get("k") == "x"


def test_closed_engine_leaves_nothing(binary: str) -> None:
    """Closing ends the process, even a frozen one, and removes its directory."""
    engine = Engine(binary, DURABLE).start()
    pid, data_dir = _pid(engine), engine.data_dir
    assert data_dir.exists()
    engine.freeze()
    engine.close()
    assert (_gone(pid), data_dir.exists()) == (True, False)
    engine.close()


def test_given_directory_is_kept(binary: str, tmp_path: Path) -> None:
    """A data directory of the caller's outlives the engine, so that another one may start on it."""
    with Engine(binary, DURABLE, tmp_path) as engine:
        engine.client().set("k", "x")
    with Engine(binary, DURABLE, tmp_path) as engine:
        assert engine.client().get("k") == "x"


def test_stopped_server_saves(binary: str, tmp_path: Path) -> None:
    """A server that is stopped in order saves what it is told to save."""
    with Engine(binary, {"save": "3600 1"}, tmp_path) as engine:
        engine.client().set("k", "x")
        engine.stop()
        engine.start()
        assert engine.client().get("k") == "x"


def test_taken_port_is_given_up_for_another(binary: str) -> None:
    """An engine whose port somebody took before its first start comes up on another, and never takes theirs for its."""
    with Engine(binary) as other:
        engine = Engine(binary)
        engine.port = other.port
        with engine.start():
            assert engine.port != other.port
            assert _pid(engine) != _pid(other)


def test_wrong_directive_shows_the_log(binary: str) -> None:
    """A server that does not come up says why."""
    engine = Engine(binary, {"no-such-directive": "1"})
    with pytest.raises(RuntimeError, match="no-such-directive"):
        engine.start(timeout_s=0.5)
    engine.close()
