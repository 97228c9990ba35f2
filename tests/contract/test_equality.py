"""Memory equals Redis: the same random history, step by step, gets the same answers and leaves the same records.

Times differ between the two, so leases are long and running out is a step of its own, which rewrites the record's end
of lease in both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.adopt import Adopt, Adopted
from dedup.ops import Began, Begin, Claim, Claimed, Complete, Doubt, Op, Peek, Peeked, Release, Resolve, Settled
from dedup.records import Record, State
from dedup.stores.connect import connect
from dedup.stores.memory import MemoryStore
from dedup.stores.protocol import Store
from dedup.stores.redis import RedisStore
from tests.contract.subjects import SetClock
from tests.engines import Engine

HOUR_MS = 3_600_000
KEYS = ("k1", "k2")
MARK = "mark"
LAPSED_MS = 1


@dataclass(frozen=True)
class Lapse:
    """The lease runs out."""

    key: str


@dataclass(frozen=True)
class Look:
    """A person looks at a key, and resolves what they have seen at once: `op` without what was seen."""

    op: Resolve


@dataclass(frozen=True)
class Put:
    """Somebody writes the key by hand."""

    key: str
    text: str


@dataclass(frozen=True)
class Delete:
    """Somebody deletes the key."""

    key: str


@dataclass(frozen=True)
class Batch:
    """Several operations in one round trip."""

    ops: tuple[Op[Any], ...]


keys = st.sampled_from(["k1", "k1", "k1", "k2"])
tokens = st.sampled_from(["a", "b", "c"])
hours = st.integers(1, 9).map(lambda count: count * HOUR_MS)
retries = st.sampled_from([0, HOUR_MS, 20 * HOUR_MS])
digests = st.sampled_from(["", "", "d1", "d2"])
reasons = st.sampled_from(["", "read timeout"]) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
texts = st.sampled_from(
    [
        "processed",
        "",
        "[]",
        "1",
        "null",
        '{"s":"x"}',
        '{"s":"done"}',
        '{"s":"done","t":"a","o":"posted"}',
        '{"s":"claimed","t":"a"}',
        '{"s":"claimed","n":7,"f":2,"p":1,"w":"why"}',
        '{"s":"released","f":9}',
        '{"s":"unknown","t":"b","p":1}',
        '{"s":"unknown","h":1,"d":"d1"}',
        '{"s":"unknown","t":"a","g":1,"b":"anna","y":"asked","w":"read timeout","f":9}',
        '{"s":"claimed","t":"b","g":1,"b":"anna","p":1}',
    ]
)

claims = st.builds(
    Claim,
    keys,
    tokens,
    lease_ms=hours,
    ttl_ms=hours,
    digest=digests,
    effect=st.booleans(),
    resume=st.booleans(),
    max_failures=st.integers(1, 3),
    held_ttl_ms=st.just(0) | hours,
)
completes = st.builds(
    Complete,
    keys,
    tokens,
    st.sampled_from(["posted", "rejected"]),
    ttl_ms=hours,
    value=st.sampled_from(["", "[]", '{"signals":[]}', "null", "1.10"]),
    reason=reasons,
    digest=digests,
    fact=st.booleans(),
)
releases = st.builds(Release, keys, tokens, ttl_ms=hours, retry_ms=retries, reason=reasons, failed=st.booleans())
doubts = st.builds(Doubt, keys, tokens, reasons, ttl_ms=hours, hold=st.booleans(), retry_ms=retries, digest=digests)
resolutions = st.builds(
    Resolve,
    keys,
    tokens,
    tokens | st.just(""),
    st.integers(1, 2),
    st.just(0),
    st.sampled_from(["", "posted", "rejected"]),
    st.sampled_from(["", "anna"]),
    reasons,
    ttl_ms=hours,
)
adoptions = st.builds(Adopt, keys, texts, ttl_ms=hours)
read = st.builds(Peek, keys) | st.just(Begin(MARK))
operations = claims | claims | completes | releases | doubts | resolutions | adoptions | read
by_hand = st.builds(Put, st.sampled_from([*KEYS, MARK]), texts) | st.builds(Delete, st.sampled_from([*KEYS, MARK]))
batches = st.builds(Batch, st.lists(operations, max_size=4).map(tuple))
# A lease that runs out is only seen by the claim that comes after it.
takeovers = st.tuples(st.builds(Lapse, keys), claims)
# Only what is held can be resolved, and only a claim shows what was let go.
held = doubts.map(lambda op: replace(op, hold=True))
settled_by_hand = st.tuples(st.builds(Look, resolutions), claims | resolutions | releases | completes)
step = (
    operations
    | releases
    | doubts
    | held
    | settled_by_hand
    | settled_by_hand
    | takeovers
    | takeovers
    | by_hand
    | batches
)
histories = st.lists(step.map(lambda made: made if isinstance(made, tuple) else (made,)), max_size=20).map(
    lambda parts: [one for part in parts for one in part]
)


@pytest.fixture(scope="module", params=["valkey", "redis7"])
def server(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A real server behind the other store."""
    engine: Engine = request.getfixturevalue(request.param)
    yield engine


