"""The whole pipeline over `rediss://`: claims, broker and results, and nothing of it in the clear."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from tasks.broker import backend_url, broker_of
from tests.engines import DURABLE, HOST, Engine, free_port
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of
from tests.topology.certificates import Authority
from tests.topology.conftest import server_binary


def encrypted_only(home: Path) -> tuple[Engine, str]:
    """A server that lets commands of the pipeline in over TLS only, and its address."""
    authority, port = Authority.founded(home), free_port()
    engine = Engine(server_binary("redis7"), {**DURABLE, "tls-port": str(port), **authority.issued()})
    return engine, f"rediss://{HOST}:{port}/0?ssl_ca_certs={authority.certificate}"


@pytest.mark.timeout(240)
def test_candle_to_post(tmp_path: Path) -> None:
    """With a `rediss://` address and nothing else a beat has a candle evaluated and its signal posted, once."""
    certificates = tmp_path / "tls"
    certificates.mkdir()
    engine, url = encrypted_only(certificates)
    backend = url.replace("/0?", "/1?")
    with deploy(
        tmp_path, [watch("GOLD")], engine=engine, REDIS_URL=url, CELERY_RESULT_BACKEND=backend, SWEEP_INTERVAL="1"
    ) as deployment:
        deployment.feed("GOLD", [ORIGIN - HOUR, ORIGIN])
        deployment.worker()
        deployment.beat()
        candle = candle_of("GOLD")
        deployment.until(lambda: deployment.signal_outcome(candle) == "posted", "the signal")
        assert deployment.sweep()["outcome"] == "swept"
        assert len(deployment.posts(candle)) == 1
        with engine.client() as plain:
            mine = plain.client_info()["addr"]
            # TLS and plain connections come in at different ports of the server.
            clear = [one for one in plain.client_list() if one["laddr"].endswith(f":{engine.port}")]
            assert [one["addr"] for one in clear if one["addr"] != mine] == []


@pytest.mark.timeout(120)
def test_stranger_is_refused(tmp_path: Path) -> None:
    """A server whose certificate nobody vouches for gets no task: neither store nor broker nor backend talks to it."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    trusted = Authority.founded(ours, "trusted")
    engine, url = encrypted_only(theirs)
    url = f"{url.partition('?')[0]}?ssl_ca_certs={trusted.certificate}"
    with deploy(tmp_path, [watch("GOLD")], engine=engine, REDIS_URL=url) as deployment:
        worker = deployment.worker(wait=False, processes=1)
        deployment.until(lambda: worker.logs().count("CERTIFICATE_VERIFY_FAILED") >= 2, "store and broker to refuse")
        assert " ready." not in worker.logs()
        with engine.client() as plain:
            assert plain.keys("*") == ["dedup:since"]


def test_certificates_are_looked_at_unless_told_otherwise() -> None:
    """Broker and result backend require a certificate that is trusted and of that name, by the plain URL."""
    assert broker_of("rediss://h/0", "REDIS_URL").tls == {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    assert backend_url("rediss://:p@h:1/0") == "rediss://:p@h:1/0?ssl_cert_reqs=CERT_REQUIRED"
    given = "rediss://h/0?ssl_ca_certs=/a b.pem&ssl_cert_reqs=none"
    assert backend_url(given) == "rediss://h/0?ssl_ca_certs=%2Fa+b.pem&ssl_cert_reqs=CERT_NONE"
    assert backend_url("redis://h/0?db=1") == "redis://h/0?db=1"
    assert redis.SSLConnection(host="h").check_hostname
