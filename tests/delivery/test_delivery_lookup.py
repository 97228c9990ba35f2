"""Asking the API whether it has a signal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dedup.delivery import HttpDelivery, Verdict
from tests.delivery.scripted_api import Exchange, ScriptedApi


def reply(status: str, body: bytes = b"", fields: str = "") -> Callable[[Exchange], None]:
    head = f"HTTP/1.1 {status}\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode()
    return lambda exchange: exchange.answer(head + body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": "sig_1"}',
        b'{"data": [{"x": 1}, {"meta": {"idempotency_key": "sig_1"}}]}',
        b'["sig_0", "sig_1"]',
        b'{"sig_1": {"side": "buy"}}',
        b'"sig_1"',
    ],
)
def test_found(serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery], body: bytes) -> None:
    """A success whose JSON holds the id, wherever, says that the API has the signal."""
    api = serve(reply("200 OK", body))
    attempted = deliver(api.url, lookup_url=api.url).look_up("sig_1")
    assert (attempted.verdict, attempted.status) == (Verdict.POSTED, 200)
    assert attempted.reason == "200 OK: the API has it"


@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone"])
def test_not_found(serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery], status: str) -> None:
    """Not found settles nothing, because an earlier attempt may still be under way; the reason says what was seen."""
    api = serve(reply(status, b'{"id": "sig_1"}'))
    attempted = deliver(api.url, lookup_url=api.url).look_up("sig_1")
    assert (attempted.verdict, attempted.reason) == (Verdict.UNKNOWN, f"{status}: the API does not have it")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"id": "sig_10"}', b"<html>Sign in to see sig_1</html>", b"[" * 60_000, b'"sig_1" ' + b" " * 70_000],
)
def test_a_success_that_proves_nothing(
    serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery], body: bytes
) -> None:
    """An empty list, a login page, another id or an endless reply is no proof that the API has the signal."""
    api = serve(reply("200 OK", body))
    attempted = deliver(api.url, lookup_url=api.url).look_up("sig_1")
    assert attempted.verdict is Verdict.UNKNOWN
    assert attempted.reason == "200 OK, but the reply is no JSON that holds the signal's id"


@pytest.mark.parametrize("status", ["301 Moved", "401 Unauthorized", "409 Conflict", "429 Slow", "500 No", "503 No"])
def test_an_api_that_does_not_tell(
    serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery], status: str
) -> None:
    """Anything but a success or not found cannot tell, a conflict and a refusal included."""
    api = serve(reply(status, b"no", "Retry-After: 1\r\nLocation: /signals\r\n"))
    attempted = deliver(api.url, lookup_url=api.url).look_up("sig_1")
    assert (attempted.verdict, attempted.status) == (Verdict.UNKNOWN, int(status[:3]))
    assert attempted.reason.endswith(": no")
    assert api.connections == 1


def test_an_api_that_is_not_there(deliver: Callable[..., HttpDelivery]) -> None:
    """A look-up that never left is unknown, not "not sent": that would speak of the signal."""
    attempted = deliver("http://signals.invalid/", lookup_url="http://signals.invalid/").look_up("sig_1")
    assert attempted.verdict is Verdict.UNKNOWN
    assert attempted.reason.startswith("DNS: ")


def test_a_look_up_that_gets_no_answer(serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery]) -> None:
    """A look-up has the deadline of an attempt, and what it did not hear it does not know."""
    api = serve(lambda exchange: exchange.drip(b"HTTP/1.1 200 OK\r\n" * 50))
    attempted = deliver(api.url, lookup_url=api.url, deadline_s=1.0, connect_timeout_s=0.9).look_up("sig_1")
    assert attempted.verdict is Verdict.UNKNOWN
    assert attempted.duration_s < 2.5


def test_without_a_look_up(deliver: Callable[..., HttpDelivery]) -> None:
    """Where no look-up is set nothing is asked, and the reason names the setting."""
    attempted = deliver("http://signals.invalid/").look_up("sig_1")
    assert (attempted.verdict, attempted.reason) == (
        Verdict.UNKNOWN,
        "no look-up: SIGNAL_LOOKUP_URL is not set",
    )


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("/signals/{id}", "GET /signals/sig%2F1 HTTP/1.1"),
        ("/signals?key={id}&x=1", "GET /signals?key=sig%2F1&x=1 HTTP/1.1"),
        ("/signals", "GET /signals/sig%2F1 HTTP/1.1"),
        ("/signals/", "GET /signals/sig%2F1 HTTP/1.1"),
        ("", "GET /sig%2F1 HTTP/1.1"),
    ],
)
def test_where_the_id_goes(
    serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery], template: str, line: str
) -> None:
    """The id goes where the address says, or becomes the last part of the path, percent-encoded."""
    api = serve(reply("404 Not Found"))
    lookup_url = f"http://127.0.0.1:{api.port}{template}"
    deliver(api.url, lookup_url=lookup_url, headers={"Authorization": "Bearer abc.def"}).look_up("sig/1")
    (request,) = api.received
    assert request.line == line
    assert request.fields["Authorization"] == "Bearer abc.def"
    assert (request.body, request.fields["Idempotency-Key"]) == (b"", None)
