"""A broker, a store, real workers and beats, and what they leave behind."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from celery.result import AsyncResult

from dedup.records import Record
from tests.celery_tasks.shop import make_app
from tests.engines import Engine
from tests.pipeline.nodes import ProcessContainer, WorkerProcess
from tests.pipeline.waiting import eventually

ROOT = Path(__file__).parents[2]
CELERY = (sys.executable, "-m", "celery", "-A", "tests.celery_tasks.worker")
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
_numbers = itertools.count()


class Workshop:
    """See the module.

    Args:
        home: log files are made here.
        broker: broker, results and evidence.
        store: where claims live.
    """

    def __init__(self, home: Path, broker: Engine, store: Engine) -> None:
        self.home, self.broker, self.store = home, broker, store
        self.app: Celery = make_app(broker.url, store.url)
        self.evidence: redis.Redis = redis.Redis.from_url(f"{broker.url.rpartition('/')[0]}/2", decode_responses=True)
        self.processes: list[ProcessContainer] = []
        own = {name: os.environ[name] for name in _KEPT if name in os.environ}
        addresses = {"SHOP_BROKER": broker.url, "SHOP_STORE": store.url}
        self.env = own | addresses | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def worker(self, name: str = "worker", pool: str = "prefork", processes: int = 2) -> WorkerProcess:
        """Start a worker and wait until it is ready."""
        options = ["-l", "info", "--without-mingle", "--without-gossip", "-P", pool, "-c", str(processes)]
        worker = WorkerProcess([*CELERY, "worker", *options], self.env, self.home, name, "shop")
        return self._started(worker)  # type: ignore[return-value]

    def beat(self, schedule: dict[str, Any]) -> ProcessContainer:
        """Start a beat with a schedule."""
        argv = [*CELERY, "beat", "-l", "info", "-S", "celery.beat:Scheduler"]
        env = {**self.env, "SHOP_SCHEDULE": json.dumps(schedule)}
        return self._started(ProcessContainer(argv, env, self.home, "beat", prompt="beat: Starting"))

    def send(self, rule: str, name: str, then: str = "return", **options: Any) -> AsyncResult[Any]:
        """Send ``shop.{rule}`` as who does not know its class does: by name."""
        return self.app.send_task(f"shop.{rule}", (name,), {"then": then}, **options)

    def task(self, rule: str) -> Any:
        """The task itself."""
        return self.app.tasks[f"shop.{rule}"]

    def record(self, rule: str, name: str) -> Record | None:
        """The record of its work."""
        found: Record | None = self.task(rule).once_record((name,))
        return found

    def runs(self, name: str) -> list[dict[str, Any]]:
        """Every run of a name, in order."""
        return [json.loads(text) for text in self.evidence.lrange(f"ran:{name}", 0, -1)]  # type: ignore[union-attr]

    def plain(self) -> list[Any]:
        """What the tasks without a claim were given, in order."""
        return [json.loads(text) for text in self.evidence.lrange("plain", 0, -1)]  # type: ignore[union-attr]

    def tell(self, name: str, *words: str) -> None:
        """Tell the runs of a name that hold what to do, the one that has held longest first."""
        self.evidence.rpush(f"go:{name}", *words)

    def until_runs(self, name: str, count: int) -> list[dict[str, Any]]:
        """Wait until a name has run that often."""
        self.until(lambda: len(self.runs(name)) >= count, f"{count} runs of {name}")
        return self.runs(name)

    def until_state(self, result: AsyncResult[Any], state: str) -> None:
        """Wait until a result has a state."""
        self.until(lambda: result.state == state, f"{result.id} to be {state}")

    def until(self, holds: Any, what: str) -> Any:
        """Wait until something holds."""
        return eventually(holds, what, situation=self.logs)

    def logs(self) -> str:
        """What all processes wrote."""
        return "\n".join(f"--- {one.name}\n{one.logs()}" for one in self.processes)

    def waiting(self) -> int:
        """Messages in the queue, and messages that a worker has and has not acknowledged."""
        with self.broker.client() as client:
            return int(client.llen("shop")) + int(client.hlen("unacked"))  # type: ignore[arg-type]

    def kill_child(self, name: str) -> None:
        """SIGKILL for the pool process that ran a name last."""
        os.kill(self.runs(name)[-1]["pid"], signal.SIGKILL)

    def close(self) -> None:
        """End every process and connection."""
        for process in self.processes:
            process.teardown()
        self.app.close()
        self.evidence.close()
        base = self.task("once")
        base.evidence.close()
        base.store.close()

    def _started(self, process: ProcessContainer) -> ProcessContainer:
        self.processes.append(process)
        process.start()
        process.ready()
        return process


@contextmanager
def workshop(home: Path, broker: Engine, store: Engine) -> Iterator[Workshop]:
    """A workshop that ends with its block."""
    found = Workshop(home, broker, store)
    try:
        yield found
    finally:
        found.close()


def fresh(what: str) -> str:
    """A name that no other test uses."""
    return f"{what}-{next(_numbers)}"
