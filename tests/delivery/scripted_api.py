"""An API that does to every connection what a script says, down to the bytes and the way it hangs up."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message as Fields
from email.parser import BytesParser

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Received:
    """One request as it arrived; names of `fields` in any case."""

    line: str
    fields: Fields
    body: bytes


@dataclass
class Exchange:
    """One accepted connection, as a script sees it."""

    connection: socket.socket
    api: ScriptedApi

    def read(self) -> Received:
        """Read the whole request and note it."""
        head, _, body = self._until_head().partition(b"\r\n\r\n")
        line, _, fields = head.partition(b"\r\n")
        received = BytesParser().parsebytes(fields)
        while len(body) < int(received.get("Content-Length", 0)):
            body += self._more()
        request = Received(line.decode(), received, body)
        self.api.received.append(request)
        return request

    def answer(self, data: bytes) -> None:
        """Read the request, send these bytes and hang up."""
        self.read()
        self.send(data)

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def drip(self, data: bytes, pause_s: float = 0.05) -> None:
        """Send byte by byte, for as long as the client stays."""
        for byte in data:
            self.send(bytes([byte]))
            if self.api.stopping.wait(pause_s):
                return

    def stall(self) -> None:
        """Keep the connection open and stay silent."""
        self.api.stopping.wait(60)

    def reset(self) -> None:
        """Hang up with RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Of a TLS connection too, with no goodbye.
        socket.socket.close(self.connection)

    def _until_head(self) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        return data

    def _more(self) -> bytes:
        data = self.connection.recv(65_536)
        if not data:
            raise ConnectionError("the client hung up")
        return data


Script = Callable[[Exchange], None]


class ScriptedApi:
    """Listens on an ephemeral port of 127.0.0.1. Each connection runs the script in a thread of its own."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.script, self.tls = script, tls
        self.received: list[Received] = []
        self.connections = 0
        self.stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        """Where it listens; with TLS by the name that its certificate holds."""
        return f"https://localhost:{self._port}/signals" if self.tls else f"http://127.0.0.1:{self._port}/signals"

    @property
    def _port(self) -> int:
        return self._listener.getsockname()[1]

    def stop(self) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # The client hanging up in the middle is what many tests are about.
        with contextlib.suppress(OSError), connection:
            if self.tls is None:
                self.script(Exchange(connection, self))
                return
            with self.tls.wrap_socket(connection, server_side=True) as secured:
                self.script(Exchange(secured, self))
