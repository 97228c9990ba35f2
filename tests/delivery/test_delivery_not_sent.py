"""Definitely not sent: whatever goes wrong before the first byte of the request."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dedup import http_deadline
from dedup.delivery import HttpDelivery, Message, Verdict
from tests.delivery.scripted_api import OK, Exchange, ScriptedApi

MESSAGE = Message("sig_0123", b'{"instrument":"GOLD"}')


def test_a_name_that_does_not_resolve(deliver: Callable[..., HttpDelivery]) -> None:
    """No address, nothing sent."""
    attempted = deliver("http://signals.invalid/").send(MESSAGE, 1)
    assert attempted.verdict is Verdict.NOT_SENT
    assert attempted.reason.startswith("DNS: ")


def test_a_resolver_that_does_not_answer(deliver: Callable[..., HttpDelivery], monkeypatch: pytest.MonkeyPatch) -> None:
    """Name resolution, which knows no time limit of its own, is given up when the time to connect is over."""
    release = threading.Event()

    def silent(*_: Any, **__: Any) -> list[Any]:
        release.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    attempted = deliver("http://api.example/", deadline_s=10.0, connect_timeout_s=0.5).send(MESSAGE, 1)
    release.set()
    assert (attempted.verdict, attempted.reason) == (Verdict.NOT_SENT, "DNS: no answer in time")
    assert attempted.duration_s < 5


def test_a_port_where_nobody_listens(deliver: Callable[..., HttpDelivery]) -> None:
    """Connect refused, nothing sent."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    attempted = deliver(f"http://127.0.0.1:{port}/").send(MESSAGE, 1)
    assert (attempted.verdict, attempted.reason, attempted.status) == (Verdict.NOT_SENT, "connect refused", None)


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """A port whose queue of connections is full, so that the kernel drops what else arrives."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_connection_that_never_stands(deliver: Callable[..., HttpDelivery]) -> None:
    """Connect timed out, nothing sent, and the time to connect is its own, not the whole deadline."""
    with full_backlog() as port:
        attempted = deliver(f"http://127.0.0.1:{port}/", deadline_s=30.0, connect_timeout_s=0.5).send(MESSAGE, 1)
    assert (attempted.verdict, attempted.reason) == (Verdict.NOT_SENT, "connect timed out")
    assert attempted.duration_s < 15


def test_a_dead_address_leaves_time_for_the_next(
    serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several addresses of a name, one that swallows packets does not use up the time of the one that works."""
    api = serve(lambda exchange: exchange.answer(OK))
    with full_backlog() as dead:
        addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in (dead, api.port)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        assert deliver("http://api.example/").send(MESSAGE, 1).verdict is Verdict.POSTED


def test_a_host_that_cannot_be_reached(deliver: Callable[..., HttpDelivery], monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other failure to connect is not sent either."""
    nowhere = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("255.255.255.255", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: nowhere)
    attempted = deliver("http://api.example/").send(MESSAGE, 1)
    assert attempted.verdict is Verdict.NOT_SENT
    assert attempted.reason in {"connect failed: Permission denied", "connect failed: Network is unreachable"}


def test_a_certificate_nobody_vouches_for(
    serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery], server_tls: object
) -> None:
    """A self-signed certificate is refused in the handshake, before the request."""
    api = serve(lambda exchange: exchange.answer(OK), tls=server_tls)
    attempted = deliver(api.url).send(MESSAGE, 1)
    assert attempted.verdict is Verdict.NOT_SENT
    assert attempted.reason.startswith("TLS: certificate refused: self")
    assert api.received == []


def test_a_certificate_of_another_host(
    serve: Callable[..., ScriptedApi],
    deliver: Callable[..., HttpDelivery],
    server_tls: object,
    certificate: tuple[Path, Path],
) -> None:
    """A trusted certificate for another name is refused as well."""
    api = serve(lambda exchange: exchange.answer(OK), tls=server_tls)
    attempted = deliver(f"https://127.0.0.1:{api.port}/", ca_bundle=certificate[0]).send(MESSAGE, 1)
    assert attempted.verdict is Verdict.NOT_SENT
    assert "certificate refused" in attempted.reason
    assert api.received == []


def hang_up(exchange: Exchange) -> None:
    exchange.connection.recv(65_536)


def reset(exchange: Exchange) -> None:
    exchange.connection.recv(65_536)
    exchange.reset()


def speak_http(exchange: Exchange) -> None:
    exchange.connection.recv(65_536)
    exchange.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def stall(exchange: Exchange) -> None:
    exchange.stall()


def drip_handshake(exchange: Exchange) -> None:
    exchange.drip(b"\x16\x03\x03\x40\x00" + b"\x02" * 16_384)


@pytest.mark.parametrize("script", [hang_up, reset, speak_http, stall, drip_handshake])
def test_a_handshake_that_fails(
    serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery], script: Callable[[Exchange], None]
) -> None:
    """Whatever the other side does instead of a TLS handshake, the request was not sent, and it ends in time."""
    api = serve(script)
    attempted = deliver(f"https://127.0.0.1:{api.port}/", deadline_s=10.0, connect_timeout_s=0.75).send(MESSAGE, 1)
    assert attempted.verdict is Verdict.NOT_SENT
    assert attempted.reason.startswith("TLS: handshake ")
    assert attempted.duration_s < 5


def test_a_process_that_stood_still_sends_nothing(
    serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is stopped after it has connected, until its time is over, does not send when it goes on."""
    api = serve(lambda exchange: exchange.answer(OK))
    connect = http_deadline._connect

    def connect_and_stand_still(*args: Any) -> socket.socket:
        connected = connect(*args)
        time.sleep(0.5)
        return connected

    monkeypatch.setattr(http_deadline, "_connect", connect_and_stand_still)
    attempted = deliver(api.url, deadline_s=0.4, connect_timeout_s=0.3).send(MESSAGE, 1)
    assert attempted.verdict is Verdict.NOT_SENT
    assert attempted.reason == "not sent: its time was over when the connection stood"
    assert api.received == []
