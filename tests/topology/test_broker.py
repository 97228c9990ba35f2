"""Celery's broker by the same URLs as `REDIS_URL`, each with a message that arrives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from kombu import Connection

from dedup.errors import InvalidSetting
from tasks.app import celery_config
from tasks.broker import Broker, broker_of
from tasks.settings import load_settings
from tests.engines import HOST, Engine
from tests.topology.conftest import server_binary
from tests.topology.sentinels import Sentinels

SECRET, SENTINEL_SECRET = "p/@:w", "s3ntinel"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Sentinels]:
    """Servers that want one password, and Sentinels that want another."""
    auth = {"requirepass": SECRET, "masterauth": SECRET}
    with Sentinels(server_binary("valkey9"), auth, (f"requirepass {SENTINEL_SECRET}",), auth=SECRET) as running:
        yield running


def delivers(broker: Broker) -> None:
    """Send a message and receive it."""
    with Connection(broker.url, ssl=broker.tls, transport_options=broker.options) as connection:
        queue = connection.SimpleQueue("letters")
        queue.put({"n": 1})
        message = queue.get(timeout=5)
        message.ack()
        assert message.payload == {"n": 1}
        queue.close()


def test_server(empty_valkey: Engine) -> None:
    """One server, with options that Celery would not understand in its URL."""
    delivers(broker_of(f"{empty_valkey.url}?socket_timeout=3&health_check_interval=7", "REDIS_URL"))
    assert empty_valkey.client().keys("*") != []


def test_socket(tmp_path: Path) -> None:
    """A Unix socket, with a password, and a database that is not the first one."""
    path = tmp_path / "s"
    with Engine(config={"unixsocket": str(path), "requirepass": SECRET}) as engine:
        delivers(broker_of(f"unix://:p%2F%40%3Aw@{path}?db=3", "REDIS_URL"))
        assert "db3" in engine.client(password=SECRET).info("keyspace")


@pytest.mark.parametrize("form", ["ours", "celery"])
def test_sentinels(guarded: Sentinels, form: str) -> None:
    """Sentinels and servers with a password each, in both forms of the URL."""
    url = f"sentinel://:p%2F%40%3Aw@{guarded.hosts}/mymaster/2?sentinel_password={SENTINEL_SECRET}"
    if form == "celery":
        addresses = ";".join(f"sentinel://:p%2F%40%3Aw@{HOST}:{port}/2" for port in guarded.ports)
        url = f"{addresses}?master_name=mymaster&sentinel_password={SENTINEL_SECRET}"
    delivers(broker_of(url, "CELERY_BROKER_URL"))
    assert "db2" in guarded.primary.client(password=SECRET).info("keyspace")


def test_settings_hand_it_to_celery(guarded: Sentinels, monkeypatch: pytest.MonkeyPatch) -> None:
    """One REDIS_URL is enough for claims and broker; what the protocol asks of the broker is kept."""
    monkeypatch.setenv("REDIS_URL", f"sentinel://:p%2F%40%3Aw@{guarded.hosts}/mymaster?sentinel_password=x")
    config = celery_config(load_settings(_env_file=None))
    options = config["broker_transport_options"]
    assert config["broker_url"].count("sentinel://") == 3
    assert options["master_name"] == "mymaster"
    assert options["sentinel_kwargs"]["password"] == "x"
    assert options["visibility_timeout"] == 3600


def test_celery_reads_no_url_of_its_own(empty_valkey: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """CELERY_BROKER_URL, which Celery would take from the environment as it stands, comes to it in its own words."""
    monkeypatch.setenv("CELERY_BROKER_URL", f"{empty_valkey.url}?socket_timeout=3")
    app = Celery("reader", set_as_current=False)
    app.conf.update(celery_config(load_settings(_env_file=None)))
    for connection in (app.connection_for_read(), app.connection_for_write()):
        with connection:
            assert connection.default_channel.connection_errors
            assert connection.transport_options["socket_timeout"] == 3
    app.close()


@pytest.mark.parametrize("url", ["redis+cluster://h", "sqs://h", "amqp://", "memory://"])
def test_no_broker_is_refused(url: str) -> None:
    """What Celery cannot use is refused: on a Cluster it has no transport."""
    with pytest.raises(InvalidSetting, match="is no broker"):
        broker_of(url, "CELERY_BROKER_URL")
