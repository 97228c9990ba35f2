"""The operation that brings a record home, on every store."""

from __future__ import annotations

import pytest

from dedup.adopt import Adopt
from dedup.ops import Op
from dedup.records import State
from dedup.stores.protocol import Store
from tests.contract.steps import KEY, TTL_MS, claim, complete, doubt, release
from tests.contract.subjects import Subject

TEXT = '{"s":"done","t":"a","n":2,"o":"evaluated","v":{"signals":[],"price":1.10}}'


@pytest.fixture
def store(subject: Subject) -> Store:
    return subject.store


@pytest.mark.parametrize("text", [TEXT, "processed", "", "Öl ✓"])
def test_unknown_key_is_adopted(subject: Subject, text: str) -> None:
    """A key that the store knows nothing of takes the text to the byte, for its TTL."""
    adopted = subject.store.run(Adopt(KEY, text, TTL_MS))
    assert (adopted.acted, adopted.record.state, subject.store.get(KEY)) == (True, State.DONE, text)
    assert TTL_MS - 60_000 < subject.ttl_ms(KEY) <= TTL_MS


def test_twin_of_an_adoption_answers_alike(subject: Subject) -> None:
    """An adoption that the client sent twice answers the same, and lengthens nothing."""
    first = subject.store.run(Adopt(KEY, TEXT, TTL_MS))
    again = subject.store.run(Adopt(KEY, TEXT, 9 * TTL_MS))
    assert again == first
    assert subject.ttl_ms(KEY) <= TTL_MS


@pytest.mark.parametrize(
    "ops",
    [[claim("a")], [claim("a"), release("a")], [claim("a"), doubt("a")], [complete("a")]],
    ids=["claimed", "released", "unknown", "done"],
)
def test_known_key_stands(subject: Subject, ops: list[Op[object]]) -> None:
    """A key that the store knows stays as it is, and the reply says what stands."""
    for op in ops:
        subject.store.run(op)
    text, ttl_ms = subject.store.get(KEY), subject.ttl_ms(KEY)
    adopted = subject.store.run(Adopt(KEY, TEXT, 9 * TTL_MS))
    assert (adopted.acted, adopted.record.token, subject.store.get(KEY)) == (False, "a", text)
    assert subject.ttl_ms(KEY) <= ttl_ms


@pytest.mark.parametrize("text", ["processed", "", "[1]"])
def test_foreign_value_stands(store: Store, text: str) -> None:
    """A value that is no record of ours stays as it is."""
    store.put(KEY, text, TTL_MS)
    adopted = store.run(Adopt(KEY, TEXT, TTL_MS))
    assert (adopted.acted, adopted.record.foreign, store.get(KEY)) == (False, True, text)


def test_adoptions_go_in_batches(store: Store) -> None:
    """A batch of adoptions is answered in order."""
    store.put("k1", "theirs", TTL_MS)
    replies = store.run_many([Adopt(key, TEXT, TTL_MS) for key in ("k0", "k1", "k2")])
    assert [reply.acted for reply in replies] == [True, False, True]
    assert [store.get(key) for key in ("k0", "k1", "k2")] == [TEXT, "theirs", TEXT]
