"""What Redis refuses, in this project's words: each from a real server that really refuses."""

from __future__ import annotations

import pickle
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis import exceptions as redis_errors
from redis.backoff import NoBackoff
from redis.retry import Retry

from dedup.errors import StoreDenied, StoreError, StoreRefused, StoreUnavailable
from dedup.ops import Begin, Claim, Complete, Doubt, Peek, Release
from dedup.stores.connect import connect
from dedup.stores.redis import RedisStore
from dedup.stores.translate import translate, translated
from tests.engines import HOST, Engine, redis_binary, valkey_binary

SECRET = "s3cr3t"
WRITES = (
    Claim("k", "a", 1_000, 1_000),
    Complete("k", "a", "posted", 1_000),
    Doubt("k", "a", "why", 1_000, hold=True),
    Begin("mark"),
)
OPS = (*WRITES, Release("k", "a", 1_000), Peek("k"))


@pytest.fixture(params=["valkey9", "redis7"])
def start(request: pytest.FixtureRequest) -> Iterator[Callable[..., Engine]]:
    """Starts servers of one make, each with its directives; all are ended after the test."""
    binary = valkey_binary() if request.param == "valkey9" else redis_binary()
    if binary is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    started: list[Engine] = []

    def start_one(**config: str) -> Engine:
        engine = Engine(binary, {name.replace("_", "-"): value for name, value in config.items()})
        started.append(engine)
        return engine.start()

    yield start_one
    for engine in started:
        engine.close()


def store_on(engine: Engine, login: str = "", **options: Any) -> RedisStore:
    """A store that does not try again by itself."""
    url = engine.url.replace("//", f"//{login}")
    return RedisStore(connect(url, **{"retry": Retry(NoBackoff(), 0), **options}))


def refusal(store: RedisStore, op: Any, kind: type[StoreError]) -> str:
    """The message with which the operation is refused, alone and in a batch."""
    messages = []
    for call in (lambda: store.run(op), lambda: store.run_many([op])):
        with pytest.raises(StoreError) as caught:
            call()
        assert type(caught.value) is kind
        assert isinstance(caught.value.__cause__, redis_errors.RedisError)
        assert SECRET.encode() not in pickle.dumps(caught.value)
        messages.append(str(caught.value))
    assert SECRET not in "".join(messages)
    assert len({message.partition(":")[0] for message in messages}) == 1
    return messages[0]


@pytest.mark.parametrize("login", [f"nobody:{SECRET}@", f":{SECRET}@"])
def test_wrong_password(start: Callable[..., Engine], login: str) -> None:
    """A wrong user or password is denied, with the setting to look at and without the password."""
    engine = start(requirepass="right")
    assert refusal(store_on(engine, login), Peek("k"), StoreDenied).startswith("WRONGPASS: ")


@pytest.mark.parametrize("protocol", [2, 3])
def test_missing_password(start: Callable[..., Engine], protocol: int) -> None:
    """A server that wants a password says so, and not that the password was wrong."""
    engine = start(requirepass="right")
    message = refusal(store_on(engine, protocol=protocol), Peek("k"), StoreDenied)
    assert message == "NOAUTH: the server wants a password: put it into REDIS_URL"


