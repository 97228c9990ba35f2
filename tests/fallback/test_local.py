"""The local memory of what is DONE: what it answers, and what it must never."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dedup import Answer, DoneAnswers, LocalStats, LocalStore, MemoryStore, RedisStore, State, StoreUnavailable, connect
from dedup import aio as dedup_aio
from dedup.ops import Begin, Claim, Complete, Doubt, Peek, Release
from dedup.stores.protocol import Store
from tests.contract.subjects import Driven, SetClock
from tests.engines import Engine

HOUR_MS = 3_600_000
KEY = "candle:GOLD:15m:2025-01-01T10:15:00"


def claim(token: str, key: str = KEY, **fields: Any) -> Claim:
    return Claim(key, token, **{"lease_ms": HOUR_MS, "ttl_ms": HOUR_MS, **fields})


def complete(token: str, key: str = KEY, **fields: Any) -> Complete:
    return Complete(key, token, "evaluated", **{"ttl_ms": HOUR_MS, **fields})


class Watched:
    """A store behind a local memory, and how many operations reached it."""

    def __init__(self, awaited: bool, **options: Any) -> None:
        self.clock = SetClock()
        self.behind = MemoryStore(clock_ms=self.clock)
        self.answers = DoneAnswers(clock_ms=self.clock, **options)
        self.store: Store = (
            Driven(dedup_aio.LocalStore(dedup_aio.MemoryStore(self.behind), self.answers))
            if awaited
            else LocalStore(self.behind, self.answers)
        )

    @property
    def stats(self) -> LocalStats:
        return self.answers.stats()


@pytest.fixture(params=[False, True], ids=["blocking", "awaited"])
def watched(request: pytest.FixtureRequest) -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(**options: Any) -> Watched:
        made.append(Watched(request.param, **options))
        return made[-1]

    yield make
    for each in made:
        if isinstance(each.store, Driven):
            each.store.end()


def test_done_is_answered_here(watched: Callable[..., Watched]) -> None:
    """A claim of what is known to be DONE is a duplicate, with its outcome, and says that it was answered here."""
    here = watched()
    here.store.run(claim("a"))
    here.store.run(complete("a", value="[1]"))
    here.behind.delete(KEY)
    found = here.store.run(claim("b"))
    assert (found.answer, found.source, found.left_ms) == (Answer.DUPLICATE, "local", 0)
    assert (found.record.outcome, found.record.value, found.record.token) == ("evaluated", [1], "a")


def test_what_another_process_did_is_learnt(watched: Callable[..., Watched]) -> None:
    """The first duplicate is the store's answer, and every later one is answered here."""
    here = watched()
    here.behind.run(complete("elsewhere"))
    assert [here.store.run(claim("b")).source for _ in range(3)] == ["memory", "local", "local"]
    assert here.stats == LocalStats(hits=2, misses=1, entries=1)
    assert here.stats.hit_rate == pytest.approx(2 / 3)


def test_rate_without_claims_is_zero() -> None:
    """Before the first claim there is no hit."""
    assert DoneAnswers().stats().hit_rate == 0.0


@pytest.mark.parametrize(
    "settle",
    [
        [],
        [Release(KEY, "a", HOUR_MS)],
        [Doubt(KEY, "a", "read timeout", HOUR_MS, hold=False)],
        [Doubt(KEY, "a", "read timeout", HOUR_MS, hold=True)],
    ],
    ids=["claimed", "released", "unknown", "held"],
)
def test_nothing_but_done_is_remembered(watched: Callable[..., Watched], settle: list[Any]) -> None:
    """A claim, a release and a doubt, held or not, are asked for every time."""
    here = watched()
    for op in [claim("a", effect=True), *settle, Peek(KEY), claim("b", effect=True)]:
        here.store.run(op)
    assert here.stats.entries == 0
    here.behind.delete(KEY)
    assert here.store.run(claim("c", effect=True)).answer is Answer.ACQUIRED


def test_foreign_values_are_not_remembered(watched: Callable[..., Watched]) -> None:
    """What is no record of ours may become anything, and is asked for every time."""
    here = watched()
    here.behind.put(KEY, "processed", HOUR_MS)
    assert here.store.run(claim("a")).answer is Answer.DUPLICATE
    assert here.stats.entries == 0


