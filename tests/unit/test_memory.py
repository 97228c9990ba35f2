"""The store in memory: its bound, its clock, and threads."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dedup.ops import Answer, Claim, Complete, Doubt, Release
from dedup.stores.memory import MemoryStore
from dedup.stores.protocol import Store
from tests.contract.subjects import SUBJECTS, SetClock, Subject

LEASE_MS, TTL_MS = 1_000, 100_000


def claimed(store: Store, key: str, ttl_ms: int = TTL_MS) -> None:
    store.run(Claim(key, f"t-{key}", LEASE_MS, ttl_ms, effect=True))


def done(store: Store, key: str, ttl_ms: int = TTL_MS) -> None:
    store.run(Complete(key, f"t-{key}", "evaluated", ttl_ms))


def released(store: Store, key: str, ttl_ms: int = TTL_MS) -> None:
    claimed(store, key)
    store.run(Release(key, f"t-{key}", ttl_ms))


def doubted(store: Store, key: str, ttl_ms: int = TTL_MS) -> None:
    store.run(Doubt(key, f"t-{key}", "read timeout", ttl_ms, hold=True))


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def test_size_is_bounded(clock: SetClock) -> None:
    """However many keys are written, no more than the bound are kept."""
    store = MemoryStore(max_entries=10, clock_ms=clock)
    for number in range(50):
        done(store, f"k{number}")
        assert len(store) <= 10
    assert len(store) == 10
    assert sorted(store.scan("*")) == sorted(f"k{number}" for number in range(40, 50))


def test_expired_goes_first(clock: SetClock) -> None:
    """A full store drops what has expired, and nothing else, even where that is the newest."""
    store = MemoryStore(max_entries=3, clock_ms=clock)
    done(store, "old")
    claimed(store, "live")
    done(store, "brief", ttl_ms=10)
    clock.pass_ms(10)
    done(store, "new")
    assert sorted(store.scan("*")) == ["live", "new", "old"]
    assert store.dropped_live == 0


@pytest.mark.parametrize("settle", [done, released])
def test_settled_goes_before_live(clock: SetClock, settle: Callable[[Store, str], None]) -> None:
    """A full store drops what nobody works on, oldest first, before any claim or unknown, however old these are."""
    store = MemoryStore(max_entries=4, clock_ms=clock)
    claimed(store, "claimed")
    doubted(store, "unknown")
    settle(store, "older")
    settle(store, "newer")
    claimed(store, "fifth")
    assert sorted(store.scan("*")) == ["claimed", "fifth", "newer", "unknown"]
    claimed(store, "sixth")
    assert sorted(store.scan("*")) == ["claimed", "fifth", "sixth", "unknown"]
    assert store.dropped_live == 0


@pytest.mark.parametrize("live", [claimed, doubted])
def test_live_is_dropped_only_with_a_word(
    clock: SetClock, caplog: pytest.LogCaptureFixture, live: Callable[[Store, str], None]
) -> None:
    """Where all records are live the oldest is dropped, counted, and named in the log with the remedy."""
    store = MemoryStore(max_entries=2, clock_ms=clock)
    live(store, "first")
    live(store, "second")
    with caplog.at_level(logging.ERROR, logger="dedup.stores.memory"):
        live(store, "third")
    assert sorted(store.scan("*")) == ["second", "third"]
    assert store.dropped_live == 1
    assert "first" in caplog.text
    assert "max_entries above 2" in caplog.text


def test_rewriting_makes_young_and_no_room(clock: SetClock) -> None:
    """A record that is written again moves to the young end and drops nothing."""
    store = MemoryStore(max_entries=2, clock_ms=clock)
    done(store, "a")
    claimed(store, "b")
    store.run(Claim("b", "t-b", LEASE_MS, TTL_MS))
    assert len(store) == 2
    store.put("a", "rewritten", TTL_MS)
    done(store, "c")
    assert sorted(store.scan("*")) == ["b", "c"]


def test_prune_drops_what_has_expired(clock: SetClock) -> None:
    """Pruning says how much it dropped, and drops nothing else."""
    store = MemoryStore(clock_ms=clock)
    done(store, "brief", ttl_ms=10)
    done(store, "brief too", ttl_ms=10)
    done(store, "long")
    assert store.prune() == 0
    clock.pass_ms(10)
    assert store.prune() == 2
    assert (store.prune(), len(store), list(store.scan("*"))) == (0, 1, ["long"])


def test_lease_ends_at_its_last_ms(clock: SetClock) -> None:
    """A lease holds until the ms at which it ends, and not in it."""
    store = MemoryStore(clock_ms=clock)
    claimed(store, "k")
    clock.pass_ms(LEASE_MS - 1)
    busy = store.run(Claim("k", "other", LEASE_MS, TTL_MS))
    assert (busy.answer, busy.left_ms) == (Answer.BUSY, 1)
    clock.pass_ms(1)
    assert store.run(Claim("k", "other", LEASE_MS, TTL_MS)).answer is Answer.ACQUIRED


def test_record_ends_at_its_last_ms(clock: SetClock) -> None:
    """A record lives until the ms at which its TTL ends, and not in it."""
    store = MemoryStore(clock_ms=clock)
    done(store, "k", ttl_ms=100)
    clock.pass_ms(99)
    assert store.get("k") is not None
    clock.pass_ms(1)
    assert store.get("k") is None


def test_stores_share_nothing() -> None:
    """Two stores in one process know nothing of each other."""
    one, other = MemoryStore(), MemoryStore()
    claimed(one, "k")
    assert other.get("k") is None


@pytest.fixture(params=["memory", "fallback_away", "valkey9"])
def shared(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A store that threads share."""
    yield from SUBJECTS[request.param](request)


