"""What is found from what a server says of itself: each fault by its level, each with a remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dedup.amnesia import Mark, Why
from dedup.preflight import Finding, Level, ServerFacts, findings, worst

NOW_MS = 1_800_000_000_000
INFO: dict[str, Any] = {
    "redis_version": "7.0.15",
    "redis_mode": "standalone",
    "role": "master",
    "loading": 0,
    "maxmemory": 1_000_000,
    "maxmemory_policy": "noeviction",
    "used_memory": 100_000,
    "evicted_keys": 0,
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
    "connected_slaves": 0,
}
GOOD = ServerFacts(
    "redis://h:6379/0",
    info=INFO,
    config={"appendonly": "yes", "appendfsync": "always", "min-replicas-to-write": "0"},
    skew_ms=3,
    latency_ms=0.2,
    now_ms=NOW_MS,
    mark=Mark(NOW_MS - 86_400_000, "run", "repl").dumps(),
    waits_for_aof=True,
)


def saying(**info: Any) -> ServerFacts:
    return replace(GOOD, info=INFO | info)


def config(**changes: str) -> ServerFacts:
    said = {name.replace("_", "-"): value for name, value in changes.items()}
    return replace(GOOD, config={**(GOOD.config or {}), **said})


def marked(since_ms: int, why: Why) -> ServerFacts:
    return replace(GOOD, mark=Mark(since_ms, "run", "repl", why=why).dumps())


FAULTS = {
    "away": (replace(GOOD, error="Redis is away"), "server", Level.FAIL, "reachable", "away"),
    "too old": (saying(redis_version="6.2.14"), "server", Level.FAIL, "version", "6.2.14"),
    "a replica": (saying(role="slave"), "server", Level.FAIL, "role", "replica"),
    "a Sentinel": (saying(redis_mode="sentinel"), "server", Level.FAIL, "role", "Sentinel"),
    "loading": (saying(loading=1), "server", Level.WARN, "loading", "reading"),
    "a Cluster with holes": (replace(GOOD, cluster_state="fail"), "server", Level.FAIL, "Cluster", "fail"),
    "it may evict": (saying(maxmemory_policy="allkeys-lru"), "server", Level.FAIL, "maxmemory-policy", "allkeys-lru"),
    "it may evict one day": (
        saying(maxmemory_policy="volatile-ttl", maxmemory=0),
        "server",
        Level.WARN,
        "maxmemory-policy",
        "volatile-ttl",
    ),
    "it has evicted": (saying(evicted_keys=7), "server", Level.WARN, "evicted keys", "7"),
    "little memory": (saying(used_memory=800_000), "server", Level.WARN, "memory", "80%"),
    "no memory": (saying(used_memory=950_000), "server", Level.FAIL, "memory", "95%"),
    "the machine's memory": (
        saying(maxmemory=0, used_memory=95, total_system_memory=100),
        "server",
        Level.FAIL,
        "memory",
        "the machine's",
    ),
    "no AOF": (saying(aof_enabled=0), "server", Level.FAIL, "persistence", "no AOF"),
    "fsync now and then": (config(appendfsync="everysec"), "server", Level.WARN, "persistence", "everysec"),
    "AOF fails": (saying(aof_last_write_status="err"), "server", Level.FAIL, "AOF writes", "err"),
    "snapshots fail": (saying(rdb_last_bgsave_status="err"), "server", Level.FAIL, "snapshots", "err"),
    "CONFIG is forbidden": (replace(GOOD, config=None), "server", Level.WARN, "CONFIG", "may not"),
    "INFO is forbidden": (replace(GOOD, info=None), "server", Level.FAIL, "INFO", "may not"),
    "replicas do not count": (saying(connected_slaves=2), "server", Level.WARN, "replicas", "2 connected"),
    "too few replicas": (saying(connected_slaves=1), "replicas:2", Level.FAIL, "DEDUP_DURABILITY", "1 are connected"),
    "no WAITAOF": (replace(GOOD, waits_for_aof=False), "aof", Level.FAIL, "DEDUP_DURABILITY", "cannot do"),
    "nothing to wait for": (saying(aof_enabled=0), "aof", Level.FAIL, "DEDUP_DURABILITY", "cannot do"),
    "slow": (replace(GOOD, latency_ms=50), "server", Level.WARN, "round trip", "50.00 ms"),
    "a clock ahead": (replace(GOOD, skew_ms=900), "server", Level.WARN, "clocks", "900 ms ahead"),
    "a clock far behind": (replace(GOOD, skew_ms=-9_000), "server", Level.FAIL, "clocks", "9000 ms behind"),
    "no worker yet": (replace(GOOD, mark=None), "server", Level.WARN, "memory began", "not yet"),
    "a mark that is none": (replace(GOOD, mark="soon"), "server", Level.WARN, "memory began", "not yet"),
    "it forgot": (marked(NOW_MS - 60_000, Why.EVICTED), "server", Level.WARN, "memory began", "evicted"),
    "no Sentinel": (replace(GOOD, error="away", sentinels=(0, 3)), "server", Level.FAIL, "Sentinels", "0 of 3"),
    "a Sentinel is away": (replace(GOOD, sentinels=(2, 3)), "server", Level.WARN, "Sentinels", "2 of 3"),
    "too few Sentinels": (replace(GOOD, sentinels=(2, 2)), "server", Level.WARN, "Sentinels", "2 of 2"),
}

FINE = {
    "as it should be": (GOOD, "server"),
    "Valkey": (saying(redis_version="7.2.4", valkey_version="9.1.2"), "aof"),
    "replicas that count": (
        replace(saying(connected_slaves=2), config={**(GOOD.config or {}), "min-replicas-to-write": "1"}),
        "replicas:2",
    ),
    "a limit above the need": (saying(used_memory=700_000), "server"),
    "it forgot long ago": (marked(NOW_MS - 7_200_000, Why.RESTARTED), "server"),
    "a first start": (marked(NOW_MS - 1_000, Why.MISSING), "server"),
    "a person's word": (replace(GOOD, mark="1700000000000"), "server"),
    "three Sentinels": (replace(GOOD, sentinels=(3, 3)), "server"),
}


@pytest.mark.parametrize(("facts", "durability", "level", "check", "said"), FAULTS.values(), ids=FAULTS)
def test_fault_is_found(facts: ServerFacts, durability: str, level: Level, check: str, said: str) -> None:
    """Each fault has its level, says what was found, and comes with a remedy."""
    matching = [one for one in findings(facts, durability) if one.check == check and one.level is not Level.OK]
    assert [one.level for one in matching] == [level]
    assert said in matching[0].found
    assert len(matching[0].remedy) > 10


@pytest.mark.parametrize(("facts", "durability"), FINE.values(), ids=FINE)
def test_nothing_is_found_where_nothing_is_wrong(facts: ServerFacts, durability: str) -> None:
    """A server as it should be has findings that are all ok, without remedies."""
    found = findings(facts, durability)
    assert {(one.level, one.remedy) for one in found} == {(Level.OK, "")}
    assert {one.check for one in found} >= {"reachable", "version", "maxmemory-policy", "persistence", "memory began"}


def test_every_fault_hides_no_other() -> None:
    """A server with many faults has all of them."""
    facts = saying(redis_version="6.0.0", maxmemory_policy="allkeys-lru", aof_enabled=0, evicted_keys=1, role="slave")
    failed = {one.check for one in findings(facts) if one.level is Level.FAIL}
    assert failed == {"version", "role", "maxmemory-policy", "persistence"}


def test_worst_counts() -> None:
    """One failure among many findings makes the whole fail; no finding at all is fine."""
    kinds = [Finding(level, "", "") for level in (Level.OK, Level.FAIL, Level.WARN)]
    assert worst(kinds) is Level.FAIL
    assert worst(kinds[:1] + kinds[2:]) is Level.WARN
    assert worst([]) is Level.OK