# Seconds by default; a soak with `--hypothesis-profile=long` takes many minutes.
@pytest.mark.timeout(3600)
@settings(max_examples=3 * settings.default.max_examples)
@given(history=histories)
def test_memory_equals_redis(server: Engine, history: list[Any]) -> None:
    """After every step of any history both stores have answered alike and hold the same record for as long."""
    admin = server.client()
    admin.flushall()
    clock = SetClock()
    memory, redis = MemoryStore(clock_ms=clock), RedisStore(connect(server.url))
    try:
        for step in history:
            assert take(memory, step) == take(redis, step)
            for key in (*KEYS, MARK):
                assert kept(memory, key) == kept(redis, key)
                expires_ms = memory._entries[key].expires_ms if memory.get(key) is not None else 0
                left_ms = expires_ms - clock() if expires_ms else 0
                assert in_hours(left_ms) == in_hours(max(0, int(admin.pttl(key))))
    finally:
        redis.close()
        admin.close()


def take(store: Store, step: Any) -> Any:
    """Take one step and tell what there was to see, without times."""
    if isinstance(step, Lapse):
        record = store.run(Peek(step.key)).record
        if record is not None and record.state is State.CLAIMED:
            store.put(step.key, replace(record, until_ms=LAPSED_MS, lapse_ttl_ms=0).dumps(), HOUR_MS)
        return None
    if isinstance(step, Look):
        record = store.run(Peek(step.op.key)).record or Record(State.DONE)
        as_seen = {"seen_token": record.token, "seen_attempt": record.attempt, "seen_at_ms": record.at_ms}
        return seen(store.run(replace(step.op, **as_seen)))
    if isinstance(step, Put):
        return store.put(step.key, step.text, HOUR_MS)
    if isinstance(step, Delete):
        return store.delete(step.key)
    if isinstance(step, Batch):
        return [seen(reply) for reply in store.run_many(step.ops)]
    return seen(store.run(step))


def seen(reply: Any) -> Any:
    """A reply without times and without the store's name."""
    match reply:
        case Claimed(answer=answer, record=record, left_ms=left_ms):
            return answer, timeless(record), in_hours(left_ms)
        case Settled(acted=acted, record=record) | Adopted(acted=acted, record=record):
            return acted, timeless(record)
        case Peeked(record=record):
            return timeless(record)
        case Began(just_now=just_now):
            return just_now
    raise TypeError(type(reply))


def kept(store: Store, key: str) -> Any:
    """What stands under a key, and for how many hours a claim still holds."""
    peeked = store.run(Peek(key))
    if peeked.record is None or key == MARK:
        return peeked.record is None
    held_ms = peeked.record.until_ms - peeked.now_ms if peeked.record.state is State.CLAIMED else 0
    return timeless(peeked.record), in_hours(max(0, held_ms))


def timeless(record: Record | None) -> tuple[Record, int] | None:
    """The record, and how far its `until` lies from when it was written."""
    if record is None:
        return None
    if record.state is State.CLAIMED:
        # Redis may have claimed with a plain SET, which says in another way when the lease ends.
        return replace(record, at_ms=0, until_ms=0, lapse_ttl_ms=0), int(record.until_ms == LAPSED_MS)
    until_ms = record.until_ms
    if until_ms > LAPSED_MS:
        # A hold is written later than the retry that it keeps.
        until_ms = -1 if record.held else until_ms - record.at_ms
    return replace(record, at_ms=int(record.at_ms > 0), until_ms=0), until_ms


def in_hours(ms: int) -> int:
    """Whole hours, so that the moments between two calls do not show."""
    return round(ms / HOUR_MS)
