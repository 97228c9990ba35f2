"""Everything that one peer meets in one fault: an engine, a proxy before its store, an API, workers and senders."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import redis

from bench.peers.cast import Peer
from bench.peers.sender import READY
from bench.peers.terms import QUEUE
from tasks.receiver import Fault, Receiver
from tests.engines import Engine
from tests.pipeline.nodes import WorkerProcess
from tests.pipeline.proxy import Proxy
from tests.pipeline.waiting import eventually

ROOT = Path(__file__).parents[2]
STORE_DB, RESULTS_DB = 1, 2

SLOWLY = Fault("stall", times=None, seconds=0.2)
"""How the API answers when nothing is wrong: committed at once, answered after 200 ms."""

START_S = 120.0
QUIET_S = 2.0
SETTLE_S = 90.0

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")


class World:
    """See the module.

    Attributes:
        home: every file is below it.
        jobs: names of the jobs.
        engine: broker, results and store.
        proxy: between everybody and the store; the broker is reached without it.
        receiver: the API.
        notes: what happened that the fault did not ask for.
    """

    def __init__(self, home: Path, peer: Peer, jobs: int, engine: Engine, proxy: Proxy, receiver: Receiver) -> None:
        self.home, self.jobs = home, [f"JOB-{number:03}" for number in range(jobs)]
        self.engine, self.proxy, self.receiver = engine, proxy, receiver
        self.notes: list[str] = []
        self._peer = peer
        self._points = home / "points"
        self._points.mkdir()
        self._workers: dict[str, WorkerProcess] = {}
        self._senders: list[subprocess.Popen[bytes]] = []
        self._broker = engine.client()
        self._closed_at = ""
        receiver.faults.put(SLOWLY)

    def worker(self, name: str = "a", stops_at: str = "") -> WorkerProcess:
        """Start a worker with a process per job, or start it again, and wait until it is ready.

        Args:
            name: only the tasks of `a` stop anywhere.
            stops_at: every task waits at this point until `go_on`.
        """
        if stops_at:
            (self._points / stops_at).touch()
        if name not in self._workers:
            argv = [sys.executable, "-m", "celery", "-A", self._peer.module, "worker", "-l", "info"]
            argv += ["--without-mingle", "--without-gossip", "-c", str(len(self.jobs))]
            env = self._env() | ({"PEERS_POINTS": str(self._points)} if name == "a" else {})
            self._workers[name] = WorkerProcess(argv, env, self.home, name, QUEUE)
        worker = self._workers[name]
        before = len(worker.logs())
        worker.start()
        eventually(lambda: worker.ready_prompt in worker.logs()[before:], f"{name} ready", START_S, worker.logs)
        return worker

    def send(self, copies: int = 1) -> None:
        """Send every job, once or by several senders at the same moment."""
        for sender in self.sending(copies):
            sender.wait(START_S)

    def sending(self, copies: int = 1) -> list[subprocess.Popen[bytes]]:
        """Start to send."""
        if not self._closed_at:
            # A moment ago, and since the workers began: as a candle's close is.
            self._closed_at = (datetime.now(UTC) - timedelta(milliseconds=1)).isoformat()
        go = self.home / f"go{len(self._senders)}"
        argv = [sys.executable, "-m", "bench.peers.sender", self._peer.module, str(go), self._closed_at, *self.jobs]
        started = [self._run_sender(argv) for _ in range(copies)]
        logs = [self.home / f"sender{number}.log" for number in range(len(self._senders) - copies, len(self._senders))]
        eventually(lambda: all(READY in log.read_text() for log in logs), "senders ready", START_S, self.logs)
        go.touch()
        return started

    def until_stopped_at(self, point: str) -> set[int]:
        """Wait until every job is at a point, and say in which processes."""

        def there() -> dict[str, int]:
            names = [path.name.split(".") for path in self._points.glob(f"{point}.*")]
            found = {job: int(pid) for _, job, pid in names}
            return found if len(found) == len(self.jobs) else {}

        return set(eventually(there, f"all jobs to be at {point!r}", START_S, self.logs).values())

    def go_on(self) -> None:
        """Let no task stop any more."""
        for path in self._points.iterdir():
            if "." not in path.name:
                path.unlink()

    def until_posts(self, count: int) -> None:
        """Wait until the API has taken so many POSTs."""
        eventually(lambda: len(self.receiver.read().posts) >= count, f"{count} POSTs", START_S, self.logs)

    def settle(self) -> None:
        """Wait until the broker has no message left: then nothing more will happen. Workers that exited come back."""
        until, quiet_since = time.monotonic() + SETTLE_S, 0.0
        while time.monotonic() < until:
            self._restart_dead()
            now = time.monotonic()
            if self._messages():
                quiet_since = 0.0
            elif not quiet_since:
                quiet_since = now
            elif now - quiet_since >= QUIET_S:
                return
            time.sleep(0.1)
        self.notes.append(f"{self._messages()} messages were left in the broker after {SETTLE_S:g} s")

    def store(self) -> dict[str, str]:
        """Every text that the store holds, by its key."""
        with redis.Redis.from_url(self._url_of(STORE_DB), decode_responses=True) as client:
            texts = [key for key in client.scan_iter() if client.type(key) == "string"]
            return {key: str(client.get(key)) for key in texts}

    def logs(self) -> str:
        """What every process wrote."""
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')}" for path in self.home.glob("*.log"))

    def close(self) -> None:
        """End what runs."""
        for sender in self._senders:
            sender.kill()
            sender.wait()
        for worker in self._workers.values():
            worker.teardown()

    def _run_sender(self, argv: list[str]) -> subprocess.Popen[bytes]:
        with (self.home / f"sender{len(self._senders)}.log").open("wb") as log:
            sender = subprocess.Popen(argv, env=self._env(), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        self._senders.append(sender)
        return sender

    def _env(self) -> dict[str, str]:
        own = {name: os.environ[name] for name in _KEPT if name in os.environ}
        addresses = {
            "PEERS_BROKER": self.engine.url,
            "PEERS_RESULTS": self._url_of(RESULTS_DB),
            "PEERS_STORE": self.proxy.through(self._url_of(STORE_DB)),
            "PEERS_API": self.receiver.signals_url,
        }
        return own | addresses | dict(self._peer.env) | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def _url_of(self, db: int) -> str:
        return f"{self.engine.url.removesuffix('/0')}/{db}"

    def _messages(self) -> int:
        waiting, taken = self._broker.pipeline().llen(QUEUE).hlen("unacked").execute()
        return int(waiting) + int(taken)

    def _restart_dead(self) -> None:
        for name, worker in self._workers.items():
            if worker.status == "exited":
                self.notes.append(f"worker {name} had exited and was started again")
                self.worker(name)


@contextmanager
def world(home: Path, peer: Peer, jobs: int) -> Iterator[World]:
    """A world of its own for one fault."""
    with (
        Engine(config={"maxmemory-policy": "noeviction"}) as engine,
        Proxy(engine.port) as proxy,
        Receiver(home / "posts.jsonl", plain=not peer.idempotent) as receiver,
    ):
        found = World(home, peer, jobs, engine, proxy, receiver)
        try:
            yield found
        finally:
            found.close()
