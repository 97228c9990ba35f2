"""A memory that is full while it is all there is: what it has to forget is held, and never posted again."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

import pytest

import dedup.aio
from dedup.backend import make_local
from dedup.keys import since_key
from dedup.ops import Begin, Claim, Complete, Peek, Release
from dedup.options import DedupOptions
from dedup.publish_flow import forgotten
from dedup.records import State
from dedup.stores.memory import MemoryStore
from dedup.stores.protocol import Store
from tests.contract.subjects import SetClock
from tests.topology.posting import SINCE, Posts, now_ms, outcomes, signal

TTL_MS, LEASE_MS = 3_600_000, 60_000


def remembering(entries: int, clock_ms: Callable[[], int] = now_ms) -> MemoryStore:
    """A memory with room for that many records, which remembers since long ago."""
    store = MemoryStore(entries, clock_ms)
    store.put(SINCE, "1700000000000", 0)
    return store


def candle(store: Store, name: str) -> None:
    """A candle that is done."""
    store.run(Claim(f"candle:{name}", "t", LEASE_MS, TTL_MS))
    store.run(Complete(f"candle:{name}", "t", "evaluated", TTL_MS))


def test_dropped_signal_is_held_and_not_posted_again(caplog: pytest.LogCaptureFixture) -> None:
    """A posted signal that had to go is held when it is asked for again; the drop is counted, and logged with the
    remedy."""
    store, posts = remembering(4), Posts()
    first, later = signal("first"), [signal(f"s{number}", now_ms() + 60_000) for number in range(3)]
    with caplog.at_level(logging.WARNING, logger="dedup.stores.memory"):
        assert outcomes(store, posts, [first, *later]) == ["posted"] * 4
    assert (store.dropped_done, store.dropped_live) == (1, 0)
    assert "dropped signal:publish:first" in caplog.text
    assert "raise max_entries above 4" in caplog.text
    assert outcomes(store, posts, [first]) == ["held"]
    assert posts.of == Counter(["first", "s0", "s1", "s2"])


def test_new_signals_are_posted_while_old_ones_go() -> None:
    """Only what is as old as what went is held: a memory that is always full takes new signals for new."""
    clock = SetClock()
    store = remembering(10, clock)
    for number in range(50):
        closed_at_ms = clock.now_ms
        clock.pass_ms(5)
        op = Claim(f"signal:publish:s{number}", "t", LEASE_MS, TTL_MS, effect=True)
        claimed, began = store.run_many([op, Begin(SINCE)])
        assert claimed.fresh
        assert not forgotten(began, closed_at_ms, clock.now_ms)
        store.run(Complete(op.key, "t", "posted", TTL_MS))
        clock.pass_ms(5)
    assert store.dropped_done == 41


def test_candles_go_before_signals() -> None:
    """Candles may be evaluated twice: they make room first, however young, and no mark is moved for them."""
    store, posts = remembering(5), Posts()
    first = signal("first")
    assert outcomes(store, posts, [first]) == ["posted"]
    for number in range(20):
        candle(store, f"c{number}")
    assert (store.dropped_done, store.dropped_live) == (0, 0)
    assert store.run(Begin(SINCE)).since_ms == 1_700_000_000_000
    assert outcomes(store, posts, [first]) == ["duplicate"]


def test_released_goes_without_a_word() -> None:
    """Nothing happened in what was released: it makes room, and no mark is moved for it."""
    store = remembering(3)
    store.run(Claim("signal:publish:a", "t", LEASE_MS, TTL_MS, effect=True))
    store.run(Release("signal:publish:a", "t", TTL_MS))
    for number in range(2):
        store.run(Claim(f"signal:publish:b{number}", "t", LEASE_MS, TTL_MS, effect=True))
    assert store.run(Peek("signal:publish:a")).record is None
    assert (store.dropped_done, store.dropped_live) == (0, 0)
    assert store.run(Begin(SINCE)).since_ms == 1_700_000_000_000


def test_dropped_claim_moves_the_mark_too() -> None:
    """A claim under way that has to go is held when another delivery asks, and its owner's word still counts."""
    store, posts = remembering(2), Posts()
    first = signal("first")
    store.run(Claim(first.key, "owner", LEASE_MS, TTL_MS, first.digest, effect=True))
    store.run(Claim("signal:publish:other", "t", LEASE_MS, TTL_MS, effect=True))
    assert store.dropped_live == 1
    assert outcomes(store, posts, [first]) == ["held"]
    assert posts.of == {}
    settled = store.run(Complete(first.key, "owner", "posted", TTL_MS, digest=first.digest))
    assert settled.acted
    assert settled.record is not None
    assert settled.record.state is State.DONE


