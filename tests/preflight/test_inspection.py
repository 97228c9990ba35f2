"""Asking real servers: what they are, what they forbid, and that asking changes nothing."""

from __future__ import annotations

import pytest

from dedup.ops import Begin
from dedup.preflight import Level, findings
from dedup.stores.connect import connect
from dedup.stores.inspection import inspect, inspect_all
from dedup.stores.redis import RedisStore
from tests.engines import DURABLE, HOST, Engine, free_port
from tests.topology.clusters import Cluster
from tests.topology.conftest import server_binary
from tests.topology.sentinels import Sentinels, replica_of, wait_for

SINCE = "dedup:since"
SECRET = "s3cr3t"


def levels(engine: Engine, durability: str = "server") -> dict[str, Level]:
    facts = inspect(engine.client(), "here", SINCE)
    return {one.check: one.level for one in findings(facts, durability) if one.level is not Level.OK}


@pytest.mark.parametrize("name", ["valkey9", "redis7"])
def test_good_server(name: str) -> None:
    """A durable server has nothing against it but that no worker has been there; asking leaves no key behind."""
    with Engine(server_binary(name), DURABLE) as engine:
        assert levels(engine) == {"memory began": Level.WARN}
        assert engine.client().dbsize() == 0
        assert inspect(engine.client(), "here", SINCE).waits_for_aof is (name == "valkey9")
        assert levels(engine, "aof").get("DEDUP_DURABILITY") == (None if name == "valkey9" else Level.FAIL)


def test_careless_server() -> None:
    """A cache's configuration fails loudly: it may evict, and keeps nothing."""
    with Engine(config={"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}) as engine:
        assert levels(engine) == {
            "maxmemory-policy": Level.FAIL,
            "persistence": Level.FAIL,
            "memory began": Level.WARN,
        }


def test_worker_was_there() -> None:
    """Once a worker has begun the store's memory nothing is left to say."""
    with Engine(config=DURABLE) as engine:
        store = RedisStore(connect(engine.url))
        store.run(Begin(SINCE))
        store.close()
        assert levels(engine) == {}


def test_replica_and_its_primary() -> None:
    """A replica is refused as such; its primary is told that it may be cut off."""
    with Engine(config={**DURABLE, "repl-diskless-sync-delay": "0"}) as primary:
        replica = replica_of(primary)
        assert levels(replica)["role"] is Level.FAIL
        assert levels(primary)["replicas"] is Level.WARN
        primary.client().config_set("min-replicas-to-write", 1)
        assert "replicas" not in levels(primary)
        replica.close()


def test_snapshot_that_failed() -> None:
    """A server that could not write its snapshot says so."""
    with Engine(config=DURABLE) as engine:
        admin = engine.client()
        admin.set("k", "v")
        (engine.data_dir / "dump.rdb").mkdir()
        admin.bgsave()
        wait_for(lambda: not admin.info("persistence")["rdb_bgsave_in_progress"], "the snapshot")
        assert levels(engine)["snapshots"] is Level.FAIL


@pytest.mark.parametrize(
    ("forbidden", "check", "level"), [("config", "CONFIG", Level.WARN), ("info", "INFO", Level.FAIL)]
)
def test_what_is_forbidden_is_said(forbidden: str, check: str, level: Level) -> None:
    """A user who may not ask for something is a finding, and the rest is looked at."""
    with Engine(config=DURABLE) as engine:
        engine.client().execute_command("ACL", "SETUSER", "bob", "on", ">pw", "~*", "+@all", f"-{forbidden}")
        (facts,) = inspect_all(engine.url.replace("//", "//bob:pw@"), SINCE)
        found = {one.check: one.level for one in findings(facts)}
        assert found[check] is level
        assert found["round trip"] is Level.OK


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"redis://bob:{SECRET}@{HOST}:{free_port()}/0", "Connection refused"),
        (f"sentinel://:{SECRET}@{HOST}:{free_port()}/main", "No master found"),
        (f"redis+cluster://:{SECRET}@{HOST}:{free_port()}", "cannot be connected"),
    ],
    ids=["server", "sentinel", "cluster"],
)
def test_nobody_there_is_a_finding(url: str, says: str) -> None:
    """Where nobody answers that is what is found, without the password."""
    (facts,) = inspect_all(url, SINCE)
    assert says in facts.error
    assert SECRET not in repr(facts)
    assert findings(facts)[0].level is Level.FAIL


def test_wrong_password_is_a_finding() -> None:
    """A password that is wrong is named as such."""
    with Engine(config={"requirepass": SECRET}) as engine:
        (facts,) = inspect_all(engine.url.replace("//", "//:wrong@"), SINCE)
        assert "WRONGPASS" in facts.error


def test_sentinels_are_counted() -> None:
    """Behind Sentinels the primary is looked at, and how many of the Sentinels answer."""
    with Sentinels(server_binary("valkey9"), DURABLE) as running:
        (facts,) = inspect_all(f"{running.url},".replace("/mymaster/0,", f",{HOST}:{free_port()}/mymaster"), SINCE)
        assert facts.sentinels == (3, 4)
        assert facts.text("role") == "master"


def test_every_primary_of_a_cluster() -> None:
    """Of a Cluster every primary is looked at, with the mark in one of its slots."""
    with Cluster(server_binary("valkey9"), DURABLE) as running:
        store = RedisStore(connect(running.url))
        store.run(Begin(SINCE))
        store.close()
        every = inspect_all(running.url, SINCE)
        assert len(every) == 3
        for facts in every:
            assert {one.level for one in findings(facts)} == {Level.OK}
            assert facts.cluster_state == "ok"
