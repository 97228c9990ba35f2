"""One HTTP exchange under a total deadline, which knows whether a byte of the request was handed to the network.

The timeout of requests is per read: a server that sends one byte a second holds such a request for ever. Here every
read, write and handshake gets only what is left of one deadline. Name resolution, TCP and TLS together get a budget of
their own, so that a late connection never eats the time for the answer: failing before anything was sent is harmless,
failing after it leaves a doubt.

`Flight.sent` turns true just before the first byte goes to the socket. It, not the kind of the error, tells "not sent"
from "unknown".
"""

from __future__ import annotations

import io
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

_READ_BYTES = 16_384


class DeadlineExceeded(TimeoutError):
    """The time for this part of the exchange is over."""


class Stage(StrEnum):
    """How far an exchange has come."""

    PREPARING = "preparing"
    RESOLVING = "resolving"
    CONNECTING = "connecting"
    SECURING = "securing"
    SENDING = "sending"
    WAITING = "waiting"
    READING = "reading"


@dataclass(slots=True)
class Flight:
    """One exchange under way. Times are of `time.monotonic`, in seconds.

    Attributes:
        connect_by: until then the connection, TLS included, must stand.
        finish_by: until then the whole reply must be there.
        sent: whether bytes of the request may have left.
        status: HTTP status, once the status line and all headers have arrived.
    """

    connect_by: float
    finish_by: float
    stage: Stage = Stage.PREPARING
    sent: bool = False
    status: int | None = None

    @classmethod
    def start(cls, connect_timeout_s: float, deadline_s: float) -> Flight:
        """A flight whose time begins now."""
        now = time.monotonic()
        return cls(now + connect_timeout_s, now + deadline_s)

    def begin_anew(self, connect_timeout_s: float, deadline_s: float) -> None:
        """The next exchange of a connection that is kept; its time begins now."""
        now = time.monotonic()
        self.connect_by, self.finish_by = now + connect_timeout_s, now + deadline_s
        self.stage, self.sent, self.status = Stage.PREPARING, False, None

    def left_s(self, by: float) -> float:
        """Seconds left until `by`, more than 0.

        Raises:
            DeadlineExceeded: none are left.
        """
        left = by - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("timed out")
        return left


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that is complete, or that was longer than anyone wants to read.

    Attributes:
        headers: names in any case.
        body: as it came, content codings and all; at most the cap.
        whole: False where the body went on beyond the cap.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool


def exchange(request: requests.PreparedRequest, flight: Flight, tls: ssl.SSLContext | None, max_bytes: int) -> Reply:
    """Send one request over a connection of its own and read the reply.

    No redirect is followed, nothing is retried, decoded or kept, and neither proxies nor credentials are taken from the
    environment.

    Args:
        request: prepared.
        flight: is kept up to date, so that after an error it says how far things went.
        tls: context for https.
        max_bytes: cap on the body. Reading ends there.

    Raises:
        Exception: of requests, urllib3, http.client, ssl or socket. What it means is in `flight`.
    """
    adapter = _Adapter(flight, tls)
    try:
        return _exchanged(adapter, request, flight, max_bytes)
    finally:
        adapter.close()


