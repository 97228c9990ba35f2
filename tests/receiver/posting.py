"""How these tests send: whole requests with requests, and broken ones over a bare socket."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests

from tasks.receiver import Receiver


def body_of(signal_id: str, **fields: object) -> bytes:
    """The body of a signal."""
    return json.dumps({"id": signal_id, "instrument": "GOLD", **fields}).encode()


def post(
    receiver: Receiver,
    signal_id: str = "one",
    *,
    key: str | None = "",
    body: bytes | None = None,
    timeout: float = 10,
    **headers: str,
) -> requests.Response:
    """POST a signal, on a new connection. `key` is the signal's id unless it is given; None sends none."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        fields["Idempotency-Key"] = key or signal_id
    sent = body_of(signal_id) if body is None else body
    return requests.post(receiver.signals_url, data=sent, headers=fields, timeout=timeout, allow_redirects=False)


class Sending(threading.Thread):
    """A POST that is under way in another thread."""

    def __init__(self, send: Callable[[], requests.Response]) -> None:
        super().__init__(daemon=True)
        self._send = send
        self.response: requests.Response | None = None
        self.error: requests.RequestException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.response = self._send()
        except requests.RequestException as error:
            self.error = error

    def ended(self) -> Sending:
        """The same, once it has ended."""
        self.join(20)
        assert not self.is_alive()
        return self


@contextmanager
def bare(receiver: Receiver) -> Iterator[socket.socket]:
    """A connection to write anything to."""
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as connection:
        yield connection


def head(length: int | str | None, *, key: str = "one", path: str = "/signals") -> bytes:
    """The head of a POST with a Content-Length of your choice."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Idempotency-Key: {key}"]
    lines += [] if length is None else [f"Content-Length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def status_of(raw: bytes) -> int:
    """The status of a raw reply."""
    return int(raw.split(b" ", 2)[1])


def until(condition: Callable[[], object], patience_s: float = 10) -> None:
    """Wait for a condition that has to come."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)
