"""Celery processes that start in a moment: forked from a process that has imported everything already.

Importing takes most of a worker's start, and tests that kill a worker at each of thirty points start many. What runs is
``celery.__main__.main()`` all the same, with an environment, a session and a log of its own. `python -m
tests.pipeline.preloaded` is the process that forks; it takes one JSON object a line and answers each with a process id.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import psutil

from tasks.supervisor import Spec
from tests.pipeline.nodes import leash

ROOT = Path(__file__).parents[2]
PR_SET_PDEATHSIG = 1
POLL_S = 0.02

MODULES = (
    "celery.__main__",
    "celery.bin.celery",
    "celery.app.log",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.backends.redis",
    "celery.concurrency.asynpool",
    "celery.concurrency.prefork",
    "celery.events.state",
    "celery.fixups.django",
    "celery.loaders.app",
    "celery.worker.consumer",
    "celery.worker.consumer.consumer",
    "celery.worker.consumer.delayed_delivery",
    "celery.worker.autoscale",
    "celery.worker.components",
    "celery.worker.request",
    "celery.worker.strategy",
    "celery.worker.worker",
    "kombu.asynchronous.hub",
    "kombu.transport.redis",
    "tasks",
    "tasks.candles",
    "tasks.lifecycle",
    "tasks.publish",
    "tasks.sources.csv_file",
    "tasks.sweep",
    "tests.faults.labels",
    "tests.pipeline.strategies",
)
"""What a worker imports, up to its own app."""


class Preloaded:
    """Starts processes, from any thread; a context manager. They end with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [*leash(), sys.executable, "-m", "tests.pipeline.preloaded"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Its children are leashed to it.
        self._process.kill()
        self._process.communicate()

    def launch(self, spec: Spec, log_dir: Path) -> Forked:
        """What `tasks.supervisor.Supervised` is for a process of its own: not started yet."""
        return Forked(self, spec, log_dir)

    def fork(self, argv: Sequence[str], spec: Spec, log: Path) -> int:
        """Start a process and give its id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"argv": list(argv), "env": dict(spec.env), "log": str(log)}
        with self._lock:
            print(json.dumps(order), file=self._process.stdin, flush=True)
            return int(self._process.stdout.readline())


class Forked:
    """A process of `Preloaded`; see `tasks.supervisor.Supervised`, whose methods it has."""

    def __init__(self, preloaded: Preloaded, spec: Spec, log_dir: Path) -> None:
        self.spec = spec
        self.log_path = log_dir / f"{spec.name}.log"
        self.starts = 0
        self.pid = 0
        self._preloaded = preloaded

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self.pid != 0 and psutil.pid_exists(self.pid)

    def start(self) -> None:
        """Start it, its output appended to its log."""
        self._end_group()
        argv = self.spec.argv
        # Whatever stands before it only starts Python with Celery in it.
        self.pid = self._preloaded.fork(argv[argv.index("celery") :], self.spec, self.log_path)
        self.starts += 1

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and its children."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def ask_to_stop(self) -> None:
        """SIGTERM to the process alone, which sees to its children."""
        if self.running:
            os.kill(self.pid, signal.SIGTERM)

    def wait(self, timeout_s: float) -> None:
        """Wait for its end; what is left of its group is killed."""
        deadline = time.monotonic() + timeout_s
        while self.running and time.monotonic() < deadline:
            time.sleep(POLL_S)
        self._end_group()

    def _end_group(self) -> None:
        if self.pid:
            self.signal(signal.SIGKILL)
            while self.running:
                time.sleep(POLL_S)


def main() -> None:
    """Fork as told until there is nobody to tell it."""
    for module in MODULES:
        importlib.import_module(module)
    # The kernel buries the children.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(order["argv"], order["env"], order["log"])
        print(pid, flush=True)


def _become(argv: list[str], env: dict[str, str], log: str) -> NoReturn:
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = argv
    from celery.__main__ import main as celery

    status = 1
    try:
        status = int(celery() or 0)
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