@pytest.mark.parametrize("prefix", ["", "staging:", "candle:"])
def test_marks_of_all_deployments_move(prefix: str) -> None:
    """Whatever stands before its keys, the mark of a deployment's memory moves with what is dropped, never back."""
    clock = SetClock()
    store = MemoryStore(2, clock)
    began = store.run(Begin(since_key(prefix)))
    clock.pass_ms(500)
    store.run(Complete(f"{prefix}signal:publish:a", "t", "posted", TTL_MS))
    clock.pass_ms(500)
    store.run(Complete(f"{prefix}signal:publish:b", "t", "posted", TTL_MS))
    assert store.run(Begin(since_key(prefix))).since_ms == began.since_ms + 501
    store.put(since_key(prefix), str(clock.now_ms + 10_000), 0)
    clock.pass_ms(500)
    store.run(Complete(f"{prefix}signal:publish:c", "t", "posted", TTL_MS))
    assert store.run(Begin(since_key(prefix))).since_ms == clock.now_ms - 500 + 10_000


def test_expired_goes_first_and_moves_nothing() -> None:
    """What has outlived its TTL is no loss: no delivery of it comes any more."""
    clock = SetClock()
    store = remembering(2, clock)
    store.run(Complete("signal:publish:a", "t", "posted", 1000))
    clock.pass_ms(1000)
    store.run(Complete("signal:publish:b", "t", "posted", TTL_MS))
    assert (store.dropped_done, store.run(Begin(SINCE)).since_ms) == (0, 1_700_000_000_000)


def test_a_full_memory_says_so_once_per_turnover(caplog: pytest.LogCaptureFixture) -> None:
    """A memory that is always full does not fill the log: one line for as many drops as it has room for."""
    store = MemoryStore(10)
    with caplog.at_level(logging.WARNING, logger="dedup.stores.memory"):
        for number in range(50):
            store.run(Complete(f"signal:publish:s{number}", "t", "posted", TTL_MS))
    assert store.dropped_done == 40
    assert len(caplog.records) == 4


def test_what_has_expired_is_found_whenever_it_was_written() -> None:
    """Short lives written after long ones, and long ones after short ones, are pruned when they end."""
    clock = SetClock()
    store = MemoryStore(3, clock)
    store.put("candle:long", "x", 10_000)
    store.put("candle:short", "x", 100)
    store.put("candle:shorter", "x", 50)
    clock.pass_ms(50)
    store.put("candle:new", "x", 20)
    assert sorted(store.scan("*")) == ["candle:long", "candle:new", "candle:short"]
    clock.pass_ms(20)
    store.put("candle:newer", "x", 1000)
    assert sorted(store.scan("*")) == ["candle:long", "candle:newer", "candle:short"]
    clock.pass_ms(30)
    assert (store.prune(), store.prune()) == (1, 0)
    assert sorted(store.scan("*")) == ["candle:long", "candle:newer"]


def test_a_thousand_are_kept_by_default() -> None:
    """Who says nothing gets room for 1,000 records, wherever the memory is made."""
    stores = [MemoryStore(), dedup.aio.MemoryStore().memory, make_local(DedupOptions()).memory]
    for store in stores:
        for number in range(1_100):
            candle(store, str(number))
        assert len(store) == 1_000
        assert store.get("candle:99") is None
        assert store.get("candle:100") is not None
