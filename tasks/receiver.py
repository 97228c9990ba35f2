"""The reference signal API: takes signals over HTTP, has each effect once, and can be told to misbehave.

::

    python -m tasks.receiver --port 8099 --log posts.jsonl

    POST   /signals        take a signal; honours Idempotency-Key, verifies Standard Webhooks signatures
    GET    /signals/{id}   200 when it is committed, else 404
    GET    /signals        counts, and the signals committed last (`?limit=`)
    GET    /health
    PUT    /faults         misbehave: one fault, or a list (see `tasks.receiver_faults.Fault`)
    GET    /faults         the faults in force
    DELETE /faults         behave

What a POST to `/signals` is answered:

====  ===========================================================================================================
201   the signal was committed now; or, with `Idempotent-Replayed: true`, it was before: the first answer again
400   no usable Idempotency-Key, or a body that is no JSON object or that did not arrive whole (408: in time)
401   secrets are set, and none of them made the signature
409   another request with this key is being processed; comes with Retry-After
411   no Content-Length
413   the body is too long
422   the key was used with another body
503   the log cannot be written; comes with Retry-After. Nothing was done
500   the log broke while the signal was committed; it may or may not be in the log
====  ===========================================================================================================

Each POST is in the log before anything else is done about it, and what was done is in the log before it is answered.
The log is also the database: a receiver that starts again on its log knows all it had committed. `read_log` reads it.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from dedup.errors import DedupError, InvalidSetting
from tasks.receiver_api import Api
from tasks.receiver_book import Book, wall_now
from tasks.receiver_checks import webhooks
from tasks.receiver_faults import Fault, FaultPlan
from tasks.receiver_log import Decision, Post, ReceiverLog, read_log
from tasks.receiver_server import Server

__all__ = ["Decision", "Fault", "FaultPlan", "Post", "Receiver", "ReceiverLog", "main", "read_log"]

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


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit status: 0, or 2 when it could not start."""
    options = _parser().parse_args(argv)
    # Blocked before any thread starts, so that the signals wait here and interrupt nothing.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    try:
        receiver = Receiver(
            options.log,
            host=options.host,
            port=options.port,
            secrets=_secrets(options),
            plain=options.plain,
            fsync=options.fsync,
            max_body=options.max_body,
            allow_faults=options.allow_faults,
        )
        with receiver:
            _serve(receiver, options.port_file)
    except (DedupError, OSError) as error:
        print(f"receiver: {error}", file=sys.stderr)
        return 2
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return 0


_ENDINGS = (signal.SIGTERM, signal.SIGINT)


def _serve(receiver: Receiver, port_file: Path | None) -> None:
    if port_file is not None:
        # Renamed into place, so that whoever waits for it never reads half a number.
        fresh = port_file.with_name(f"{port_file.name}.{os.getpid()}")
        fresh.write_text(f"{receiver.port}\n")
        fresh.replace(port_file)
    print(f"receiver: listening on {receiver.url}, log {receiver.log_path}", flush=True)
    signal.sigwait(_ENDINGS)
    if port_file is not None:
        port_file.unlink(missing_ok=True)


def _secrets(options: argparse.Namespace) -> list[str]:
    from_file = options.secret_file.read_text().split() if options.secret_file else []
    if options.secret_file and not from_file:
        raise InvalidSetting("--secret-file", str(options.secret_file), "it holds no secret; write one per line")
    return [*options.secret, *from_file]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parser() -> argparse.ArgumentParser:
    about = "The reference signal API: takes signals, honours Idempotency-Key, logs every POST."
    parser = argparse.ArgumentParser(prog="python -m tasks.receiver", description=about)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to bind to (default: %(default)s)")
    add("--port", type=int, default=8099, help="0 takes a free one (default: %(default)s)")
    add("--log", type=Path, required=True, metavar="FILE", help="log of every POST; also the database")
    add("--port-file", type=Path, metavar="FILE", help="write the port here once it listens")
    add("--secret", action="append", default=[], help="Standard Webhooks secret; give several to rotate them")
    add("--secret-file", type=Path, metavar="FILE", help="the same, one per line, hidden from the process list")
    add("--plain", action="store_true", help="ignore Idempotency-Key: every POST has an effect")
    add("--fsync", action="store_true", help="force every line of the log to the disk")
    add("--max-body", type=int, default=DEFAULT_MAX_BODY, metavar="BYTES", help="(default: %(default)s)")
    add("--allow-faults", action="store_true", help="let anyone use /faults, not only on a loopback address")
    return parser


if __name__ == "__main__":
    sys.exit(main())
