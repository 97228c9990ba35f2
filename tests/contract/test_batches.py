"""Batches, and servers that lose their scripts."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from dedup.errors import StoreRefused
from dedup.ops import Begin, Claim, Complete, Op, Peek
from dedup.stores.protocol import Store
from tests.contract.steps import KEY, TTL_MS, claim, complete, doubt, record_of, release
from tests.contract.subjects import ON_SERVER, Subject


def test_empty_batch_has_no_replies(store: Store) -> None:
    """No operations, no replies."""
    assert store.run_many([]) == []


def test_replies_come_in_order(store: Store) -> None:
    """A batch answers each operation in its place, each in its own form."""
    replies = store.run_many([Peek("k1"), Claim("k1", "a", 1_000, TTL_MS), Begin("mark"), Peek("k1"), release("x")])
    assert [type(reply).__name__ for reply in replies] == ["Peeked", "Claimed", "Began", "Peeked", "Settled"]
    assert replies[0].record is None
    assert replies[3].record == replies[1].record
    assert {reply.source for reply in replies} == {store.source}


def test_batch_runs_in_order(store: Store) -> None:
    """Operations on one key see each other's work: a batch is run from the first to the last."""
    ops: list[Op[Any]] = [claim("a"), claim("b"), release("a"), claim("b"), doubt("b"), complete("c"), claim("d")]
    replies = store.run_many(ops)
    told = [getattr(reply, "answer", None) or reply.acted for reply in replies]
    assert told == ["acquired", "busy", True, "acquired", True, True, "duplicate"]
    assert replies[-1].record == record_of(store)


def test_large_batches_are_answered(store: Store) -> None:
    """A sweep's batch of a thousand keys comes back whole and in order."""
    for number in range(0, 1000, 2):
        store.run(Complete(f"k{number}", "a", "evaluated", TTL_MS, value=str(number)))
    replies = store.run_many([Peek(f"k{number}") for number in range(1000)])
    values = [reply.record.value if reply.record else None for reply in replies]
    assert values == [None if number % 2 else number for number in range(1000)]


def test_lost_scripts_are_taught_again(on_server: Subject, server: redis.Redis) -> None:
    """A server that lost its scripts (a restart, SCRIPT FLUSH) is taught them again between any two calls."""
    store = on_server.store
    for op in (claim("a"), Peek(KEY), doubt("a"), release("a"), Begin("mark"), complete("a")):
        server.script_flush()
        store.run(op)
    assert record_of(store).outcome == "posted"


def test_lost_scripts_are_taught_again_in_batches(on_server: Subject, server: redis.Redis) -> None:
    """A batch on a server without scripts is answered as if they had been there."""
    ops: list[Op[Any]] = [claim("a"), claim("b"), release("a", failed=True), claim("b"), complete("b"), claim("c")]
    server.script_flush()
    replies = on_server.store.run_many(ops)
    told = [getattr(reply, "answer", None) or reply.acted for reply in replies]
    assert told == ["acquired", "busy", True, "acquired", True, "duplicate"]
    record = record_of(on_server.store)
    assert (record.attempt, record.failures) == (2, 1)


@pytest.mark.parametrize("known", ["complete", "claim"])
def test_batch_keeps_its_order_where_some_scripts_are_lost(on_server: Subject, server: redis.Redis, known: str) -> None:
    """A server that knows only some of a batch's scripts does not run those first."""
    store = on_server.store
    server.script_flush()
    store.run(Complete("other", "x", "posted", TTL_MS) if known == "complete" else Claim("other", "x", 1, TTL_MS))
    claimed, completed = store.run_many([claim("a"), complete("a")])
    assert (claimed.answer, claimed.fresh, completed.acted) == ("acquired", True, True)


def test_failing_operation_fails_the_batch(on_server: Subject, server: redis.Redis) -> None:
    """A batch in which the server refuses an operation raises: no reply is made up."""
    server.rpush("mark", "x")
    with pytest.raises(StoreRefused, match="WRONGTYPE"):
        on_server.store.run_many([Peek(KEY), Begin("mark"), Peek(KEY)])


@pytest.mark.parametrize("keys", [["k1"], ["k1", "k2", "k3"]])
def test_one_operation_costs_one_command(on_server: Subject, server: redis.Redis, keys: list[str]) -> None:
    """An operation whose script is known sends one command, and a batch one for each operation."""
    store = on_server.store
    # What comes alone and what comes in batches may go over different connections, each with its greeting.
    store.run(Peek("k1"))
    store.run_many([Peek("k1")])
    server.config_resetstat()
    store.run_many([Peek(key) for key in keys]) if len(keys) > 1 else store.run(Peek(keys[0]))
    inside = {"cmdstat_time", "cmdstat_get", "cmdstat_pttl"}
    assert sum(count for name, count in _calls(server).items() if name not in inside) == len(keys)


@pytest.mark.parametrize("name", ["valkey9", "redis7", "async_valkey9", "fallback"])
def test_first_claim_costs_one_plain_command(request: pytest.FixtureRequest, name: str) -> None:
    """A claim of a key that nobody has claimed, and a duplicate, cost one SET: what a bare lock costs."""
    for subject in ON_SERVER[name](request):
        assert subject.client is not None
        subject.store.run(Peek("warm up"))
        subject.client.config_resetstat()
        assert subject.store.run(claim("a")).answer == "acquired"
        assert _calls(subject.client) == {"cmdstat_set": 1}
        subject.store.run(complete("a"))
        subject.client.config_resetstat()
        assert subject.store.run(claim("b")).answer == "duplicate"
        assert _calls(subject.client) == {"cmdstat_set": 1}


def _calls(server: redis.Redis) -> dict[str, int]:
    ours = {"cmdstat_info", "cmdstat_config|resetstat"}
    return {name: stat["calls"] for name, stat in server.info("commandstats").items() if name not in ours}
