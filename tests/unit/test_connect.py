"""Clients from URLs: what is refused, what is hidden, and what a client of ours can do."""

from __future__ import annotations

import logging
import pickle
import socket
import traceback
from pathlib import Path

import pytest

from dedup.errors import InvalidSetting, StoreUnavailable
from dedup.ops import Claim, Doubt, Peek
from dedup.stores import async_redis
from dedup.stores.connect import check_url, connect, redact
from dedup.stores.redis import RedisStore
from tests.engines import Engine, free_port

SECRET = "s3cr3t"

MALFORMED = {
    "empty": "",
    "no scheme": "localhost:6379",
    "only a path": "/tmp/redis.sock",
    "http": "http://localhost:6379/0",
    "scheme in capitals": "REDIS://localhost",
    "one slash": "redis:/localhost",
    "no host": "redis://",
    "no host but a port": "redis://:6379/0",
    "port no number": "redis://localhost:port/0",
    "port too high": "redis://localhost:65536/0",
    "port zero": "redis://localhost:0/0",
    "negative port": "redis://localhost:-1/0",
    "database no number": "redis://localhost/zero",
    "two databases": "redis://localhost/1/2",
    "database in the query no number": "redis://localhost?db=zero",
    "time-out no number": "redis://localhost?socket_timeout=soon",
    "unknown option": "redis://localhost?sockettimeout=5",
    "open bracket": "redis://[::1",
    "unknown TLS requirement": "rediss://localhost?ssl_cert_reqs=sometimes",
}

LEAKY = {
    "slash in the password": f"redis://:a/{SECRET}@localhost:6379/0",
    "hash in the password": f"redis://:a#{SECRET}@localhost:6379/0",
    "question mark in the password": f"redis://:a?{SECRET}@localhost:6379/0",
    "at sign in the password": f"redis://:{SECRET}@{SECRET}@localhost:port/0",
    "URL in the password": f"redis://:a://{SECRET}@localhost:port",
    "bracket in the password": f"redis://:[{SECRET}@localhost:6379/0",
    "user and password": f"redis://bob:{SECRET}@localhost:port/0",
    "password as user": f"redis://{SECRET}@localhost:port/0",
    "bad port": f"redis://:{SECRET}@localhost:99999/0",
    "bad database": f"redis://:{SECRET}@localhost/zero",
    "bad option": f"redis://:{SECRET}@localhost?sockettimeout=5",
    "bad time-out": f"redis://:{SECRET}@localhost?socket_timeout=soon",
    "one slash": f"redis:/:{SECRET}@localhost",
    "no scheme": f":{SECRET}@localhost:6379",
    "wrong scheme": f"http://:{SECRET}@localhost",
    "password in the query": f"redis://localhost/zero?password={SECRET}",
    "TLS password in the query": f"rediss://localhost/zero?ssl_password={SECRET}",
    "password in capitals": f"redis://localhost/zero?PASSWORD={SECRET}&db=1",
    "at sign in the query": f"redis://localhost/zero?password={SECRET}@{SECRET}",
}


@pytest.mark.parametrize("make", [connect, async_redis.connect])
@pytest.mark.parametrize("url", MALFORMED.values(), ids=MALFORMED)
def test_malformed_url_is_refused(make: type, url: str) -> None:
    """A URL that cannot work is refused when the client is made; the error names setting, value and remedy."""
    with pytest.raises(InvalidSetting) as caught:
        make(url)
    assert (caught.value.what, caught.value.value) == ("REDIS_URL", url)
    assert len(caught.value.remedy) > 10


@pytest.mark.parametrize("url", LEAKY.values(), ids=LEAKY)
def test_no_message_holds_a_password(url: str) -> None:
    """However a URL is broken, its password is neither in the message nor in the trace nor in the pickle."""
    with pytest.raises(InvalidSetting) as caught:
        connect(url)
    error = caught.value
    assert SECRET not in f"{error} {error!r} {vars(error)}"
    assert SECRET not in "".join(traceback.format_exception_only(error))
    assert SECRET not in str(error.__cause__)
    assert SECRET.encode() not in pickle.dumps(error)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:pw@localhost:6379/0", "redis://:***@localhost:6379/0"),
        ("redis://bob:pw@localhost:6379/0", "redis://bob:***@localhost:6379/0"),
        ("redis://localhost?db=1&password=pw&protocol=3", "redis://localhost?db=1&password=***&protocol=3"),
        ("unix://:pw@/run/redis.sock?db=1", "unix://:***@/run/redis.sock?db=1"),
        ("", ""),
    ],
)
def test_redacted_url_shows_the_rest(url: str, shown: str) -> None:
    """Of a URL only the password is hidden: scheme, user, host, database and options help to find the mistake."""
    assert redact(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://localhost:6379/15",
        "redis://[::1]:6379/0",
        "rediss://bob:p%2Fw@redis.example:6380/1?ssl_cert_reqs=required",
        "unix:///run/redis.sock?db=2",
        "redis://localhost?socket_timeout=1.5&health_check_interval=1",
    ],
)
def test_good_urls_pass(url: str) -> None:
    """What redis-py can use is accepted, over TCP, TLS and a Unix socket."""
    check_url(url)
    connect(url).close()


