"""Starts processes, starts again what exits, and stops what it started and nothing else.

Celery workers sometimes exit when Redis restarts instead of reconnecting, so whatever runs them has to supervise. Each
process gets a session of its own: Ctrl-C in the terminal reaches only the supervisor, and a signal to the session's
group reaches a worker's children too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.refusal import EX_CONFIG

log = logging.getLogger("candlelatch.supervisor")

RESTART_WAIT_S = 0.5
STOP_WAIT_S = 15.0


@dataclass(frozen=True, slots=True)
class Spec:
    """One process to keep running.

    Attributes:
        name: unique; the log file is named for it.
        argv: command and arguments.
        env: the whole environment.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]


class Supervised:
    """One process that is kept running."""

    def __init__(self, spec: Spec, log_dir: Path) -> None:
        self.spec = spec
        self.log_path = log_dir / f"{spec.name}.log"
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id, which is its group's too; 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    @property
    def refuses(self) -> bool:
        """Whether it ended because its configuration is wrong, which starting it again does not mend."""
        return self._process is not None and self._process.poll() == EX_CONFIG

    def start(self) -> None:
        """Start it, its output appended to its log."""
        self._reap_group()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 the caller's own command, without a shell
                list(self.spec.argv),
                env=dict(self.spec.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.starts += 1

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and its children."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def ask_to_stop(self) -> None:
        """SIGTERM to the process alone, which sees to its children."""
        if self.running and self._process is not None:
            self._process.terminate()

    def wait(self, timeout_s: float) -> None:
        """Wait for its end; what is left of its group is killed."""
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        self._reap_group()

    def _reap_group(self) -> None:
        if self._process is None:
            return
        self.signal(signal.SIGKILL)
        self._process.wait()


class Supervisor:
    """Keeps processes running until it is stopped; a context manager.

    Args:
        log_dir: where each process' output goes.
    """

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir
        self._members: dict[str, Supervised] = {}
        self._paused: set[str] = set()
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> Supervisor:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __getitem__(self, name: str) -> Supervised:
        return self._members[name]

    def names(self) -> list[str]:
        """Names in the order of starting."""
        return list(self._members)

    def add(self, spec: Spec) -> Supervised:
        """Start a process and keep it running."""
        with self._lock:
            member = Supervised(spec, self._log_dir)
            self._members[spec.name] = member
            member.start()
        return member

    def kill(self, name: str) -> None:
        """SIGKILL a process with its children. It is started again."""
        self._members[name].signal(signal.SIGKILL)

    def hold_down(self, name: str) -> None:
        """Do not start it again until `release`."""
        with self._lock:
            self._paused.add(name)

    def release(self, name: str) -> None:
        """Keep it running again."""
        with self._lock:
            self._paused.discard(name)

    def restarts(self) -> dict[str, int]:
        """How often each was started again."""
        return {name: member.starts - 1 for name, member in self._members.items() if member.starts > 1}

    def stop(self, names: Sequence[str] | None = None) -> None:
        """Stop processes, all by default, last started first: softly, then for good."""
        if names is None:
            self._stopping.set()
        with self._lock:
            chosen = [self._members[name] for name in (names or list(self._members))]
            self._paused.update(member.spec.name for member in chosen)
            # What others depend on was started first, and stops last.
            *dependants, first = list(reversed(chosen))
            for member in dependants:
                member.ask_to_stop()
            until = time.monotonic() + STOP_WAIT_S
            for member in dependants:
                member.wait(max(0.1, until - time.monotonic()))
            first.ask_to_stop()
            first.wait(STOP_WAIT_S)

    def _watch(self) -> None:
        while not self._stopping.wait(RESTART_WAIT_S):
            with self._lock:
                if self._stopping.is_set():
                    return
                for name, member in self._members.items():
                    if member.running or name in self._paused:
                        continue
                    if member.refuses:
                        self._paused.add(name)
                        log.error("%s refuses its configuration: %s says why", name, member.log_path)
                        continue
                    member.start()
