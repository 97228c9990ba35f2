"""The receiver in a process of yours: a server in threads, over a log."""

from __future__ import annotations

import ipaddress
import os
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from dedup.errors import InvalidSetting
from tasks.receiver.api import Api
from tasks.receiver.book import Book, wall_now
from tasks.receiver.checks import webhooks
from tasks.receiver.faults import FaultPlan
from tasks.receiver.log import ReceiverLog, read_log
from tasks.receiver.server import Server

DEFAULT_MAX_BODY = 262_144


class Receiver:
    """A receiver in this process, serving in threads of its own. A context manager.

    ::

        with Receiver(tmp_path / "posts.jsonl") as receiver:
            receiver.faults.put(Fault("drop_reply", times=2))
            requests.post(receiver.signals_url, ...)
        assert not receiver.read().doubles

    Started again after `stop` it takes up its log and its port.

    Args:
        log: the file of the log; made when it does not exist, in a directory that does.
        host: address to bind to.
        port: 0 takes a free one.
        secrets: Standard Webhooks secrets, any of which may have signed; none switches the verification off.
        plain: ignore Idempotency-Key, so that every acceptable POST has an effect.
        fsync: force every line of the log to the disk.
        max_body: bytes a body may have.
        allow_faults: let anyone who reaches it use `/faults`; on a loopback address that is always so.
        now: the clock of the log, tz-aware.

    Raises:
        InvalidSetting: a secret that is no base64.
    """

    def __init__(
        self,
        log: str | os.PathLike[str],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        secrets: Sequence[str] = (),
        plain: bool = False,
        fsync: bool = False,
        max_body: int = DEFAULT_MAX_BODY,
        allow_faults: bool = False,
        now: Callable[[], datetime] = wall_now,
    ) -> None:
        self.log_path = Path(log)
        self.faults = FaultPlan()
        self._host = host
        self._port = port
        self._webhooks = webhooks([secrets] if isinstance(secrets, str) else secrets)
        self._plain = plain
        self._fsync = fsync
        self._max_body = max_body
        self._allow_faults = allow_faults
        self._now = now
        self._lock = threading.Lock()
        self._paused = False
        self._running: tuple[Server, Book] | None = None

    def start(self) -> Self:
        """Read the log back and listen. Connections are taken when this returns.

        Raises:
            InvalidSetting: another receiver holds the log, or the address is not to be had.
            InvalidInput: the file is no receiver's log.
            OSError: the log cannot be opened, read or written.
            RuntimeError: it is running.
        """
        with self._lock:
            if self._running is not None:
                raise RuntimeError("the receiver is running")
            book = Book(self.log_path, plain=self._plain, fsync=self._fsync, now=self._now)
            try:
                server = self._server(book)
            except BaseException:
                book.close()
                raise
            self._running, self._paused, self._port = (server, book), False, server.server_port
            server.begin_accepting()
        return self

    def stop(self) -> None:
        """Close every connection, end every thread and give up the log. What is being stalled gets no answer."""
        with self._lock:
            if self._running is None:
                return
            server, book = self._running
            self._running = None
            try:
                server.end()
            finally:
                book.close()

    def pause(self) -> None:
        """Refuse connections, and close those that wait for a request. Requests under way are answered."""
        with self._lock:
            if self._running is not None and not self._paused:
                self._paused = True
                self._running[0].pause()

    def resume(self) -> None:
        """Take connections again, on the same port."""
        with self._lock:
            if self._running is not None and self._paused:
                self._running[0].resume()
                self._paused = False

    @property
    def port(self) -> int:
        """The port it listens on; before the first start, the one it was given."""
        return self._port

    @property
    def url(self) -> str:
        """Where it can be reached from this machine, without a slash at the end."""
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    @property
    def signals_url(self) -> str:
        """Where signals are posted to; a signal is looked up at this, a slash and its id."""
        return f"{self.url}/signals"

    def read(self) -> ReceiverLog:
        """What the log says now."""
        return read_log(self.log_path)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _server(self, book: Book) -> Server:
        stopping = threading.Event()
        api = Api(
            book,
            self.faults,
            webhooks=self._webhooks,
            plain=self._plain,
            remote_faults=self._allow_faults or _is_loopback(self._host),
            stopping=stopping,
        )
        try:
            return Server(self._host, self._port, api, max_body=self._max_body, stopping=stopping)
        except (OSError, OverflowError) as error:
            remedy = f"{error}; give a free port from 0 (any) to 65535 on an address of this machine"
            raise InvalidSetting("host, port", f"{self._host}, {self._port}", remedy) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
