"""Redis behind three real Sentinels: the primary is found, and found again after a failover in mid-work."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from dedup.errors import StoreUnavailable
from dedup.ops import Answer, Claim, Peek
from dedup.stores import async_redis
from tests.engines import HOST, free_port
from tests.topology.conftest import Open, server_binary
from tests.topology.posting import LONG_AGO_MS, SINCE, Posts, all_at_once, outcomes, signal
from tests.topology.sentinels import Sentinels, wait_for

SECRET, SENTINEL_SECRET = "p/@:w", "s3ntinel"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Sentinels]:
    """Servers that want one password, and Sentinels that want another."""
    auth = {"requirepass": SECRET, "masterauth": SECRET}
    extra = (f"requirepass {SENTINEL_SECRET}",)
    with Sentinels(server_binary("redis7"), auth, extra, auth=SECRET) as running:
        yield running


def logged_in(running: Sentinels) -> str:
    return f"sentinel://:p%2F%40%3Aw@{running.hosts}/mymaster/2?sentinel_password={SENTINEL_SECRET}"


def test_primary_is_found_with_passwords(guarded: Sentinels, open_store: Open) -> None:
    """Servers and Sentinels may each have a password of their own; the database is the URL's."""
    store = open_store(logged_in(guarded))
    assert store.run(Claim("blocking", "a", 60_000, 60_000)).answer is Answer.ACQUIRED
    assert guarded.primary.client(password=SECRET).info("keyspace")["db2"]["keys"] >= 1


def test_primary_is_found_by_awaited_code(guarded: Sentinels) -> None:
    """The awaited store finds it by the same URL, and closes what it opened."""

    async def claimed() -> Answer:
        store = async_redis.AsyncRedisStore(async_redis.connect(logged_in(guarded)))
        try:
            return (await store.run(Claim("awaited", "a", 60_000, 60_000))).answer
        finally:
            await store.close()

    assert asyncio.run(claimed()) is Answer.ACQUIRED


def test_celery_form_of_the_url(guarded: Sentinels, open_store: Open) -> None:
    """Celery's way to write Sentinels names the same servers."""
    addresses = ";".join(f"sentinel://:p%2F%40%3Aw@{HOST}:{port}/2" for port in guarded.ports)
    store = open_store(f"{addresses}?master_name=mymaster&sentinel_password={SENTINEL_SECRET}")
    assert store.run(Claim("celery", "a", 60_000, 60_000)).answer is Answer.ACQUIRED


@pytest.mark.parametrize(
    "spoil",
    [
        lambda url: url.replace("mymaster", "yourmaster"),
        lambda url: url.replace(SENTINEL_SECRET, "wrong"),
        lambda _: f"sentinel://{HOST}:{free_port()}/mymaster",
    ],
    ids=["unknown service", "wrong password", "nobody there"],
)
def test_no_primary_is_unavailable(guarded: Sentinels, open_store: Open, spoil: object) -> None:
    """Where no Sentinel names a primary the store is unavailable; the message holds no password."""
    assert callable(spoil)
    with pytest.raises(StoreUnavailable) as caught:
        open_store(spoil(logged_in(guarded))).run(Peek("k"))
    assert SENTINEL_SECRET not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_one_sentinel_is_enough(guarded: Sentinels, open_store: Open) -> None:
    """Sentinels that are away are passed over."""
    url = logged_in(guarded).replace(guarded.hosts, f"{HOST}:{free_port()},{HOST}:{guarded.ports[2]}")
    assert open_store(url).run(Peek("k")).record is None


def test_failover_under_load_posts_nothing_twice(binary: str, open_store: Open) -> None:
    """The primary is killed while publishers work: they go on with the next one, and no signal is posted twice."""
    posts = Posts()
    with Sentinels(binary) as running:
        running.primary.client().set(SINCE, LONG_AGO_MS)
        stores = [open_store(running.url) for _ in range(3)]
        jobs = [signal(f"s{number}") for number in range(150)]

        def kill() -> None:
            while len(posts.of) < 50:
                pass
            running.primary.kill()
            wait_for(running.failed_over, "the failover")

        published = all_at_once(stores, posts, jobs, kill)
        assert posts.doubled == []
        # What the first primary had acknowledged may be lost: whatever the second one does not know is held.
        assert {one.outcome for one in published} <= {"posted", "duplicate", "busy", "held"}
        assert len(posts.of) >= 50
        after = [signal(f"n{number}") for number in range(5)]
        assert outcomes(stores[0], posts, after) == ["posted"] * 5
        assert outcomes(stores[1], posts, after) == ["duplicate"] * 5