def test_other_payload_is_a_conflict_here_too(watched: Callable[..., Watched]) -> None:
    """A claim with another digest than the DONE record's is a conflict, as the store would say."""
    here = watched()
    here.store.run(complete("a", digest="d1"))
    answers = [here.store.run(claim("b", digest=digest)).answer for digest in ("d1", "d2", "")]
    assert answers == [Answer.DUPLICATE, Answer.CONFLICT, Answer.DUPLICATE]
    assert here.stats.misses == 0


def test_memory_is_bounded(watched: Callable[..., Watched]) -> None:
    """Full, it drops what was asked for longest ago."""
    here = watched(max_entries=3)
    for name in "abc":
        here.store.run(complete("x", name))
    here.store.run(claim("y", "a"))
    here.store.run(complete("x", "d"))
    assert here.stats.entries == 3
    sources = {name: here.store.run(claim("y", name)).source for name in "acdb"}
    assert sources == {"a": "local", "c": "local", "d": "local", "b": "memory"}


def test_memory_is_short(watched: Callable[..., Watched]) -> None:
    """A record that is deleted elsewhere, to have its work done again, is missed after `max_age_s` at the latest."""
    here = watched(max_age_s=60)
    here.store.run(complete("a"))
    here.behind.delete(KEY)
    here.clock.pass_ms(59_999)
    assert here.store.run(claim("b")).answer is Answer.DUPLICATE
    here.clock.pass_ms(1)
    assert here.store.run(claim("b")).answer is Answer.ACQUIRED


def test_memory_does_not_outlive_the_record(watched: Callable[..., Watched]) -> None:
    """A record whose TTL is shorter than `max_age_s` is forgotten with it, also when it was learnt late."""
    here = watched()
    here.behind.run(complete("a", ttl_ms=10_000))
    here.clock.pass_ms(9_000)
    assert here.store.run(claim("b", ttl_ms=10_000)).answer is Answer.DUPLICATE
    here.clock.pass_ms(1_000)
    assert here.store.run(claim("b", ttl_ms=10_000)).answer is Answer.ACQUIRED


def test_deleting_and_overwriting_forget(watched: Callable[..., Watched]) -> None:
    """What is deleted or overwritten through this store is forgotten at once."""
    here = watched()
    here.store.run(complete("a"))
    assert here.store.delete(KEY) == 1
    assert here.store.run(claim("b")).answer is Answer.ACQUIRED
    here.store.run(complete("b"))
    here.store.put(KEY, '{"s":"released","t":"b"}', HOUR_MS)
    assert here.store.run(claim("c")).answer is Answer.ACQUIRED


def test_plain_values_come_from_the_store(watched: Callable[..., Watched]) -> None:
    """Values, listings and peeks are the store's own."""
    here = watched()
    here.store.run(complete("a"))
    here.behind.put(KEY, "1", HOUR_MS)
    assert (here.store.get(KEY), list(here.store.scan("*")), here.store.source) == ("1", [KEY], "memory")
    peeked = here.store.run(Peek(KEY))
    assert (peeked.source, peeked.record and peeked.record.state) == ("memory", State.DONE)


def test_batches_ask_for_what_is_not_known(watched: Callable[..., Watched]) -> None:
    """A batch is answered in order, what is known from here and the rest by the store."""
    here = watched()
    here.store.run(complete("a", "k1"))
    replies = here.store.run_many([claim("b", "k1"), claim("b", "k2"), Begin("mark"), complete("b", "k2")])
    assert [reply.source for reply in replies] == ["local", "memory", "memory", "memory"]
    again = here.store.run_many([claim("c", "k1"), claim("c", "k2")])
    assert [(reply.answer, reply.source) for reply in again] == [(Answer.DUPLICATE, "local")] * 2
    assert here.store.run_many([]) == []


def test_known_duplicates_cost_no_round_trip(empty_valkey: Engine) -> None:
    """A claim that is answered here sends nothing to the server, and is answered also while the server is away."""
    store = LocalStore(RedisStore(connect(empty_valkey.url)))
    store.run(complete("a"))
    admin = empty_valkey.client()
    admin.config_resetstat()
    for _ in range(100):
        assert store.run(claim("b")).answer is Answer.DUPLICATE
    assert set(admin.info("commandstats")) <= {"cmdstat_info", "cmdstat_config|resetstat"}
    store.close()
    gone = LocalStore(RedisStore(connect("redis://127.0.0.1:1/0")), store.answers)
    assert gone.run(claim("b")).answer is Answer.DUPLICATE
    with pytest.raises(StoreUnavailable):
        gone.run(claim("b", "candle:other"))