@pytest.fixture
def hurried() -> Iterator[None]:
    """Threads change places as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run `work` in that many threads, all of which begin at once."""
    results: list[Any] = [None] * count
    gate = threading.Barrier(count)

    def begin(number: int) -> None:
        gate.wait()
        results[number] = work(number)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.usefixtures("hurried")
def test_exactly_one_thread_acquires(shared: Subject) -> None:
    """Of threads that claim the same keys at once exactly one gets each key; the others are told BUSY."""
    keys = [f"k{number}" for number in range(20)]

    def claim_all(number: int) -> list[Answer]:
        return [shared.store.run(Claim(key, f"t{number}", 60_000, TTL_MS)).answer for key in keys]

    answers = in_threads(8, claim_all)
    for told in zip(*answers, strict=True):
        assert sorted(told) == ["acquired", *["busy"] * 7]


@pytest.mark.usefixtures("hurried")
def test_every_thread_gets_its_turn_once(shared: Subject) -> None:
    """Threads that claim and release one key in turn never hold it together, and every claim is another attempt."""
    attempts: list[int] = []
    inside = 0

    def take_turns(number: int) -> bool:
        nonlocal inside
        alone, turns = True, 0
        while turns < 5:
            claimed = shared.store.run(Claim("k", f"t{number}-{turns}", 60_000, TTL_MS))
            if claimed.answer is Answer.ACQUIRED:
                inside += 1
                alone &= inside == 1
                attempts.append(claimed.record.attempt)
                inside -= 1
                turns += shared.store.run(Release("k", f"t{number}-{turns}", TTL_MS)).acted
        return alone

    assert all(in_threads(4, take_turns))
    assert sorted(attempts) == list(range(1, 21))


@pytest.mark.usefixtures("hurried")
def test_threads_that_fill_a_memory_keep_its_bound() -> None:
    """Threads that write, read, scan and prune at once neither raise nor pass the bound."""
    store = MemoryStore(max_entries=50)

    def fill(number: int) -> bool:
        for turn in range(200):
            done(store, f"k{number}-{turn}", ttl_ms=1 + turn % 3)
            list(store.scan("k*"))
            store.delete(f"k{number}-{turn - 1}")
            store.prune()
        return len(store) <= 50

    assert in_threads(4, fill) == [True] * 4
