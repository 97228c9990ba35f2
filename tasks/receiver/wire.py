"""How a reply goes over the wire, whole or mangled as a fault demands."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus

from tasks.receiver.faults import Fault

_CHUNK = b" " * 65_536


@dataclass(frozen=True, slots=True)
class Reply:
    """A status, header fields and a small JSON document."""

    status: int
    document: Mapping[str, object]
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """The document as it is sent."""
        return json.dumps(self.document, separators=(",", ":")).encode() + b"\n"


def refusal(status: int, error: str, **headers: str) -> Reply:
    """A reply that says what was wrong. Underscores in the names of headers become hyphens."""
    return Reply(status, {"error": error}, {name.replace("_", "-"): value for name, value in headers.items()})


def deliver(
    connection: socket.socket, reply: Reply, fault: Fault | None, stopping: threading.Event, *, close: bool
) -> bool:
    """Send `reply` as `fault` demands.

    Args:
        connection: the client's.
        stopping: once set, a delivery that takes its time is broken off.
        close: whether the connection is to be closed after the reply, whatever the fault.

    Returns:
        Whether the connection can carry another request.

    Raises:
        OSError: the client has gone, or does not read.
    """
    kind = fault.kind if fault else None
    body = reply.body
    match kind:
        case "drop_reply":
            return False
        case "reset":
            # Lingering for zero seconds makes close() send RST in place of FIN.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        case "truncate":
            connection.sendall(_head(reply, 2 * len(body), close=close) + body[: len(body) // 2])
            return False
        case "drip" if fault is not None:
            payload = _head(reply, len(body), close=close) + body
            return _drip(connection, payload, fault.seconds, stopping) and not close
        case "huge" if fault is not None:
            connection.sendall(_head(reply, max(fault.size, len(body)), close=close) + body)
            _pad(connection, fault.size - len(body))
            return not close
        case _:
            # One write: a body that follows its head separately waits for the client's delayed ACK.
            connection.sendall(_head(reply, len(body), close=close) + body)
            return not close


def resets_on_close(connection: socket.socket) -> bool:
    """Whether `deliver` has made this connection one that ends with a reset."""
    try:
        size = struct.calcsize("ii")
        return bool(struct.unpack("ii", connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, size))[0])
    except OSError:
        return False


def _head(reply: Reply, length: int, *, close: bool) -> bytes:
    fields = {
        "Date": formatdate(usegmt=True),
        "Content-Type": "application/json",
        "Content-Length": str(length),
        "Connection": "close" if close else "keep-alive",
        **reply.headers,
    }
    lines = [f"HTTP/1.1 {reply.status} {_phrase(reply.status)}", *(f"{name}: {fields[name]}" for name in fields)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unregistered"


def _drip(connection: socket.socket, payload: bytes, seconds: float, stopping: threading.Event) -> bool:
    for place in range(len(payload)):
        if place and stopping.wait(seconds):
            return False
        connection.sendall(payload[place : place + 1])
    return True


def _pad(connection: socket.socket, count: int) -> None:
    # Blanks after a JSON document leave it the same document.
    while count > 0:
        connection.sendall(_CHUNK[:count])
        count -= len(_CHUNK)
