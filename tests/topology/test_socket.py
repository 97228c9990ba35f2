"""A server behind a Unix socket is as good as one behind TCP, with both servers and both flavours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import redis

from dedup.ops import Answer, Begin, Claim, Complete
from dedup.stores import async_redis
from tests.engines import Engine
from tests.topology.conftest import Open
from tests.topology.posting import LONG_AGO_MS, SINCE, Posts, outcomes, signal

SECRET = "p@/:w"


@pytest.fixture(scope="module")
def url(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that wants a password, and listens on a socket."""
    path = tmp_path_factory.mktemp("s") / "s"
    with Engine(binary, {"unixsocket": str(path), "requirepass": SECRET}) as engine:
        with redis.Redis(port=engine.port, password=SECRET, db=2) as admin:
            admin.set(SINCE, LONG_AGO_MS)
        yield f"unix://:p%40%2F%3Aw@{path}?db=2"


def test_signals_are_posted_once(url: str, open_store: Open) -> None:
    """Publishers on a socket post each signal once."""
    posts, jobs = Posts(), [signal(f"s{number}") for number in range(3)]
    assert outcomes(open_store(url), posts, jobs) == ["posted"] * 3
    assert outcomes(open_store(url), posts, jobs) == ["duplicate"] * 3
    assert posts.doubled == []


def test_awaited_code_sees_the_same(url: str, open_store: Open) -> None:
    """The awaited store, by the same URL, is on the same server and database."""
    assert open_store(url).run(Claim("c", "a", 60_000, 60_000)).answer is Answer.ACQUIRED

    async def claimed() -> tuple[Answer, Answer, int]:
        store = async_redis.AsyncRedisStore(async_redis.connect(url))
        try:
            before = (await store.run(Claim("c", "b", 60_000, 60_000))).answer
            _, after, began = await store.run_many(
                [Complete("c", "a", "evaluated", 60_000), Claim("c", "b", 60_000, 60_000), Begin(SINCE)]
            )
            return before, after.answer, began.since_ms
        finally:
            await store.close()

    assert asyncio.run(claimed()) == (Answer.BUSY, Answer.DUPLICATE, LONG_AGO_MS)
