"""Rule 5: a value that is no record of ours counts as DONE, and is left alone."""

from __future__ import annotations

import json

import pytest
import redis

from dedup.errors import StoreRefused
from dedup.ops import Answer, Begin, Peek
from dedup.records import FOREIGN, State
from dedup.stores.protocol import Store
from dedup.stores.redis import RedisStore
from tests.contract.steps import KEY, TTL_MS, claim, complete, doubt, release
from tests.contract.subjects import Subject

TEXTS = {
    "plain text": "processed",
    "empty text": "",
    "blank": " ",
    "unicode": "verarbeitet ✓ 🚀",
    "number": "1",
    "fraction": "1.5",
    "true": "true",
    "null": "null",
    "JSON text": '"done"',
    "empty list": "[]",
    "list": '[{"s":"done"}]',
    "empty object": "{}",
    "the seed's shape": '{"processed_at": "2025-01-01T10:15:00", "status": "done"}',
    "another state": '{"s":"processed","t":"a"}',
    "state null": '{"s":null,"t":"a"}',
    "state list": '{"s":["claimed"],"t":"a"}',
    "state number": '{"s":1,"t":"a"}',
    "broken record": '{"s":"claimed","t":"a"',
    "deeply nested": "[" * 20_000 + "]" * 20_000,
    "long number": "9" * 5_000,
}


@pytest.fixture(params=sorted(TEXTS))
def text(request: pytest.FixtureRequest) -> str:
    return TEXTS[request.param]


def test_foreign_text_is_a_duplicate(store: Store, text: str) -> None:
    """Whatever stands under the key, a claim is a DUPLICATE of outcome `foreign` that shows it, whatever the digest."""
    store.put(KEY, text, TTL_MS)
    for fields in ({}, {"effect": True, "resume": True, "digest": "d1"}):
        claimed = store.run(claim("a", **fields))
        assert (claimed.answer, claimed.left_ms, claimed.fresh) == (Answer.DUPLICATE, 0, False)
        record = claimed.record
        assert (record.state, record.outcome, record.value) == (State.DONE, FOREIGN, text)
        assert (record.attempt, record.settled) == (0, True)
    assert store.get(KEY) == text


def test_foreign_text_is_left_alone(subject: Subject, text: str) -> None:
    """Nobody settles a foreign value: no operation acts, and text and TTL stay as they were."""
    store = subject.store
    store.put(KEY, text, TTL_MS)
    ops = (complete("a"), complete("", "foreign"), complete("a", fact=False), release("a"), release(""), doubt("a"))
    for op in ops:
        settled = store.run(op)
        assert not settled.acted
        assert settled.record is not None
        assert (settled.record.outcome, settled.record.value) == (FOREIGN, text)
    assert store.get(KEY) == text
    assert subject.ttl_ms(KEY) <= TTL_MS


def test_peek_shows_a_foreign_text(store: Store, text: str) -> None:
    """A sweep that peeks sees a foreign value as DONE, the empty text too: it never takes the work for undone."""
    store.put(KEY, text, TTL_MS)
    record = store.run(Peek(KEY)).record
    assert record is not None
    assert (record.state, record.outcome, record.value) == (State.DONE, FOREIGN, text)


def test_foreign_done_of_our_shape_counts_as_done(store: Store) -> None:
    """A bare `{"s":"done"}` that someone wrote by hand is DONE."""
    store.put(KEY, '{"s":"done"}', TTL_MS)
    assert store.run(claim("a")).answer is Answer.DUPLICATE


@pytest.mark.parametrize("written", ['{"s":"claimed","t":"x"}', '{"s":"claimed"}'])
def test_claim_without_a_lease_has_run_out(store: Store, written: str) -> None:
    """A claim that says no end of its lease is taken over, so that it cannot block its key for ever."""
    store.put(KEY, written, TTL_MS)
    claimed = store.run(claim("a"))
    assert (claimed.answer, claimed.record.attempt, claimed.record.failures) == (Answer.ACQUIRED, 2, 1)


