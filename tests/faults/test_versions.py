"""Records of a newer version: an older one loses none of their fields, and works none that it cannot judge."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dedup.ops import Answer, Claim, Complete, Doubt, Op, Peek, Release
from dedup.records import Record
from dedup.resolving import Resolve
from dedup.stores.connect import connect
from dedup.stores.memory import MemoryStore
from dedup.stores.protocol import Store
from dedup.stores.redis import RedisStore
from tests.engines import Engine

KEY = "candle:GOLD:1h:2025-01-04T09:00:00"
NEW = {"x": "new", "zone": 7, "ü": "ö"}
"""Fields of the next version."""

OPS = {"lease_ms": 60_000, "ttl_ms": 600_000}
CLAIM = Claim(KEY, "mine", **OPS)
EFFECT = Claim(KEY, "mine", **OPS, digest="d1", effect=True, resume=True)

STEPS: dict[str, tuple[dict[str, Any], Op[Any]]] = {
    "claim of what was released": ({"s": "released", "t": "other", "n": 3, "u": 1, "a": 1}, CLAIM),
    "takeover of a candle": ({"s": "claimed", "t": "other", "n": 3, "u": 1, "a": 1}, CLAIM),
    "candle given up": ({"s": "claimed", "t": "other", "n": 3, "f": 4, "u": 1, "a": 1}, CLAIM),
    "same claim again": ({"s": "claimed", "t": "mine", "n": 3, "u": 1, "a": 1}, CLAIM),
    "takeover of an effect": ({"s": "claimed", "t": "other", "n": 3, "u": 1, "a": 1, "d": "d1"}, EFFECT),
    "effect in doubt": ({"s": "unknown", "t": "other", "n": 3, "u": 1, "a": 1, "d": "d1", "w": "lost"}, EFFECT),
    "effect held": (
        {"s": "unknown", "t": "other", "n": 3, "u": 1, "a": 1, "d": "d1", "w": "lost"},
        Claim(KEY, "mine", **OPS, digest="d1", effect=True),
    ),
    "release": ({"s": "claimed", "t": "mine", "n": 3, "u": 1, "a": 1}, Release(KEY, "mine", 600_000, 5, "not yet")),
    "doubt": ({"s": "claimed", "t": "mine", "n": 3, "u": 1, "a": 1}, Doubt(KEY, "mine", "lost", 600_000, hold=True)),
    "complete": ({"s": "claimed", "t": "mine", "n": 3, "u": 1, "a": 1}, Complete(KEY, "mine", "evaluated", 600_000)),
    "complete with signals": (
        {"s": "claimed", "t": "mine", "n": 3, "u": 1, "a": 1},
        Complete(KEY, "mine", "evaluated", 600_000, value='{"signals":[]}'),
    ),
    "settled by hand": (
        {"s": "unknown", "h": 1, "t": "other", "n": 3, "a": 1, "d": "d1", "w": "lost"},
        Resolve(KEY, "mine", "other", 3, 1, "posted", "ann", "seen it", 600_000),
    ),
}
"""A record, and what an older version does to it."""


@pytest.fixture(params=["memory", "valkey", "redis7"])
def store(request: pytest.FixtureRequest) -> Any:
    """Each kind of store, empty."""
    if request.param == "memory":
        return MemoryStore(100)
    engine: Engine = request.getfixturevalue(f"empty_{request.param}")
    store = RedisStore(connect(engine.url))
    request.addfinalizer(store.close)
    return store


def stored(store: Store) -> dict[str, Any]:
    """The fields under the key."""
    text = store.get(KEY)
    assert text is not None
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.parametrize("step", STEPS)
def test_unknown_fields_are_carried_along(store: Store, step: str) -> None:
    """Whatever this version makes of a newer record, the fields that it does not know are in it afterwards."""
    before, op = STEPS[step]
    store.put(KEY, json.dumps(before | NEW), 600_000)
    store.run(op)
    after = stored(store)
    assert after | NEW == after
    assert {name: after.get(name) for name in before} != before


def test_carried_fields_change_no_answer(store: Store) -> None:
    """A newer record is claimed, found busy and found done as one of this version is."""
    store.put(KEY, json.dumps({"s": "released", "t": "other", "n": 3, "a": 1} | NEW), 600_000)
    first = store.run(CLAIM)
    assert (first.answer, first.record.attempt) == (Answer.ACQUIRED, 4)
    assert store.run(Claim(KEY, "yours", **OPS)).answer is Answer.BUSY
    assert store.run(Complete(KEY, "mine", "evaluated", 600_000)).acted
    assert store.run(Claim(KEY, "yours", **OPS)).answer is Answer.DUPLICATE


def test_state_that_is_not_known_is_left_alone(store: Store) -> None:
    """A record in a state of the next version is worked, settled and given back by nobody who does not know it."""
    text = json.dumps({"s": "paused", "t": "mine", "n": 2, "a": 1})
    store.put(KEY, text, 600_000)
    ops = [CLAIM, EFFECT, Complete(KEY, "mine", "posted", 600_000), Release(KEY, "mine", 600_000)]
    answers = [store.run(op) for op in (*ops, Doubt(KEY, "mine", "lost", 600_000, hold=True))]
    assert [getattr(answer, "answer", None) for answer in answers[:2]] == [Answer.DUPLICATE, Answer.DUPLICATE]
    assert not any(answer.acted for answer in answers[2:])
    assert store.get(KEY) == text
    record = store.run(Peek(KEY)).record
    assert record is not None
    assert record.foreign


def test_text_of_a_newer_record_comes_back() -> None:
    """A newer record is read and written with all its fields, and compares by them."""
    text = json.dumps({"s": "released", "t": "a", "n": 2, "a": 5} | NEW)
    record = Record.loads(text)
    assert json.loads(record.dumps()) == json.loads(text)
    assert record == Record.loads(record.dumps())
    assert record != Record.loads(json.dumps({"s": "released", "t": "a", "n": 2, "a": 5}))