class KeptConnection:
    """Exchanges one after the other, over a connection that is kept between them. For one thread of one process.

    The server may have closed it meanwhile, which looks like a lost reply: this is for questions that may be asked
    twice.

    Args:
        tls: context for https.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.flight = Flight(0.0, 0.0)
        """The latest exchange."""
        self._adapter = _Adapter(self.flight, tls)

    def exchange(self, request: requests.PreparedRequest, deadline_s: float, max_bytes: int) -> Reply:
        """As the function of that name, with one deadline from name resolution to the last byte."""
        self.flight.begin_anew(deadline_s, deadline_s)
        return _exchanged(self._adapter, request, self.flight, max_bytes)

    def close(self) -> None:
        """Close it. The next exchange opens a new one."""
        self._adapter.close()


def _exchanged(adapter: _Adapter, request: requests.PreparedRequest, flight: Flight, max_bytes: int) -> Reply:
    # The adapter, not a session: a session reads the whole body of a redirect, whatever its size.
    with closing(adapter.send(request, stream=True)) as response:
        flight.stage, flight.status = Stage.READING, response.status_code
        body = _read(response.raw, max_bytes)
        return Reply(response.status_code, response.headers, body[:max_bytes], len(body) <= max_bytes)


def _read(raw: BaseHTTPResponse, max_bytes: int) -> bytes:
    body = bytearray()
    while len(body) <= max_bytes:
        part = raw.read(min(_READ_BYTES, max_bytes + 1 - len(body)), decode_content=False)
        if not part:
            break
        body += part
    return bytes(body)


class _Adapter(HTTPAdapter):
    """requests' transport for one flight."""

    def __init__(self, flight: Flight, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        self.poolmanager.pool_classes_by_scheme = {
            "http": partial(_Pool, flight=flight),
            "https": partial(_TlsPool, flight=flight),
        }

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._tls, "cert_reqs": "CERT_REQUIRED"}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the context holds the certificates. The inherited one loads a bundle anew for every connection."""


class _Connection(HTTPConnection):
    """A connection whose every step is bounded by its flight."""

    def __init__(self, *args: Any, flight: Flight, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.flight = flight

    def connect(self) -> None:
        super().connect()
        self.flight.stage = Stage.SENDING
        self.sock = _DeadlineSocket(self.sock, self.flight)

    def getresponse(self) -> Any:
        # urllib3 warns of headers that it cannot parse, with the whole address, which may hold a token.
        if self._response_options is not None:
            self._response_options = self._response_options._replace(request_url="/…")
        return super().getresponse()

    def _new_conn(self) -> socket.socket:
        # Errors are wrapped as urllib3 wraps them: it takes some bare ones for replies that may still be read.
        try:
            return _open(self._dns_host.strip("[]"), self.port, self.flight)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "timed out") from error
        except (OSError, UnicodeError) as error:
            raise NewConnectionError(self, str(error)) from error


class _TlsConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def _open(host: str, port: int, flight: Flight) -> socket.socket:
    flight.stage = Stage.RESOLVING
    addresses = _resolve(host, port, flight.left_s(flight.connect_by))
    flight.stage = Stage.CONNECTING
    failure: OSError = OSError("the name has no address")
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        # An address that swallows packets must leave time for the ones behind it.
        timeout_s = flight.left_s(flight.connect_by) / (len(addresses) - index)
        try:
            return _connect(socket.socket(family, kind, protocol), address, timeout_s, flight)
        except OSError as error:
            failure = error
    raise failure


def _connect(connection: socket.socket, address: Any, timeout_s: float, flight: Flight) -> socket.socket:
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(timeout_s)
        connection.connect(address)
        # What is left of the budget is what a TLS handshake gets: it takes over the socket's timeout.
        connection.settimeout(flight.left_s(flight.connect_by))
    except BaseException:
        connection.close()
        raise
    flight.stage = Stage.SECURING
    return connection


def _resolve(host: str, port: int, timeout_s: float) -> list[Any]:
    """`getaddrinfo` with a time limit. It knows none itself, so it runs aside and is left behind when it is late."""
    answer: Future[list[Any]] = Future()

    def ask() -> None:
        try:
            answer.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            answer.set_exception(error)

    # A pool would be waited for when the process ends.
    threading.Thread(target=ask, name="candlelatch-dns", daemon=True).start()
    return answer.result(timeout_s)


class _DeadlineSocket:
    """What http.client and urllib3 use of a connected socket; each call gets what is left of the flight's time."""

    def __init__(self, connected: socket.socket, flight: Flight) -> None:
        self._socket, self._flight = connected, flight

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            # In this order: a process that was stopped until its time was over sends nothing, and can say so.
            self._socket.settimeout(self._flight.left_s(self._flight.finish_by))
            self._flight.sent = True
            rest = rest[self._socket.send(rest) :]

    def makefile(self, mode: str, *_: object, **__: object) -> io.BufferedReader:
        self._flight.stage = Stage.WAITING
        return io.BufferedReader(_DeadlineReader(self._socket, self._flight))

    def settimeout(self, _: float | None) -> None:
        """Nothing: the flight's deadline rules."""

    def fileno(self) -> int:
        return self._socket.fileno()

    def shutdown(self, how: int) -> None:
        self._socket.shutdown(how)

    def close(self) -> None:
        self._socket.close()


class _DeadlineReader(io.RawIOBase):
    """The reading side of a socket."""

    def __init__(self, connected: socket.socket, flight: Flight) -> None:
        self._socket, self._flight = connected, flight
        # Keeps the connection open for the body when http.client lets go of the socket after the headers.
        self._stream = connected.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(self._flight.left_s(self._flight.finish_by))
        return self._stream.readinto(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()
