"""A server that forgets: what it posted before is held, never taken for new; each with one loud line in the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from dedup.amnesia import Mark, Why
from dedup.ops import Begin
from dedup.publish_flow import forgotten
from tests.engines import DURABLE, HOST, Engine, free_port
from tests.topology.conftest import Open
from tests.topology.posting import LONG_AGO_MS, SINCE, Posts, all_at_once, outcomes, signal
from tests.topology.sentinels import replica_of

SNAPSHOTS = {"save": "3600 1000000"}
EVERY_SECOND = {"appendonly": "yes", "appendfsync": "everysec"}
AT_ONCE = {"repl-diskless-sync-delay": "0"}


@pytest.fixture
def posts() -> Posts:
    return Posts()


@pytest.fixture
def loud(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The loud lines of the log so far."""
    with caplog.at_level(logging.ERROR, "dedup.stores.guard"):
        yield _Loud(caplog)  # type: ignore[misc]


class _Loud:
    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def lines(self) -> list[str]:
        return [one.getMessage() for one in self._caplog.records if "begins anew" in one.getMessage()]


def remembering(engine: Engine) -> None:
    """Say that the server knows all since long ago, as a deployment that has been running does."""
    engine.client().set(SINCE, LONG_AGO_MS)


def mark_of(engine: Engine) -> Mark:
    mark = Mark.loads(engine.client().get(SINCE))
    assert mark is not None
    return mark


def test_flush_under_load_posts_nothing_twice(binary: str, open_store: Open, posts: Posts, loud: _Loud) -> None:
    """FLUSHALL while four publishers are at the same signals: none is posted twice, and one process says so once."""
    with Engine(binary) as engine:
        remembering(engine)
        stores = [open_store(engine.url) for _ in range(4)]
        jobs = [signal(f"s{number}") for number in range(150)]

        def flush() -> None:
            while len(posts.of) < 40:
                pass
            engine.client().flushall()

        published = all_at_once(stores, posts, jobs, flush)
        again = outcomes(stores[0], posts, jobs)
        assert posts.doubled == []
        assert {"held"} <= {one.outcome for one in published} | set(again)
        assert len(loud) == 1
        assert outcomes(stores[0], posts, [signal("new")]) == ["posted"]


def test_restart_that_loses_writes_holds(binary: str, open_store: Open, posts: Posts, loud: _Loud) -> None:
    """After a restart from an old snapshot the mark is still there, and what was posted since is held all the same."""
    with Engine(binary, SNAPSHOTS) as engine:
        remembering(engine)
        store, other = open_store(engine.url), open_store(engine.url)
        assert outcomes(store, posts, [signal("kept")]) == ["posted"]
        engine.client().save()
        lost = signal("lost")
        assert outcomes(store, posts, [lost]) == ["posted"]
        engine.restart()
        assert engine.client().get(lost.key) is None
        assert outcomes(other, posts, [lost]) == ["held"]
        assert (mark_of(engine).why, len(loud)) == (Why.RESTARTED, 1)
        assert outcomes(store, posts, [signal("kept"), signal("new")]) == ["duplicate", "posted"]
        assert posts.doubled == []


def test_restart_that_keeps_everything_holds_nothing(binary: str, open_store: Open, posts: Posts, loud: _Loud) -> None:
    """With `appendfsync always` a restart moves no mark: what was not posted before it is posted after it."""
    with Engine(binary, DURABLE) as engine:
        remembering(engine)
        store = open_store(engine.url)
        before, waiting = signal("before"), signal("waiting")
        assert outcomes(store, posts, [before]) == ["posted"]
        for _ in range(2):
            engine.restart()
            assert outcomes(store, posts, [before]) == ["duplicate"]
        assert outcomes(open_store(engine.url), posts, [waiting]) == ["posted"]
        assert (mark_of(engine).since_ms, len(loud)) == (LONG_AGO_MS, 0)


@pytest.mark.parametrize(
    "config", [{"appendonly": "yes", "appendfsync": "everysec"}, SNAPSHOTS], ids=["everysec", "rdb"]
)
def test_restart_is_not_trusted_without_fsync(
    open_store: Open, posts: Posts, config: dict[str, str], loud: _Loud
) -> None:
    """Where a crash of the machine may lose acknowledged writes, memory begins with the new process."""
    with Engine(config=config) as engine:
        remembering(engine)
        store = open_store(engine.url)
        before = signal("before")
        assert outcomes(store, posts, [signal("first")]) == ["posted"]
        engine.client().save()
        engine.restart()
        began_ms = store.run(Begin(SINCE)).since_ms
        assert before.closed_at_ms is not None
        assert before.closed_at_ms < began_ms
        assert outcomes(store, posts, [before]) == ["held"]
        assert len(loud) == 1


def test_change_of_fsync_is_noticed(open_store: Open) -> None:
    """A server that was set to `everysec` while it ran is not believed after its next restart."""
    with Engine(config=DURABLE) as engine:
        remembering(engine)
        open_store(engine.url).run(Begin(SINCE))
        assert mark_of(engine).keeps
        engine.client().config_set("appendfsync", "everysec")
        open_store(engine.url).run(Begin(SINCE))
        assert not mark_of(engine).keeps


def test_failover_to_lagging_replica_holds(binary: str, open_store: Open, posts: Posts, loud: _Loud) -> None:
    """A replica that missed the last writes and takes over has the mark, but not the trust: they are held."""
    with Engine(binary, AT_ONCE) as primary:
        remembering(primary)
        store = open_store(primary.url)
        assert outcomes(store, posts, [signal("kept")]) == ["posted"]
        replica = replica_of(primary)
        replica.client().replicaof(HOST, free_port())
        lost = signal("lost")
        assert outcomes(store, posts, [lost]) == ["posted"]
        primary.kill()
        replica.client().replicaof("NO", "ONE")
        after = open_store(replica.url)
        assert outcomes(after, posts, [lost, signal("kept")]) == ["held", "duplicate"]
        assert (mark_of(replica).why, len(loud)) == (Why.TAKEN_OVER, 1)
        assert outcomes(after, posts, [signal("new")]) == ["posted"]
        assert posts.doubled == []
        replica.close()


