"""A machine whose clock is wrong neither posts what was posted before, nor what is too old, nor drops what is new."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dedup.cache import SignalPublishCache
from dedup.ops import Began, Begin
from dedup.publish_flow import Surroundings, forgotten
from dedup.publisher import SignalPublisher, surroundings
from dedup.rules import SignalRules
from dedup.stores.connect import connect
from dedup.stores.redis import RedisStore
from tests.engines import Engine
from tests.topology.posting import LONG_AGO_MS, SINCE, Posts, now_ms, signal

TEN_MINUTES_MS = 600_000


@pytest.fixture
def store(empty_valkey: Engine) -> RedisStore:
    """A store that remembers all since long ago."""
    empty_valkey.client().set(SINCE, LONG_AGO_MS)
    return RedisStore(connect(empty_valkey.url))


def off_by(shift_ms: int) -> Surroundings:
    """The surroundings of a machine whose clock is so much ahead."""
    return surroundings(lambda: now_ms() + shift_ms)


def publisher(store: RedisStore, posts: Posts, shift_ms: int) -> SignalPublisher:
    """A publisher on that machine."""
    return SignalPublisher(SignalPublishCache(store, SignalRules(lease_ms=60_000)), posts, off_by(shift_ms))


@pytest.mark.parametrize("shift_ms", [-TEN_MINUTES_MS, 0, TEN_MINUTES_MS], ids=["behind", "right", "ahead"])
def test_forgotten_signal_is_held_whatever_the_clock(store: RedisStore, empty_valkey: Engine, shift_ms: int) -> None:
    """What was posted before a FLUSHALL is held by a machine whose clock is wrong too, though its memory has begun
    anew since: one POST.
    """
    posts, job = Posts(), signal("s", now_ms() - 1000)
    assert publisher(store, posts, 0).publish_job(job).outcome == "posted"
    empty_valkey.client().flushall()
    store.run(Begin(SINCE))
    assert publisher(store, posts, shift_ms).publish_job(job).outcome == "held"
    assert posts.of == {"s": 1}
    store.close()


@pytest.mark.parametrize(
    ("shift_ms", "store_ahead_ms"),
    [(0, 0), (-TEN_MINUTES_MS, 0), (TEN_MINUTES_MS, 0), (0, -TEN_MINUTES_MS), (0, TEN_MINUTES_MS)],
    ids=["both right", "machine behind", "machine ahead", "store behind", "store ahead"],
)
def test_no_wrong_clock_hides_that_it_is_forgotten(shift_ms: int, store_ahead_ms: int) -> None:
    """Whichever clock is wrong, the store's or the machine's, a candle that closed before the memory began counts as
    forgotten.
    """
    now, began_ms, closed_ms = 2_000_000_000, 1_999_000_000, 1_998_999_000
    began = Began(began_ms + store_ahead_ms, False, "redis", now + store_ahead_ms)
    assert forgotten(began, closed_ms, now + shift_ms)


@pytest.mark.parametrize("shift_ms", [-TEN_MINUTES_MS, TEN_MINUTES_MS], ids=["behind", "ahead"])
def test_expiry_is_judged_by_the_stores_clock(store: RedisStore, shift_ms: int) -> None:
    """A signal that has time left is posted by a machine whose clock is ahead, and one that has none is not posted by
    a machine whose clock is behind.
    """
    posts = Posts()
    fresh = replace(signal("fresh"), expires_at_ms=now_ms() + 60_000)
    stale = replace(signal("stale"), expires_at_ms=now_ms() - 60_000)
    line = publisher(store, posts, shift_ms)
    assert [line.publish_job(job).outcome for job in (fresh, stale)] == ["posted", "expired"]
    assert posts.of == {"fresh": 1}
    store.close()
