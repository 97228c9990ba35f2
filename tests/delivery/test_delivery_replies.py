"""Replies that are complete and odd: long, packed, pointing elsewhere, framed in other ways."""

from __future__ import annotations

import gzip
import threading
import tracemalloc
from collections.abc import Callable

import pytest

from dedup.delivery import HttpDelivery, Message, Verdict
from tests.delivery.scripted_api import OK, Exchange, ScriptedApi

MESSAGE = Message("sig_0123", b'{"instrument":"GOLD"}')


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;note=x\r\nok\r\n0\r\nX-Trailer: x\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nup to the end",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nup to the end",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 A phrase of its own\r\nContent-Length: 0\r\n\r\nmore than announced",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: \xff=;;;\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_ways_to_frame_a_reply(
    serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery], reply: bytes
) -> None:
    """However a complete reply is framed, its status counts, under the registry's phrase."""
    attempted = deliver(serve(lambda exchange: exchange.answer(reply)).url).send(MESSAGE, 1)
    assert attempted.verdict is Verdict.POSTED
    assert attempted.reason in {"200 OK", "204 No Content"}


def test_an_answer_before_the_whole_request_was_taken(
    serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery]
) -> None:
    """A server that says no after the headers, and takes the rest off the wire, is understood."""

    def refuse(exchange: Exchange) -> None:
        exchange.connection.recv(1024)
        exchange.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        while exchange.connection.recv(65_536):
            pass

    attempted = deliver(serve(refuse).url).send(MESSAGE, 1)
    assert (attempted.verdict, attempted.status) == (Verdict.REJECTED, 413)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(b"201 Created", Verdict.POSTED), (b"422 No", Verdict.REJECTED), (b"500 No", Verdict.UNKNOWN)],
)
@pytest.mark.parametrize("framing", [b"Content-Length: 100000000000\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_a_body_without_end(
    serve: Callable[..., ScriptedApi],
    deliver: Callable[..., HttpDelivery],
    status: bytes,
    verdict: Verdict,
    framing: bytes,
) -> None:
    """Beyond the cap nothing is read, and the status that arrived decides, long before the deadline."""
    hung_up = threading.Event()

    def flood(exchange: Exchange) -> None:
        exchange.answer(b"HTTP/1.1 " + status + b"\r\n" + framing + b"\r\n")
        part = b"10000\r\n" + b"x" * 65_536 + b"\r\n" if b"chunked" in framing else b"x" * 65_536
        try:
            while not exchange.api.stopping.is_set():
                exchange.send(part)
        finally:
            hung_up.set()

    api = serve(flood)
    attempted = deliver(api.url, deadline_s=30.0).send(MESSAGE, 1)
    assert (attempted.verdict, attempted.status) == (verdict, int(status[:3]))
    assert hung_up.wait(10)


@pytest.mark.parametrize(("length", "verdict"), [(99, Verdict.POSTED), (100, Verdict.POSTED), (101, Verdict.POSTED)])
def test_a_body_around_the_cap(
    serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery], length: int, verdict: Verdict
) -> None:
    """A body just below, at and just above the cap is a complete reply."""
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (length, b"x" * length)
    delivery = deliver(serve(lambda exchange: exchange.answer(reply)).url, max_response_bytes=100)
    assert delivery.send(MESSAGE, 1).verdict is verdict


@pytest.mark.parametrize("status", [b"422 No", b"302 Found\r\nLocation: /elsewhere"])
def test_a_packed_bomb_stays_packed(
    serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery], status: bytes
) -> None:
    """A compressed body that nobody asked for is not unpacked, on a redirect neither."""
    bomb = gzip.compress(b"\0" * 50_000_000)
    head = b"HTTP/1.1 %b\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % (status, len(bomb))
    delivery = deliver(serve(lambda exchange: exchange.answer(head + bomb)).url)
    tracemalloc.start()
    attempted = delivery.send(MESSAGE, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert attempted.verdict is Verdict.REJECTED
    assert attempted.reason.endswith(("(gzip body, not decoded)", "redirects are not followed"))
    assert peak < 5_000_000


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(
    serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery], status: int
) -> None:
    """Neither another server, nor this one, nor a local file, nor a private address is asked."""
    other = serve(lambda exchange: exchange.answer(OK))
    for target in (other.url, "/again", "file:///etc/passwd", "http://169.254.169.254/latest/", "http://[::1", "\\\\x"):
        reply = f"HTTP/1.1 {status} Moved\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
        api = serve(lambda exchange, reply=reply: exchange.answer(reply))
        attempted = deliver(api.url).send(MESSAGE, 1)
        assert (attempted.verdict, attempted.status) == (Verdict.REJECTED, status)
        assert api.connections == 1
    assert other.connections == 0


def test_a_refusal_carries_the_wait(serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery]) -> None:
    """Retry-After comes through from the wire."""
    reply = b"HTTP/1.1 429 Slow down\r\nRetry-After: 17\r\nContent-Length: 9\r\n\r\ntoo fast!"
    attempted = deliver(serve(lambda exchange: exchange.answer(reply)).url).send(MESSAGE, 1)
    assert (attempted.verdict, attempted.retry_after_s) == (Verdict.REFUSED, 17.0)
    assert attempted.reason == "429 Too Many Requests: too fast!"


def test_a_body_that_is_no_text(serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery]) -> None:
    """Bytes that are no UTF-8 do not get in the way of the verdict."""
    reply = b"HTTP/1.1 400 No\r\nContent-Length: 4\r\n\r\n\xff\xfe\x00!"
    attempted = deliver(serve(lambda exchange: exchange.answer(reply)).url).send(MESSAGE, 1)
    assert attempted.verdict is Verdict.REJECTED
    assert attempted.reason.isprintable()


def test_a_broken_coding_does_not_matter(
    serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery]
) -> None:
    """A body that cannot be unpacked is not unpacked, so it does not turn a posted signal into a doubtful one."""
    reply = b"HTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nplain"
    attempted = deliver(serve(lambda exchange: exchange.answer(reply)).url).send(MESSAGE, 1)
    assert (attempted.verdict, attempted.reason) == (Verdict.POSTED, "201 Created")
