"""A RabbitMQ of a test's own: Debian's server as a process, with its own data, ports and name daemon."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import psutil
import pytest

from tests.engines import HOST, free_port

# Debian's wrapper in the PATH insists on a user and folders of the system.
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
START_S = 240.0


class Rabbit:
    """One RabbitMQ node. It can be killed and started again on its ports and data."""

    def __init__(self) -> None:
        if not SERVER.exists():
            pytest.skip("RabbitMQ is not installed: apt-get install rabbitmq-server")
        self.home = Path(tempfile.mkdtemp(prefix="rabbit-"))
        self.port, self._distribution, self._names = free_port(), free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where Celery is to connect."""
        return f"amqp://guest:guest@{HOST}:{self.port}//"

    @property
    def log(self) -> str:
        """What the server said."""
        path = self.home / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Self:
        """Start it and wait until it listens.

        Raises:
            RuntimeError: it did not come up; the message holds its log.
        """
        (self.home / "plugins").write_text("[].\n")
        with (self.home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(SERVER)], env=self._environment(), stdout=log, stderr=log, cwd=self.home, start_new_session=True
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"RabbitMQ did not come up:\n{self.log[-3000:]}")
            time.sleep(0.1)
        return self

    def kill(self) -> None:
        """SIGKILL the node with all that it started."""
        for process in self._family():
            process.kill()
        if self._process is not None:
            self._process.wait()

    def close(self) -> None:
        """End it and remove its data."""
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=2) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(connection.recv(1))
        except OSError:
            return False

    def _family(self) -> list[psutil.Process]:
        """Every process that carries our environment: the name daemon leaves its parent."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("RABBITMQ_MNESIA_BASE") == str(self.home / "data"):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_MNESIA_BASE": str(self.home / "data"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.home / "none"),
            "RABBITMQ_PID_FILE": str(self.home / "pid"),
            "ERL_EPMD_PORT": str(self._names),
            "ERL_EPMD_ADDRESS": HOST,
            # One scheduler that does not spin: the machine is shared with the pipeline.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }
