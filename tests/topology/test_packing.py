"""Commands packed quickly are the bytes that redis-py would have sent."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.connection import Encoder, PythonRespSerializer

from dedup.ops import Answer, Claim, Complete, Peek
from dedup.stores.connect import connect
from dedup.stores.packing import Packer, quickly
from dedup.stores.redis import RedisStore
from tests.engines import Engine

THEIRS = PythonRespSerializer(6000, Encoder("utf-8", "backslashreplace", False).encode)
words = st.one_of(st.text(), st.text('abc {}":\r\n'), st.integers(), st.binary(), st.floats(allow_nan=False))


@given(st.sampled_from(["GET", "CONFIG GET", "EVALSHA", b"SET", "CLIENT SETINFO"]), st.lists(words, max_size=8))
def test_bytes_are_the_same(name: str | bytes, rest: list[Any]) -> None:
    """Whatever the words, what goes over the wire is what redis-py makes of them."""
    assert b"".join(Packer("backslashreplace").pack(name, *rest)) == b"".join(THEIRS.pack(name, *rest))


@pytest.mark.parametrize("word", ["x" * 100_000, "é" * 100_000, b"x" * 100_000], ids=["text", "not ASCII", "bytes"])
def test_long_words_too(word: str | bytes) -> None:
    """Long values come out the same."""
    assert b"".join(Packer().pack("SET", "k", word)) == b"".join(THEIRS.pack("SET", "k", word))


@pytest.mark.parametrize("word", [None, True, object(), ["a"]])
def test_what_is_no_word_is_refused(word: Any) -> None:
    """What redis-py refuses to send is refused in its words."""
    with pytest.raises(redis.DataError):
        Packer().pack("SET", "k", word)


@pytest.mark.parametrize("token", ["plain", "naïve €", 'quote"d'])
def test_tokens_of_any_kind_go_there_and_back(empty_valkey: Engine, token: str) -> None:
    """A claim and its end are the same owner's, alone and in a batch, whatever the token is written with."""
    store = RedisStore(connect(empty_valkey.url))
    assert store.run(Claim("a", token, 60_000, 60_000)).answer is Answer.ACQUIRED
    assert store.run(Claim("a", token, 60_000, 60_000)).answer is Answer.ACQUIRED
    peeked, claimed, done = store.run_many(
        [Peek("a"), Claim("b", token, 60_000, 60_000), Complete("a", token, "evaluated", 60_000, reason=token)]
    )
    assert (peeked.record.token, claimed.answer, done.acted) == (store.run(Peek("b")).record.token, "acquired", True)
    store.close()


@pytest.mark.parametrize("option", [{"encoding": "latin-1"}, {"command_packer": THEIRS}], ids=["encoding", "packer"])
def test_own_choice_is_kept(option: dict[str, Any]) -> None:
    """A client with another encoding, or a packer of its own, keeps it."""
    client = redis.Redis.from_url("redis://localhost", **option)
    assert quickly(client).connection_pool.connection_kwargs.get("command_packer") is option.get("command_packer")
