"""Unknown: whatever goes wrong once bytes of the request may have left."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from dedup.delivery import HttpDelivery, Message, Verdict
from tests.delivery.scripted_api import Exchange, ScriptedApi

MESSAGE = Message("sig_0123", b'{"instrument":"GOLD"}')
CREATED = b"HTTP/1.1 201 Created\r\n"


def close_at_once(exchange: Exchange) -> None:
    """Accept and hang up without reading."""


def reset_unread(exchange: Exchange) -> None:
    exchange.connection.recv(1, socket.MSG_PEEK)
    exchange.reset()


def close_after_reading(exchange: Exchange) -> None:
    exchange.read()


def reset_after_reading(exchange: Exchange) -> None:
    exchange.read()
    exchange.reset()


def stall_after_reading(exchange: Exchange) -> None:
    exchange.read()
    exchange.stall()


def cut_in_status_line(exchange: Exchange) -> None:
    exchange.answer(b"HTTP/1.1 20")


def garbage(exchange: Exchange) -> None:
    exchange.answer(b"SSH-2.0-OpenSSH_9.7\r\n\r\n")


def too_long_a_line(exchange: Exchange) -> None:
    exchange.answer(CREATED + b"X: " + b"x" * 70_000 + b"\r\n\r\n")


def too_many_headers(exchange: Exchange) -> None:
    exchange.answer(CREATED + b"X: x\r\n" * 200 + b"\r\n")


def interim_only(exchange: Exchange) -> None:
    exchange.answer(b"HTTP/1.1 103 Early Hints\r\n\r\n")


UNANSWERED = [
    (close_at_once, None),
    (reset_unread, None),
    (close_after_reading, "the connection was closed without a reply"),
    (reset_after_reading, "the connection was reset before the reply was complete"),
    (stall_after_reading, "no complete reply before the deadline"),
    (cut_in_status_line, None),
    (garbage, "the reply was not HTTP"),
    (too_long_a_line, "the reply was not HTTP"),
    (too_many_headers, "the reply was not HTTP"),
    (interim_only, "103 Early Hints"),
]


@pytest.mark.parametrize(("script", "reason"), UNANSWERED, ids=[script.__name__ for script, _ in UNANSWERED])
def test_no_answer(
    serve: Callable[..., ScriptedApi],
    deliver: Callable[..., HttpDelivery],
    script: Callable[[Exchange], None],
    reason: str | None,
) -> None:
    """A request that may have left and got no answer is unknown."""
    attempted = deliver(serve(script).url).send(MESSAGE, 1)
    assert attempted.verdict is Verdict.UNKNOWN
    if reason is not None:
        assert attempted.reason == reason


def cut_body(exchange: Exchange) -> None:
    exchange.answer(CREATED + b"Content-Length: 100\r\n\r\n" + b"x" * 50)


def cut_chunk(exchange: Exchange) -> None:
    exchange.answer(CREATED + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab")


def cut_between_chunks(exchange: Exchange) -> None:
    exchange.answer(CREATED + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")


def broken_chunk_size(exchange: Exchange) -> None:
    exchange.answer(CREATED + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n")


def reset_in_body(exchange: Exchange) -> None:
    exchange.answer(CREATED + b"Content-Length: 100\r\n\r\nx")
    exchange.api.stopping.wait(0.2)
    exchange.reset()


def stall_in_body(exchange: Exchange) -> None:
    exchange.answer(CREATED + b"Content-Length: 100\r\n\r\nx")
    exchange.stall()


CUT = [
    (cut_body, "the reply was cut short"),
    (cut_chunk, "the reply was cut short"),
    (cut_between_chunks, "the reply was cut short"),
    (broken_chunk_size, "the reply was cut short"),
    (reset_in_body, "the connection was reset before the reply was complete"),
    (stall_in_body, "no complete reply before the deadline"),
]


@pytest.mark.parametrize(("script", "reason"), CUT, ids=[script.__name__ for script, _ in CUT])
def test_a_reply_that_is_cut_short(
    serve: Callable[..., ScriptedApi],
    deliver: Callable[..., HttpDelivery],
    script: Callable[[Exchange], None],
    reason: str,
) -> None:
    """A reply that does not come through is unknown even where its status did; the status is shown."""
    attempted = deliver(serve(script).url).send(MESSAGE, 1)
    assert (attempted.verdict, attempted.status) == (Verdict.UNKNOWN, 201)
    assert attempted.reason == f"201 Created, but {reason}"


@pytest.mark.parametrize("script", [close_after_reading, reset_after_reading, stall_after_reading, cut_body])
def test_no_answer_over_tls(
    serve: Callable[..., ScriptedApi],
    deliver: Callable[..., HttpDelivery],
    script: Callable[[Exchange], None],
    server_tls: object,
    certificate: tuple[Path, Path],
) -> None:
    """Under TLS a request that got no whole answer is unknown just the same."""
    attempted = deliver(serve(script, tls=server_tls).url, ca_bundle=certificate[0]).send(MESSAGE, 1)
    assert attempted.verdict is Verdict.UNKNOWN
    assert attempted.duration_s < 3


def drip_status_line(exchange: Exchange) -> None:
    exchange.read()
    exchange.drip(CREATED * 100)


def drip_headers(exchange: Exchange) -> None:
    exchange.answer(CREATED)
    exchange.drip(b"X-Slow: slow\r\n" * 100)


def drip_body(exchange: Exchange) -> None:
    exchange.answer(CREATED + b"Content-Length: 1000\r\n\r\n")
    exchange.drip(b"x" * 1000)


def drip_chunks(exchange: Exchange) -> None:
    exchange.answer(CREATED + b"Transfer-Encoding: chunked\r\n\r\n")
    exchange.drip(b"1\r\nx\r\n" * 200)


def drip_until_close(exchange: Exchange) -> None:
    exchange.answer(CREATED + b"\r\n")
    exchange.drip(b"x" * 1000)


def continue_for_ever(exchange: Exchange) -> None:
    exchange.read()
    while not exchange.api.stopping.wait(0.005):
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "script", [drip_status_line, drip_headers, drip_body, drip_chunks, drip_until_close, continue_for_ever]
)
def test_a_server_that_drips(
    serve: Callable[..., ScriptedApi],
    deliver: Callable[..., HttpDelivery],
    script: Callable[[Exchange], None],
    tls: bool,
    server_tls: object,
    certificate: tuple[Path, Path],
) -> None:
    """A server that sends a byte now and then does not hold an attempt beyond its deadline."""
    api = serve(script, tls=server_tls if tls else None)
    attempted = deliver(api.url, deadline_s=1.0, connect_timeout_s=0.9, ca_bundle=certificate[0]).send(MESSAGE, 1)
    assert attempted.verdict is Verdict.UNKNOWN
    assert "no complete reply before the deadline" in attempted.reason
    assert attempted.duration_s < 2.5


@pytest.mark.parametrize("tls", [False, True])
def test_a_server_that_does_not_read(
    serve: Callable[..., ScriptedApi],
    deliver: Callable[..., HttpDelivery],
    tls: bool,
    server_tls: object,
    certificate: tuple[Path, Path],
) -> None:
    """A body that is not taken off the wire is given up at the deadline, and part of it has left."""
    api = serve(lambda exchange: exchange.stall(), tls=server_tls if tls else None)
    huge = Message("sig_0123", b'"' + b"x" * 20_000_000 + b'"')
    attempted = deliver(api.url, deadline_s=1.0, connect_timeout_s=0.9, ca_bundle=certificate[0]).send(huge, 1)
    assert attempted.verdict is Verdict.UNKNOWN
    assert attempted.duration_s < 5