@pytest.mark.parametrize("written", ['{"s":"unknown"}', '{"s":"released"}'])
def test_bare_states_are_read_with_their_defaults(store: Store, written: str) -> None:
    """A record that names nothing but its state is attempt 1 of nobody."""
    store.put(KEY, written, TTL_MS)
    claimed = store.run(claim("a", effect=True, resume=True))
    assert (claimed.answer, claimed.record.attempt) == (Answer.ACQUIRED, 2)


OTHER_TYPES = {
    "list": ("RPUSH", KEY, "x"),
    "hash": ("HSET", KEY, "f", "x"),
    "set": ("SADD", KEY, "x"),
    "sorted set": ("ZADD", KEY, 1, "x"),
    "stream": ("XADD", KEY, "*", "f", "x"),
}


@pytest.mark.parametrize("command", OTHER_TYPES.values(), ids=OTHER_TYPES)
def test_other_types_of_key_count_as_done(on_server: Subject, server: redis.Redis, command: tuple[object, ...]) -> None:
    """A key of another type than string is a foreign value: DONE for claims and sweeps, left alone by all."""
    store = on_server.store
    server.execute_command(*command)
    before = (server.type(KEY), server.memory_usage(KEY))
    claimed = store.run(claim("a"))
    assert (claimed.answer, claimed.record.outcome) == (Answer.DUPLICATE, FOREIGN)
    assert "WRONGTYPE" in claimed.record.value
    for op in (complete("a"), complete("a", fact=False), release("a"), doubt("a")):
        assert not store.run(op).acted
    peeked = store.run_many([Peek(KEY), Peek("other")])
    assert [p.record and p.record.outcome for p in peeked] == [FOREIGN, None]
    assert (server.type(KEY), server.memory_usage(KEY)) == before


def test_mark_of_another_type_is_refused(on_server: Subject, server: redis.Redis) -> None:
    """A mark of memory that is no string is refused with its remedy and not overwritten."""
    server.rpush("mark", "x")
    with pytest.raises(StoreRefused, match=r"WRONGTYPE: .*delete it"):
        on_server.store.run(Begin("mark"))
    with pytest.raises(StoreRefused, match=r"WRONGTYPE: .*delete it"):
        on_server.store.get("mark")


@pytest.mark.parametrize("binary", [b"\xff\xfe", b"\x80\x04\x95pickle.", b"\x1f\x8b\x08\x00"])
def test_binary_value_counts_as_done(on_server: Subject, server: redis.Redis, binary: bytes) -> None:
    """A value that is not even text (a pickle, something compressed) is DONE as well, and shown escaped."""
    server.set(KEY, binary)
    store = on_server.store
    shown = binary.decode("utf-8", "backslashreplace")
    claimed = store.run(claim("a"))
    assert (claimed.answer, claimed.record.outcome, claimed.record.value) == (Answer.DUPLICATE, FOREIGN, shown)
    assert store.get(KEY) == shown
    assert [peeked.record.value for peeked in store.run_many([Peek(KEY)])] == [shown]


def test_forbidden_key_is_not_a_foreign_value(server: redis.Redis) -> None:
    """Where the user may not read the key the answer is a refusal, never DUPLICATE: nothing may be assumed."""
    server.execute_command("ACL", "SETUSER", "blind", "on", ">pw", "~*", "+@all", "-get", "-set")
    try:
        where = {name: server.get_connection_kwargs()[name] for name in ("host", "port")}
        store = RedisStore(redis.Redis(**where, username="blind", password="pw"))
        for op in (claim("a"), complete("a"), release("a"), doubt("a"), Peek(KEY), Begin("mark")):
            with pytest.raises(StoreRefused, match="NOPERM"):
                store.run(op)
        store.close()
        assert server.dbsize() == 0
    finally:
        server.execute_command("ACL", "DELUSER", "blind")


def test_value_that_looks_foreign_is_shown_as_it_was_kept(store: Store) -> None:
    """A DONE record whose value is itself a text such as `processed` is a record, not a foreign value."""
    store.run(complete("a", value=json.dumps("processed")))
    record = store.run(claim("b")).record
    assert (record.outcome, record.value, record.token) == ("posted", "processed", "a")