def test_nothing_connects_before_its_first_use() -> None:
    """Making a client and a store talks to nobody: a server that is not there yet is no error."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.05)
        RedisStore(connect(f"redis://127.0.0.1:{listener.getsockname()[1]}/0"))
        with pytest.raises(TimeoutError):
            listener.accept()


def test_clients_have_time_outs() -> None:
    """Every client has time-outs and health checks, without which a half-open connection would hold its worker."""
    for client in (connect("redis://localhost"), async_redis.connect("redis://localhost")):
        kwargs = client.get_connection_kwargs()
        assert (kwargs["socket_timeout"], kwargs["socket_connect_timeout"]) == (5.0, 5.0)
        assert kwargs["health_check_interval"] == 5


def test_url_and_options_win_over_defaults() -> None:
    """What the URL says counts more than our defaults; so does what the caller says."""
    assert connect("redis://localhost?socket_timeout=1").get_connection_kwargs()["socket_timeout"] == 1.0
    assert connect("redis://localhost", socket_timeout=2).get_connection_kwargs()["socket_timeout"] == 2
    assert connect("redis://localhost", decode_responses=False).get_encoder().decode_responses is False


def test_password_with_special_characters_arrives(empty_valkey: Engine) -> None:
    """A percent-encoded user and password from the URL are what the server is told."""
    admin = empty_valkey.client()
    admin.execute_command("ACL", "SETUSER", "bob", "on", ">p/@:#w", "~*", "+@all")
    store = RedisStore(connect(empty_valkey.url.replace("//", "//bob:p%2F%40%3A%23w@")))
    assert store.run(Peek("k")).record is None
    assert "bob" in str(admin.client_list())
    store.close()
    admin.execute_command("ACL", "DELUSER", "bob")


def test_unix_socket_works(tmp_path: Path) -> None:
    """A server behind a Unix socket is as good as one behind TCP."""
    with Engine(config={"unixsocket": str(tmp_path / "s")}):
        store = RedisStore(connect(f"unix://{tmp_path / 's'}?db=1"))
        assert store.run(Claim("k", "a", 1_000, 1_000)).fresh
        store.close()


def test_reason_of_any_origin_is_kept(empty_valkey: Engine) -> None:
    """A reason with what the file system made of a bad name is kept, escaped: settling never fails over its words."""
    store = RedisStore(connect(empty_valkey.url))
    store.run(Claim("k", "a", 1_000, 60_000, effect=True))
    settled = store.run(Doubt("k", "a", "no file caf\udce9.csv", 60_000, hold=True))
    assert settled.acted
    assert settled.record is not None
    assert settled.record.reason == "no file caf\\udce9.csv"
    store.close()


def test_server_that_hangs_is_unavailable(caplog: pytest.LogCaptureFixture) -> None:
    """A server that takes connections and never answers costs its time-out and is then unavailable."""
    with Engine() as engine, caplog.at_level(logging.DEBUG):
        engine.client().execute_command("ACL", "SETUSER", "bob", "on", f">{SECRET}", "~*", "+@all")
        store = RedisStore(connect(engine.url.replace("//", f"//bob:{SECRET}@"), socket_timeout=0.05))
        assert store.run(Peek("k")).record is None
        engine.freeze()
        with pytest.raises(StoreUnavailable) as caught:
            store.run(Peek("k"))
        engine.thaw()
        store.close()
    assert SECRET not in f"{caught.value}{caught.value.__cause__}{caplog.text}"


def test_server_that_is_not_there_is_unavailable() -> None:
    """A refused connection is `StoreUnavailable`; the message says where it was tried, and not with which password."""
    port = free_port()
    store = RedisStore(connect(f"redis://bob:{SECRET}@127.0.0.1:{port}/0"))
    with pytest.raises(StoreUnavailable, match=rf"Redis is away: .*127\.0\.0\.1:{port}") as caught:
        store.run(Peek("k"))
    assert SECRET not in str(caught.value)


def test_restarted_server_is_used_again() -> None:
    """A client outlives its server: after a restart on the same port the next call works."""
    with Engine() as engine:
        store = RedisStore(connect(engine.url))
        store.run(Claim("k", "a", 60_000, 60_000))
        engine.restart()
        assert store.run(Claim("k", "b", 60_000, 60_000)).fresh
        store.close()
