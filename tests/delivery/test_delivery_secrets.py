"""Secrets stay where they are: in no repr, no reason, no pickle, no log."""

from __future__ import annotations

import base64
import logging
import pickle
from collections.abc import Callable

import pytest

from dedup.delivery import DeliveryOptions, HttpDelivery, Message
from tests.delivery.scripted_api import Exchange, ScriptedApi

MESSAGE = Message("sig_0123", b'{"instrument":"GOLD"}')
KEY = base64.b64encode(b"k" * 32).decode()
SECRETS = (KEY, "hunter22", "tok-9f8e7d", "pa55word", "T0K3N-IN-A-LONG-PATH", "query-t0ken")


def delivery_to(url: str) -> HttpDelivery:
    address = url.replace("//", "//desk:pa55word@") + "/T0K3N-IN-A-LONG-PATH?token=query-t0ken"
    headers = {"Authorization": "Bearer tok-9f8e7d", "X-Api-Key": "hunter22"}
    options = DeliveryOptions(
        address, secrets=f"whsec_{KEY}", lookup_url=address + "&key={id}", deadline_s=1.5, headers=headers
    )
    return HttpDelivery(options)


def test_reprs_hide_them() -> None:
    """Options and delivery show the host, the limits and the names of headers."""
    delivery = delivery_to("https://api.example.com/signals")
    text = repr(delivery) + str(delivery) + repr(delivery._options)
    assert not [secret for secret in SECRETS if secret in text]
    assert "https://***" in text
    assert "X-Api-Key" in text


def echo(exchange: Exchange) -> None:
    request = exchange.read()
    body = (
        f"{request.line} {request.fields['X-Api-Key']} {request.fields['Authorization']} whsec_{KEY} pa55word".encode()
    )
    exchange.send(b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def redirect(exchange: Exchange) -> None:
    request = exchange.read()
    target = request.line.split()[1]
    exchange.send(f"HTTP/1.1 302 Found\r\nLocation: http://h.example{target}\r\nContent-Length: 0\r\n\r\n".encode())


def malformed_headers(exchange: Exchange) -> None:
    exchange.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nno colon here\r\n\r\n")


def hang_up(exchange: Exchange) -> None:
    exchange.read()


def stall(exchange: Exchange) -> None:
    exchange.stall()


@pytest.mark.parametrize("script", [echo, redirect, malformed_headers, hang_up, stall])
def test_outcomes_and_logs_hide_them(
    serve: Callable[..., ScriptedApi], script: Callable[[Exchange], None], caplog: pytest.LogCaptureFixture
) -> None:
    """An API that repeats what it was sent, and every way to fail, leaves no secret in outcome, pickle or log."""
    caplog.set_level(logging.INFO)
    delivery = delivery_to(serve(script).url)
    for attempted in (delivery.send(MESSAGE, 1), delivery.look_up("sig_0123")):
        text = repr(attempted) + repr(pickle.dumps(attempted)) + caplog.text
        assert not [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize("url", ["http://api.invalid/signals", "http://127.0.0.1:1/signals", "https://127.0.0.1:1/x"])
def test_failures_to_connect_hide_them(url: str) -> None:
    """The libraries' messages hold the whole address; the reason does not."""
    attempted = delivery_to(url).send(MESSAGE, 1)
    assert not [secret for secret in SECRETS if secret in repr(attempted)]


def test_an_echo_is_still_readable(serve: Callable[..., ScriptedApi]) -> None:
    """What is taken out of a quoted body leaves a mark, and the rest stays."""
    reason = delivery_to(serve(echo).url).send(MESSAGE, 1).reason
    assert reason.startswith("400 Bad Request: POST /signals/***?token=*** HTTP/1.1 ***")
