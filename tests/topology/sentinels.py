"""A primary with a replica, and the three Sentinels that watch them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import redis

from tests.engines import HOST, Engine, free_port

SERVICE = "mymaster"


def wait_for(holds: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
    """Wait until something holds; an error of Redis counts as not yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if holds():
                return
        except redis.RedisError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)


def replica_of(primary: Engine, config: Mapping[str, str] | None = None) -> Engine:
    """A started replica that has all of the primary's data."""
    options = {"replicaof": f"{HOST} {primary.port}", "repl-diskless-sync-delay": "0", **(config or {})}
    replica = Engine(primary.binary, options).start()
    client = replica.client()
    wait_for(lambda: client.info("replication")["master_link_status"] == "up", "the replica's link")
    return replica


class Sentinels:
    """Three Sentinels over a primary and its replica.

    Args:
        binary: of the server, which is a Sentinel with ``--sentinel``.
        config: directives of both servers.
        sentinel_config: lines of the Sentinels' configuration beside the watching.
        auth: the password of the servers, which the Sentinels need too.
    """

    def __init__(
        self,
        binary: str,
        config: Mapping[str, str] | None = None,
        sentinel_config: tuple[str, ...] = (),
        auth: str = "",
    ) -> None:
        # Without a delay the replica is there at once.
        quick = {"repl-diskless-sync-delay": "0", **(config or {})}
        self.binary, self._extra, self._auth = binary, sentinel_config, auth
        self.primary = Engine(binary, quick)
        self._config = quick
        self.ports: list[int] = []
        self._home = Path(tempfile.mkdtemp(prefix="sentinels-"))
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.primary.start()
        options = {"replicaof": f"{HOST} {self.primary.port}", **self._config}
        self.replica = Engine(self.binary, options).start()
        admin = self.primary.client(password=self._auth or None)
        wait_for(lambda: admin.info("replication")["connected_slaves"] == 1, "the replica")
        for number in range(3):
            self._spawn(number)
        for number in range(3):
            wait_for(lambda at=number: self._sees_all(at), f"Sentinel {number}")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self.primary.close()
        self.replica.close()
        shutil.rmtree(self._home, ignore_errors=True)

    @property
    def hosts(self) -> str:
        """As they stand in a URL."""
        return ",".join(f"{HOST}:{port}" for port in self.ports)

    @property
    def url(self) -> str:
        """Where a store is to connect."""
        return f"sentinel://{self.hosts}/{SERVICE}/0"

    def client(self, number: int = 0) -> redis.Redis:
        """A client of one Sentinel."""
        return redis.Redis(port=self.ports[number], decode_responses=True, password=self._sentinel_password() or None)

    def failed_over(self) -> bool:
        """Whether every Sentinel names the former replica, and it takes writes."""
        named = all(self._named(number) == self.replica.port for number in range(3))
        return named and self.replica.client(password=self._auth or None).info("replication")["role"] == "master"

    def _named(self, number: int) -> int:
        with self.client(number) as client:
            return int(client.sentinel_get_master_addr_by_name(SERVICE)[1])

    def _sees_all(self, number: int) -> bool:
        with self.client(number) as client:
            state = client.sentinel_master(SERVICE)
            return state["num-other-sentinels"] == 2 and state["num-slaves"] == 1

    def _sentinel_password(self) -> str:
        return next((line.split()[1] for line in self._extra if line.startswith("requirepass ")), "")

    def _spawn(self, number: int) -> None:
        port = free_port()
        lines = [
            f"port {port}",
            f"bind {HOST}",
            f"dir {self._home}",
            f"sentinel monitor {SERVICE} {HOST} {self.primary.port} 2",
            f"sentinel down-after-milliseconds {SERVICE} 500",
            f"sentinel failover-timeout {SERVICE} 3000",
            *([f"sentinel auth-pass {SERVICE} {self._auth}"] if self._auth else []),
            *self._extra,
        ]
        path = self._home / f"sentinel{number}.conf"
        path.write_text("\n".join(lines) + "\n")
        leash = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with (self._home / f"sentinel{number}.log").open("wb") as log:
            command = [*leash, self.binary, str(path), "--sentinel"]
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self._home))
        self.ports.append(port)
