"""Scripted APIs on real sockets, and certificates made for the run."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dedup.delivery import DeliveryOptions, HttpDelivery
from tests.delivery.scripted_api import Script, ScriptedApi


@pytest.fixture
def serve() -> Iterator[Callable[..., ScriptedApi]]:
    """Start an API that runs a script on every connection."""
    started: list[ScriptedApi] = []

    def start(script: Script, tls: ssl.SSLContext | None = None) -> ScriptedApi:
        started.append(ScriptedApi(script, tls))
        return started[-1]

    yield start
    for api in started:
        api.stop()


@pytest.fixture
def deliver() -> Callable[..., HttpDelivery]:
    """Make a delivery to a URL; other options as named. The deadline is short enough for a test to sit it out."""

    def make(url: str, **options: Any) -> HttpDelivery:
        return HttpDelivery(DeliveryOptions(url, **{"deadline_s": 1.5, "connect_timeout_s": 1.2, **options}))

    return make


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key: two PEM files."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("makes its certificate with the openssl command, which is not installed")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return certificate, key


@pytest.fixture
def server_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """The server's side of TLS with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context
