"""The receiver's sockets: reading requests, one thread per connection, and listening that can be paused."""

from __future__ import annotations

import logging
import socket
import socketserver
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tasks.receiver.api import Answer, Api, Incoming, not_found
from tasks.receiver.wire import deliver, refusal, resets_on_close

_log = logging.getLogger(__name__)

# Well above what clients keep a pooled connection for: closing first would lose requests that are on their way.
IDLE_S = 75
_POLL_S = 0.05
_GRACE_S = 1.0
_DRAIN_S = 5.0
_READ_BYTES = 65_536


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    disable_nagle_algorithm = True
    server: Server

    def parse_request(self) -> bool:
        """Read the head of a request, unless the receiver has stopped accepting."""
        if not self.server.begin(self.connection):
            self.close_connection = True
            return False
        return super().parse_request()

    def handle_one_request(self) -> None:
        """Answer one request; a client that goes away ends its connection and nothing else."""
        try:
            super().handle_one_request()
        except OSError as error:
            _log.debug("the client has gone: %s", error)
            self.close_connection = True
        if not self.server.finished(self.connection):
            self.close_connection = True

    def do_POST(self) -> None:
        """Take a signal."""
        incoming = self._incoming()
        if self.path.partition("?")[0] == "/signals":
            answer = self.server.api.post_signal(incoming)
        else:
            answer = Answer(incoming.problem or not_found())
        self._send(answer, unread=incoming.problem is not None)

    def do_PUT(self) -> None:
        """Replace the faults."""
        incoming = self._incoming()
        reply = incoming.problem or self.server.api.put(self.path, incoming.body)
        self._send(Answer(reply), unread=incoming.problem is not None)

    def do_GET(self) -> None:
        """Look something up."""
        self._send(Answer(self.server.api.get(self.path)), unread=self._has_body())

    def do_DELETE(self) -> None:
        """Clear the faults."""
        self._send(Answer(self.server.api.delete(self.path)), unread=self._has_body())

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a request that is no HTTP, or whose method is unknown."""
        self._send(Answer(refusal(code, explain or message or HTTPStatus(code).phrase)), unread=True)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class names it so
        """Keep quiet: the log of POSTs is the record."""
        _log.debug(format, *args)

    def _has_body(self) -> bool:
        return self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers

    def _incoming(self) -> Incoming:
        declared = set(self.headers.get_all("Content-Length", []))
        if "Transfer-Encoding" in self.headers or not declared:
            return self._unread(411, "give Content-Length; a chunked body is not taken")
        length = declared.pop()
        if declared or not (length.isascii() and length.isdecimal()):
            return self._unread(400, "Content-Length is one whole number")
        if len(length) > 12 or int(length) > self.server.max_body:
            return self._unread(413, f"the body may have {self.server.max_body} bytes")
        return self._received(int(length))

    def _unread(self, status: int, error: str) -> Incoming:
        return Incoming(self.headers, b"", refusal(status, error))

    def _received(self, length: int) -> Incoming:
        parts: list[bytes] = []
        missing, status = length, 400
        try:
            while missing and (part := self.rfile.read1(min(missing, _READ_BYTES))):
                parts.append(part)
                missing -= len(part)
        except OSError as error:
            status = 408 if isinstance(error, TimeoutError) else 400
        body = b"".join(parts)
        if not missing:
            return Incoming(self.headers, body)
        problem = refusal(status, f"the body ended after {len(body)} of {length} bytes")
        return Incoming(self.headers, body, problem, gone=True)

    def _send(self, answer: Answer, *, unread: bool) -> None:
        """Send an answer. `unread`: some of the request was not read, so that the connection cannot be used again."""
        if answer.reply is None:
            self.close_connection = True
            return
        close = unread or self.close_connection or not self.server.accepting
        stopping = self.server.stopping
        self.close_connection = not deliver(self.connection, answer.reply, answer.fault, stopping, close=close)
        if unread and not resets_on_close(self.connection):
            self._drain()

    def _drain(self) -> None:
        # Closing over unread bytes sends a reset, which can overtake the reply.
        until = time.monotonic() + _DRAIN_S
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            while time.monotonic() < until and self.connection.recv(_READ_BYTES):
                pass


class Server(ThreadingHTTPServer):
    """Listens and keeps count of its connections, so that it can pause, and end with no thread left.

    Raises:
        OSError: the address is not to be had.
    """

    request_queue_size = 128

    def __init__(self, host: str, port: int, api: Api, *, max_body: int, stopping: threading.Event) -> None:
        self.api = api
        self.max_body = max_body
        self.stopping = stopping
        self.accepting = False
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._connections = threading.Lock()
        self._open: set[socket.socket] = set()
        self._idle: set[socket.socket] = set()
        self._workers: list[threading.Thread] = []
        self._acceptor: threading.Thread | None = None
        super().__init__((host, port), Handler)

    def server_bind(self) -> None:
        """Bind without looking up the host's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def begin_accepting(self) -> None:
        """Serve the listening socket in a thread of its own."""
        with self._connections:
            self.accepting = True
        name = f"receiver-{self.server_port}"
        self._acceptor = threading.Thread(target=self.serve_forever, args=(_POLL_S,), name=name, daemon=True)
        self._acceptor.start()

    def pause(self) -> None:
        """Refuse connections and close the idle ones. Requests under way are answered."""
        self._stop_accepting()
        self.socket.close()
        # Bound but not listening: connections are refused, and nobody else is given the port meanwhile.
        self.socket = socket.socket(self.address_family, self.socket_type)
        self.server_bind()

    def resume(self) -> None:
        """Listen again on the same port."""
        self.server_activate()
        self.begin_accepting()

    def end(self) -> None:
        """Close everything and wait for every thread. Requests under way get a second to be answered."""
        self.stopping.set()
        self._stop_accepting()
        self.server_close()
        until = time.monotonic() + _GRACE_S
        for worker in self._workers:
            worker.join(max(0.0, until - time.monotonic()))
        with self._connections:
            _shut(self._open)
        for worker in self._workers:
            worker.join()
        self._workers.clear()

    def begin(self, connection: socket.socket) -> bool:
        """Whether a request that came in on `connection` may be worked on."""
        with self._connections:
            self._idle.discard(connection)
            return self.accepting

    def finished(self, connection: socket.socket) -> bool:
        """Whether `connection` may wait for another request."""
        with self._connections:
            if self.accepting and connection in self._open:
                self._idle.add(connection)
            return self.accepting

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a new connection its thread."""
        name = f"receiver-{self.server_port}-{client_address[1]}"
        target = self.process_request_thread
        worker = threading.Thread(target=target, args=(request, client_address), name=name, daemon=True)
        with self._connections:
            self._open.add(request)
            self._idle.add(request)
        self._workers = [*(each for each in self._workers if each.is_alive()), worker]
        worker.start()

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, with FIN or, where a fault wants it, with RST."""
        with self._connections:
            self._open.discard(request)
            self._idle.discard(request)
        if resets_on_close(request):
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what no client can cause."""
        _log.exception("a request from %s failed", client_address)

    def _stop_accepting(self) -> None:
        if self._acceptor is not None:
            self.shutdown()
            self._acceptor.join()
            self._acceptor = None
        with self._connections:
            self.accepting = False
            _shut(self._idle)


def _shut(connections: set[socket.socket]) -> None:
    for connection in connections:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
