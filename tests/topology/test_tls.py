"""Redis over TLS with a real certificate: who signed it, and for which name, is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from kombu import Connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from dedup.errors import StoreUnavailable
from dedup.ops import Answer, Claim, Peek
from dedup.stores import async_redis
from tasks.broker import broker_of
from tests.engines import HOST, Engine, free_port
from tests.topology.certificates import Authority
from tests.topology.clusters import Cluster
from tests.topology.conftest import Open, server_binary


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.founded(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def encrypted(authority: Authority) -> Iterator[str]:
    """The address of a server with a certificate, without scheme and trust. Valkey's package here has no TLS."""
    port = free_port()
    with Engine(server_binary("redis7"), {"tls-port": str(port), **authority.issued()}):
        yield f"{HOST}:{port}"


def test_trusted_server_is_used(encrypted: str, authority: Authority, open_store: Open) -> None:
    """A server whose certificate our authority signed is used, by both flavours."""
    url = f"rediss://{encrypted}/0?ssl_ca_certs={authority.certificate}"
    assert open_store(url).run(Claim("k", "a", 60_000, 60_000)).answer is Answer.ACQUIRED

    async def claimed() -> Answer:
        store = async_redis.AsyncRedisStore(async_redis.connect(url))
        try:
            return (await store.run(Claim("k", "b", 60_000, 60_000))).answer
        finally:
            await store.close()

    assert asyncio.run(claimed()) is Answer.BUSY


def test_stranger_is_not_used(encrypted: str, tmp_path: Path, open_store: Open) -> None:
    """A certificate of an authority that we do not trust is refused, whether ours is named or the system's."""
    stranger = Authority.founded(tmp_path, "stranger")
    for trust in (f"?ssl_ca_certs={stranger.certificate}", ""):
        with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            open_store(f"rediss://{encrypted}/0{trust}").run(Peek("k"))


def test_name_is_looked_at(authority: Authority, open_store: Open) -> None:
    """A certificate that our authority gave to another address is refused."""
    port = free_port()
    with (
        Engine(server_binary("redis7"), {"tls-port": str(port), **authority.issued("127.0.0.9")}),
        pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        open_store(f"rediss://{HOST}:{port}/0?ssl_ca_certs={authority.certificate}").run(Peek("k"))


def test_broker_is_as_careful(encrypted: str, authority: Authority, tmp_path: Path) -> None:
    """Celery's broker by the same URL trusts the same authority, and none where none is named."""
    sent = {"n": 1}
    broker = broker_of(f"rediss://{encrypted}/0?ssl_ca_certs={authority.certificate}", "REDIS_URL")
    with Connection(broker.url, ssl=broker.tls, transport_options=broker.options) as connection:
        queue = connection.SimpleQueue("tls")
        queue.put(sent)
        assert queue.get(timeout=5).payload == sent
        queue.close()
    # Without the URL's authority: the options that kombu hands to its client, in a client that does not try ten times.
    careless = broker_of(f"rediss://{encrypted}/0", "REDIS_URL").tls
    assert careless is not None
    host, port = encrypted.split(":")
    client = redis.Redis(host, int(port), ssl=True, retry=Retry(NoBackoff(), 0), **careless)
    with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        client.ping()


def test_cluster_over_tls(authority: Authority, open_store: Open) -> None:
    """A Cluster whose nodes speak TLS only to clients is used by its `rediss+cluster` URL."""
    with Cluster(server_binary("redis7"), authority.issued(), tls=True) as running:
        store = open_store(f"{running.url}?ssl_ca_certs={authority.certificate}")
        ops = [Claim(f"k{number}", "a", 60_000, 60_000) for number in range(50)]
        assert {reply.answer for reply in store.run_many(ops)} == {Answer.ACQUIRED}
        assert store.get("k7") is not None