def test_empty_replica_holds(open_store: Open, posts: Posts, loud: _Loud) -> None:
    """A replica without any data that takes over has no mark: everything is held."""
    with Engine() as primary, Engine() as replica:
        remembering(primary)
        lost = signal("lost")
        assert outcomes(open_store(primary.url), posts, [lost]) == ["posted"]
        primary.kill()
        assert outcomes(open_store(replica.url), posts, [lost]) == ["held"]
        assert (mark_of(replica).why, len(loud)) == (Why.MISSING, 1)


def test_primary_that_was_a_replica_meanwhile_is_not_trusted(binary: str, open_store: Open, posts: Posts) -> None:
    """The same process as before, which was a replica for a while, may lack what was acknowledged then."""
    with Engine(binary) as engine:
        remembering(engine)
        store = open_store(engine.url)
        assert outcomes(store, posts, [signal("kept")]) == ["posted"]
        waiting = signal("waiting")
        engine.client().replicaof(HOST, free_port())
        engine.client().replicaof("NO", "ONE")
        assert outcomes(store, posts, [waiting]) == ["held"]
        assert mark_of(engine).why is Why.DEMOTED


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_evicted_record_is_held(binary: str, open_store: Open, posts: Posts, loud: _Loud, policy: str) -> None:
    """Under memory pressure a record goes, with its mark or without: its signal is held, not posted again."""
    with Engine(binary, {"maxmemory-policy": policy}) as engine:
        admin = engine.client()
        remembering(engine)
        store = open_store(engine.url)
        lost = signal("lost")
        assert outcomes(store, posts, [lost]) == ["posted"]
        admin.config_set("maxmemory", int(admin.info("memory")["used_memory"]) + 2_000_000)
        number = 0
        while admin.exists(lost.key):
            number += 1
            admin.set(f"junk{number}", "x" * 20_000, ex=1_000_000)
        spared = admin.exists(SINCE)
        admin.config_set("maxmemory", 0)
        assert outcomes(store, posts, [lost]) == ["held"]
        assert (mark_of(engine).why, len(loud)) == (Why.EVICTED if spared else Why.MISSING, 1)
        assert spared or policy == "allkeys-lru"
        assert outcomes(store, posts, [signal("new")]) == ["posted"]
        assert posts.doubled == []


def test_policy_alone_holds_nothing(open_store: Open, posts: Posts) -> None:
    """A server that may evict, and has not, is believed: the doctor says what is wrong with it."""
    with Engine(config={"maxmemory-policy": "allkeys-lru", "maxmemory": "100mb"}) as engine:
        remembering(engine)
        assert outcomes(open_store(engine.url), posts, [signal("one")]) == ["posted"]


def test_server_that_does_not_say_who_it_is(open_store: Open, posts: Posts, caplog: pytest.LogCaptureFixture) -> None:
    """Without the permission for INFO publishing goes on, FLUSHALL is noticed, and the rest is warned of once."""
    with Engine() as engine:
        engine.client().execute_command("ACL", "SETUSER", "bob", "on", ">pw", "~*", "+@all", "-info")
        remembering(engine)
        store = open_store(engine.url.replace("//", "//bob:pw@"))
        one = signal("one")
        assert outcomes(store, posts, [one, signal("two")]) == ["posted", "posted"]
        engine.client().flushall()
        assert outcomes(store, posts, [one]) == ["held"]
        assert sum("+info" in record.getMessage() for record in caplog.records) == 1


def test_restart_is_not_believed_where_config_is_forbidden(open_store: Open, posts: Posts) -> None:
    """Where CONFIG is forbidden nobody knows whether writes are kept: a restart holds, although they were."""
    with Engine(config=DURABLE) as engine:
        allow = ("ACL", "SETUSER", "bob", "on", ">pw", "~*", "+@all", "-config")
        engine.client().execute_command(*allow)
        remembering(engine)
        store = open_store(engine.url.replace("//", "//bob:pw@"))
        waiting = signal("waiting")
        assert outcomes(store, posts, [signal("one")]) == ["posted"]
        engine.restart()
        engine.client().execute_command(*allow)
        assert outcomes(store, posts, [waiting]) == ["held"]


def test_person_may_vouch(open_store: Open, posts: Posts) -> None:
    """A plain number under the mark is a person's word: the server at hand is believed from then on."""
    with Engine() as engine:
        store = open_store(engine.url)
        waiting = signal("waiting")
        store.run(Begin(SINCE))
        remembering(engine)
        assert outcomes(store, posts, [waiting]) == ["posted"]


def test_clocks_need_not_agree(open_store: Open, posts: Posts) -> None:
    """A server whose clock is behind still notices that it forgot a candle that closed before, by its own clock."""
    with Engine() as engine:
        remembering(engine)
        store = open_store(engine.url)
        engine.client().flushall()
        store.run(Begin(SINCE))
        began = store.run(Begin(SINCE))
        assert not began.just_now
        # As seen from a machine whose clock is a minute ahead of the server's.
        ahead_ms = 60_000
        closed_at_ms = began.since_ms - 100 + ahead_ms
        assert forgotten(began, closed_at_ms, began.now_ms + ahead_ms)
        assert not forgotten(began, closed_at_ms + 200, began.now_ms + ahead_ms)
