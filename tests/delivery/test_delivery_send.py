"""What one attempt puts on the wire, and what becomes of a plain answer."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from dedup.delivery import HttpDelivery, Message, Verdict
from dedup.errors import InvalidSignal
from tests.delivery.scripted_api import OK, Exchange, ScriptedApi

MESSAGE = Message("sig_0123", '{"instrument":"GOLD","price":"2650.10","note":"Ärger"}'.encode())


def secret() -> str:
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()


def answer_ok(exchange: Exchange) -> None:
    exchange.answer(OK)


def test_a_plain_answer(serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery]) -> None:
    """A 200 is posted, with its status and the time it took."""
    attempted = deliver(serve(answer_ok).url).send(MESSAGE, 1)
    assert (attempted.verdict, attempted.reason, attempted.status) == (Verdict.POSTED, "200 OK", 200)
    assert 0 < attempted.duration_s < 1.5


def test_what_is_sent(serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery]) -> None:
    """The bytes go out as they are, under the id, with the attempt's number and the headers of the options."""
    api = serve(answer_ok)
    deliver(f"{api.url}?room=7", headers={"Authorization": "Bearer abc.def"}, user_agent="desk/2").send(MESSAGE, 3)
    (request,) = api.received
    assert request.line == "POST /signals?room=7 HTTP/1.1"
    assert request.body == MESSAGE.body
    expected = {
        "Content-Type": "application/json",
        "Content-Length": str(len(MESSAGE.body)),
        "Idempotency-Key": "sig_0123",
        "webhook-id": "sig_0123",
        "X-Attempt": "3",
        "Authorization": "Bearer abc.def",
        "User-Agent": "desk/2",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    assert {name: request.fields[name] for name in expected} == expected
    assert request.fields["webhook-signature"] is None


def test_user_and_password_of_the_url(serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery]) -> None:
    """They become basic authentication and are not part of the request line."""
    api = serve(answer_ok)
    deliver(api.url.replace("//", "//desk:s%40ffron@")).send(MESSAGE, 1)
    (request,) = api.received
    assert request.fields["Authorization"] == "Basic " + base64.b64encode(b"desk:s@ffron").decode()
    assert request.line == "POST /signals HTTP/1.1"


def test_a_signature_that_verifies(serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery]) -> None:
    """With a secret set the request verifies under Standard Webhooks, and not with a byte changed."""
    api, key = serve(answer_ok), secret()
    deliver(api.url, secrets=key).send(MESSAGE, 1)
    (request,) = api.received
    verified = Webhook(key).verify(request.body, dict(request.fields))
    assert verified["note"] == "Ärger"
    with pytest.raises(WebhookVerificationError):
        Webhook(key).verify(request.body.replace(b"GOLD", b"COLD"), dict(request.fields))


@pytest.mark.parametrize("joined", [True, False])
def test_rotation(serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery], joined: bool) -> None:
    """While a secret is being changed the request verifies with the old and with the new one, and with no other."""
    api, old, new = serve(answer_ok), secret(), secret()
    deliver(api.url, secrets=f"{new} {old}" if joined else (new, old)).send(MESSAGE, 1)
    (request,) = api.received
    assert len(request.fields["webhook-signature"].split(" ")) == 2
    for key in (old, new):
        Webhook(key).verify(request.body, dict(request.fields))
    with pytest.raises(WebhookVerificationError):
        Webhook(secret()).verify(request.body, dict(request.fields))


def test_a_resend_differs_in_its_time_only(
    serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery]
) -> None:
    """Bytes and id stay, webhook-timestamp is the time of each attempt, so that a late resend is not too old."""
    api, key = serve(answer_ok), secret()
    options = deliver(api.url, secrets=key)._options
    moment = datetime(2026, 3, 9, 10, 15, 0, 900_000, tzinfo=UTC)
    for attempt in (1, 2):
        HttpDelivery(options, now=lambda at=moment + attempt * timedelta(minutes=6): at).send(MESSAGE, attempt)
    first, second = api.received
    assert (first.body, first.fields["webhook-id"]) == (second.body, second.fields["webhook-id"])
    assert int(second.fields["webhook-timestamp"]) - int(first.fields["webhook-timestamp"]) == 360
    assert int(first.fields["webhook-timestamp"]) == int((moment + timedelta(minutes=6)).timestamp())
    assert first.fields["webhook-signature"] != second.fields["webhook-signature"]


def test_every_attempt_has_a_connection_of_its_own(
    serve: Callable[..., ScriptedApi], deliver: Callable[..., HttpDelivery]
) -> None:
    """A kept connection that the server has closed meanwhile would look like a lost reply."""

    def keep_alive(exchange: Exchange) -> None:
        exchange.answer(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")
        exchange.stall()

    api = serve(keep_alive)
    delivery = deliver(api.url)
    assert [delivery.send(MESSAGE, 1).verdict for _ in range(3)] == [Verdict.POSTED] * 3
    assert api.connections == 3


def test_the_environment_has_no_say(
    serve: Callable[..., ScriptedApi],
    deliver: Callable[..., HttpDelivery],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Proxies and netrc credentials of the machine are not used."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    api = serve(answer_ok)
    assert deliver(api.url).send(MESSAGE, 1).verdict is Verdict.POSTED
    assert api.received[0].fields["Authorization"] is None


def test_over_tls(
    serve: Callable[..., ScriptedApi],
    deliver: Callable[..., HttpDelivery],
    server_tls: object,
    certificate: tuple[Path, Path],
) -> None:
    """With its certificate trusted by name, an API behind TLS gets the same request."""
    api = serve(answer_ok, tls=server_tls)
    attempted = deliver(api.url, ca_bundle=certificate[0]).send(MESSAGE, 1)
    assert (attempted.verdict, attempted.reason) == (Verdict.POSTED, "200 OK")
    assert api.received[0].body == MESSAGE.body


@pytest.mark.parametrize("identifier", ["", "a b", "a\r\nX-Evil: 1", "ä", "x" * 256])
def test_an_id_that_cannot_be_a_header(identifier: str) -> None:
    """An id that could forge a header, or is no ASCII, is refused when the message is built."""
    with pytest.raises(InvalidSignal, match=r"message\.id"):
        Message(identifier, b"{}")


def test_a_body_that_is_no_text() -> None:
    """A body that cannot be signed as text is refused when the message is built, without being shown."""
    with pytest.raises(InvalidSignal, match=r"message\.body = '2 bytes'"):
        Message("sig_1", b"\xff\xfe")
