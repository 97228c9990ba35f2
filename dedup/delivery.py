"""One HTTP attempt and its class: what `design.md` calls sending.

A message is built once and sent again as it was. Each attempt uses a connection of its own (a kept one that the server
has closed meanwhile would look like a lost reply), has one deadline from name resolution to the last byte, and ends in
an `Attempted`, whatever the network or the API do. What is safe after which verdict stands in `dedup.http_outcome`.

How much of the reply is needed: the status line, all headers and, up to `max_response_bytes`, the body. A reply that
ends early, is reset or is late is UNKNOWN even where its status has come through: whoever sent it, the API or a proxy
before it, did not get to the end. A body longer than the cap is not read further, and its status decides: up to there
the reply came through whole, and the rest could only tell what nobody asks for.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import requests
from standardwebhooks import Webhook

from dedup.delivery_options import DeliveryOptions
from dedup.errors import InvalidSignal
from dedup.http_deadline import Flight, Reply, exchange
from dedup.http_failure import classify_failure
from dedup.http_outcome import Attempted, Verdict, classify, describe_status, excerpt, with_excerpt

__all__ = ["Attempted", "DeliveryOptions", "HttpDelivery", "Message", "Verdict", "classify"]

QUOTABLE_BYTES = 4_096
"""As much of a body is looked at for the reason, so that a secret cut off at its end is far from what is quoted."""

_ID = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent: built once, sent again as it was.

    Attributes:
        id: the signal's id, which travels as `Idempotency-Key` and `webhook-id`.
        body: JSON in UTF-8.

    Raises:
        InvalidSignal: the id cannot stand in a header, or the body is no UTF-8.
    """

    id: str
    body: bytes

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise InvalidSignal("message.id", self.id, "1 to 255 printable ASCII characters without white space")
        try:
            self.body.decode()
        except UnicodeDecodeError:
            raise InvalidSignal("message.body", f"{len(self.body)} bytes", "encode the JSON as UTF-8") from None


def _utc_now() -> datetime:
    return datetime.now(UTC)


class HttpDelivery:
    """Posts messages to the API. Holds no connection; safe to share between threads and across a fork."""

    def __init__(self, options: DeliveryOptions, now: Callable[[], datetime] = _utc_now) -> None:
        """Prepare for sending; nothing connects yet.

        Args:
            options: checked already.
            now: the wall clock, tz-aware, for `webhook-timestamp` and dates in `Retry-After`.

        Raises:
            InvalidSetting: the certificates to trust cannot be read.
        """
        self._options, self._now = options, now
        self._signers = tuple(Webhook(secret) for secret in options.secrets)
        self._confidential = sorted(options.confidential(), key=len, reverse=True)
        self._tls = options.tls_context() if _uses_tls(options) else None

    def __repr__(self) -> str:
        return f"HttpDelivery({self._options!r})"

    def send(self, message: Message, attempt: int) -> Attempted:
        """POST the message once. Never raises for anything that the network or the API does.

        Args:
            message: sent as it is.
            attempt: number of this attempt, sent as `X-Attempt`.
        """
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": message.id,
            "X-Attempt": str(attempt),
            **self._webhook_headers(message),
        }
        return self._attempt("POST", self._options.url, headers, message.body, self._classify)

    def look_up(self, signal_id: str) -> Attempted:
        """GET the id from `lookup_url`: whether the API has the signal. Never raises, as `send`.

        POSTED: it has. That takes a 2xx whose JSON holds the id as a value or a name, because empty lists, login pages
        and catch-all pages answer 2xx for whatever they are asked. UNKNOWN: it has not (404, 410), or nobody can tell;
        the reason says which. "Has not" settles nothing, as an earlier attempt may still be under way.
        """
        address = self._options.lookup_address(signal_id)
        if address is None:
            return Attempted(Verdict.UNKNOWN, "no look-up: SIGNAL_LOOKUP_URL is not set")

        def judge(reply: Reply) -> Attempted:
            return _classify_lookup(reply, signal_id, self._quotable(reply))

        attempted = self._attempt("GET", address, {}, None, judge)
        # That the question never left says nothing about the signal that was posted before.
        return replace(attempted, verdict=Verdict.UNKNOWN) if attempted.verdict is Verdict.NOT_SENT else attempted

    def _attempt(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, judge: Callable[[Reply], Attempted]
    ) -> Attempted:
        options, began = self._options, time.monotonic()
        flight = Flight.start(options.connect_s, options.deadline_s)
        try:
            request = requests.Request(method, url, headers={**self._common_headers(), **headers}, data=body).prepare()
            attempted = judge(exchange(request, flight, self._tls, options.max_response_bytes))
        except Exception as error:
            # Whatever it was, the flight knows whether anything left, and that is what the caller has to act upon.
            attempted = classify_failure(error, flight)
        return replace(attempted, duration_s=time.monotonic() - began)

    def _common_headers(self) -> dict[str, str]:
        return {
            "Accept": "application/json, */*;q=0.1",
            **self._options.headers,
            "User-Agent": self._options.user_agent,
            # A compressed body could grow a thousandfold when it is read.
            "Accept-Encoding": "identity",
            "Connection": "close",
        }

    def _webhook_headers(self, message: Message) -> dict[str, str]:
        now, text = self._now().astimezone(UTC), message.body.decode()
        headers = {"webhook-id": message.id, "webhook-timestamp": str(int(now.timestamp()))}
        if self._signers:
            headers["webhook-signature"] = " ".join(signer.sign(message.id, now, text) for signer in self._signers)
        return headers

    def _classify(self, reply: Reply) -> Attempted:
        return classify(reply.status, reply.headers, self._quotable(reply), self._now())

    def _quotable(self, reply: Reply) -> str:
        coding = reply.headers.get("Content-Encoding", "identity").strip().lower()
        if reply.body and coding not in {"", "identity"}:
            return f"({excerpt(coding, 20)} body, not decoded)"
        text = reply.body[:QUOTABLE_BYTES].decode("utf-8", "replace")
        for confidential in self._confidential:
            text = text.replace(confidential, "***")
        return text


def _uses_tls(options: DeliveryOptions) -> bool:
    return any(urlsplit(url).scheme == "https" for url in (options.url, options.lookup_url) if url)


def _classify_lookup(reply: Reply, signal_id: str, quotable: str) -> Attempted:
    status, said = reply.status, describe_status(reply.status)
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        return Attempted(Verdict.UNKNOWN, f"{said}: the API does not have it", status)
    if not 200 <= status < 300:
        return Attempted(Verdict.UNKNOWN, with_excerpt(said, quotable), status)
    if reply.whole and _names(reply.body, signal_id):
        return Attempted(Verdict.POSTED, f"{said}: the API has it", status)
    return Attempted(Verdict.UNKNOWN, f"{said}, but the reply is no JSON that holds the signal's id", status)


def _names(body: bytes, signal_id: str) -> bool:
    """Whether JSON holds the id as a value or a name, at any depth."""
    try:
        pending: list[Any] = [json.loads(body)]
    except (ValueError, RecursionError):
        return False
    while pending:
        value = pending.pop()
        if value == signal_id:
            return True
        if isinstance(value, dict):
            pending.extend((*value.keys(), *value.values()))
        elif isinstance(value, list):
            pending.extend(value)
    return False