RULES = {
    "other keys": "~other:* +@all",
    "no evalsha": "~* +@all -evalsha -eval -set",
    "no get": "~* +@all -get -set",
    "no time": "~* +@all -time -set",
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_missing_permission(start: Callable[..., Engine], rules: str) -> None:
    """A user whose ACL does not suffice is denied, whether the command, the key or a command inside is missing."""
    engine = start()
    engine.client().execute_command("ACL", "SETUSER", "bob", "on", f">{SECRET}", *rules.split())
    store = store_on(engine, f"bob:{SECRET}@")
    for op in (Claim("k", "a", 1_000, 1_000), Peek("k")):
        assert refusal(store, op, StoreDenied).startswith("NOPERM: ")
    store.close()


@pytest.mark.parametrize("op", WRITES, ids=lambda op: op.script)
def test_replica(start: Callable[..., Engine], op: Any) -> None:
    """Every operation that writes is refused by a read-only replica, with the way to the primary; peeking is not."""
    primary = start()
    replica = start(replicaof=f"{HOST} {primary.port}")
    store = store_on(replica)
    assert refusal(store, op, StoreRefused).startswith("READONLY: ")
    assert store.run(Peek("k")).record is None


def test_replica_without_primary(start: Callable[..., Engine]) -> None:
    """A replica that has lost its primary and does not serve stale data is unavailable: that passes."""
    primary = start()
    replica = start(replicaof=f"{HOST} {primary.port}", replica_serve_stale_data="no")
    primary.kill()
    store = store_on(replica)
    # It may take the replica a moment to notice.
    wait_until(lambda: replica.client().info("replication")["master_link_status"] == "down")
    assert refusal(store, Peek("k"), StoreUnavailable).startswith("MASTERDOWN: ")


@pytest.mark.parametrize("op", WRITES, ids=lambda op: op.script)
def test_out_of_memory(start: Callable[..., Engine], op: Any) -> None:
    """A full server under `noeviction` refuses every operation that writes, and evicts nothing."""
    engine = start(maxmemory_policy="noeviction")
    client = engine.client()
    client.set("kept", "x")
    client.config_set("maxmemory", "1")
    assert refusal(store_on(engine), op, StoreRefused).startswith("OOM: ")
    assert client.get("kept") == "x"


def test_disk_that_cannot_be_written(start: Callable[..., Engine]) -> None:
    """A server whose snapshots fail refuses to write, with the place to look at."""
    engine = start(save="3600 1")
    client = engine.client()
    client.set("k0", "x")
    shutil.rmtree(engine.data_dir)
    client.bgsave()
    wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
    store = store_on(engine)
    assert refusal(store, WRITES[0], StoreRefused).startswith("MISCONF: ")
    assert store.run(Peek("k")).record is None


def test_too_few_replicas(start: Callable[..., Engine]) -> None:
    """A server that waits for replicas refuses to write while there are too few."""
    engine = start(min_replicas_to_write="1")
    assert refusal(store_on(engine), WRITES[0], StoreRefused).startswith("NOREPLICAS: ")


def test_cluster_without_slots(start: Callable[..., Engine]) -> None:
    """A Cluster that has lost slots is unavailable: that passes."""
    engine = start(cluster_enabled="yes")
    assert refusal(store_on(engine), Peek("k"), StoreUnavailable).startswith("CLUSTERDOWN: ")


def test_server_busy_with_a_script(start: Callable[..., Engine]) -> None:
    """A server that is blocked by a script is unavailable: that passes."""
    engine = start(busy_reply_threshold="1")

    def block() -> None:
        with pytest.raises(redis.ResponseError, match="killed"):
            engine.client().eval("while true do end", 0)

    blocking = threading.Thread(target=block)
    blocking.start()
    store, admin = store_on(engine), engine.client()
    wait_until(lambda: _busy(admin))
    assert refusal(store, Peek("k"), StoreUnavailable).startswith("BUSY: ")
    admin.script_kill()
    blocking.join()


def test_server_that_is_loading(start: Callable[..., Engine]) -> None:
    """A server that is still loading its data is unavailable: that passes."""
    engine = start(save="3600 1")
    client = engine.client()
    client.mset({f"k{number}": "x" * 100 for number in range(3000)})
    client.save()
    engine.kill()
    engine.config |= {"key-load-delay": "1000", "loading-process-events-interval-bytes": "1024"}
    engine.start(loading=True)
    assert refusal(store_on(engine), Peek("k"), StoreUnavailable).startswith("LOADING: ")


def test_too_many_clients(start: Callable[..., Engine]) -> None:
    """A server that takes no more clients is unavailable: that passes."""
    engine = start(maxclients="1")
    engine.client().ping()
    assert "max number of clients" in refusal(store_on(engine), Peek("k"), StoreUnavailable)


def test_server_that_is_away(start: Callable[..., Engine]) -> None:
    """A server that has gone is unavailable, for whatever is asked of the store."""
    engine = start()
    store = store_on(engine)
    engine.kill()
    calls: list[Callable[[], Any]] = [lambda op=op: store.run(op) for op in OPS]
    calls += [lambda: store.get("k"), lambda: store.put("k", "x", 1_000), lambda: store.delete("k")]
    calls += [lambda: list(store.scan("*")), lambda: store.run_many([Peek("k")])]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="Redis is away"):
            call()


def test_empty_batch_asks_nobody(start: Callable[..., Engine]) -> None:
    """What needs no answer needs no server."""
    engine = start()
    store = store_on(engine)
    engine.kill()
    assert (store.run_many([]), store.delete()) == ([], 0)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (redis_errors.ConnectionError("gone"), StoreUnavailable),
        (redis_errors.TimeoutError("slow"), StoreUnavailable),
        (redis_errors.MaxConnectionsError("too many connections"), StoreUnavailable),
        (ConnectionResetError("reset"), StoreUnavailable),
        (OSError("no route"), StoreUnavailable),
        (redis_errors.TryAgainError("slot is moving"), StoreUnavailable),
        (redis_errors.ResponseError("ERR something new"), StoreRefused),
        (redis_errors.ResponseError(""), StoreRefused),
        (redis_errors.DataError("a list is no value"), StoreRefused),
    ],
)
def test_errors_without_a_code(error: Exception, kind: type[StoreError]) -> None:
    """What the network said means away; anything else means refused, in the client's own words."""
    told = translate(error)
    assert type(told) is kind
    assert type(error).__name__ in str(told) or "TRYAGAIN" in str(told)


WORDS = [
    ("HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH", "NOAUTH"),
    ("Authentication required.", "NOAUTH"),
    ("invalid username-password pair or user is disabled.", "WRONGPASS"),
]


@pytest.mark.parametrize(("words", "code"), WORDS)
def test_missing_password_is_told_from_a_wrong_one(words: str, code: str) -> None:
    """The client has one class for a missing and for a wrong password: the server's words tell them apart."""
    told = translate(redis_errors.AuthenticationError(words))
    assert type(told) is StoreDenied
    assert str(told).startswith(f"{code}: ")


def test_own_errors_pass_unchanged() -> None:
    """An error that is not the client's is not Redis' fault, and is left as it is."""
    with pytest.raises(KeyError), translated():
        raise KeyError("ours")
    with pytest.raises(StoreRefused, match="OOM"), translated():
        raise StoreRefused("OOM: already told")


def wait_until(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait for what a server does in its own time."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _busy(client: redis.Redis) -> bool:
    try:
        client.get("k")
    except redis.ResponseError as error:
        return str(error).startswith("BUSY")
    return False
