"""A deployment of the pipeline on this machine, as a test wants it: real engine, real API, real workers and beats.

Its world is small: market time begins at `ORIGIN`, and each instrument's hourly candle closes just then. Nothing runs
until a test starts it, and the sweep comes when a test calls for it.
"""

from __future__ import annotations

import json
import re
import sys
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from celery import Celery
from celery.result import AsyncResult

from dedup.alignment import closed_between
from dedup.ops import Peeked
from dedup.records import Record
from dedup.signals import Signal, signal_id
from dedup.timeframe import Candle
from tasks.app import celery_config
from tasks.clock import Clock
from tasks.outcomes import parse_outcome
from tasks.receiver import Post, Receiver
from tasks.runtime import Pipeline, make_pipeline
from tasks.settings import Settings, load_settings
from tasks.supervisor import Supervised
from tests.engines import Engine
from tests.pipeline.feeds import HEADER, row_at
from tests.pipeline.nodes import Launch, ProcessContainer, WorkerProcess
from tests.pipeline.waiting import DEADLINE_S, eventually

ROOT = Path(__file__).parents[2]
QUEUES = "control,candles,publish"
CELERY = (sys.executable, "-m", "celery", "-A", "tasks")

SWEEP_EVERY_S = 0.25


@dataclass
class Deployment:
    """Addresses, environment and processes of one deployment; see `tests.pipeline.deploying.deploy`.

    Attributes:
        home: every file is below it.
        engine: broker, store and result backend.
        receiver: the API.
        env: what its processes get.
        launch: what starts them.
    """

    home: Path
    engine: Engine
    receiver: Receiver
    env: dict[str, str]
    processes: dict[str, ProcessContainer] = field(default_factory=dict)
    launch: Launch = Supervised

    @cached_property
    def line(self) -> Pipeline:
        """The test's own view, with the settings that the workers have."""
        given = {name.lower(): value for name, value in self.env.items() if name.lower() in Settings.model_fields}
        return make_pipeline(load_settings(_env_file=None, **given))

    @cached_property
    def app(self) -> Celery:
        """A client of the broker."""
        app = Celery("client", set_as_current=False)
        app.conf.update(celery_config(self.line.settings))
        return app

    @property
    def clock(self) -> Clock:
        """Market time."""
        return self.line.clock

    def close(self) -> None:
        """End every process and connection."""
        for process in self.processes.values():
            process.teardown()
        self.app.close()
        self.line.store.close()

    def worker(
        self,
        name: str = "worker1",
        queues: str = QUEUES,
        processes: int = 2,
        wait: bool = True,
        command: Sequence[str] = CELERY,
        **env: str,
    ) -> WorkerProcess:
        """Start a worker."""
        argv = [*command, "worker", "-l", "info", "--without-mingle", "--without-gossip", "-c", str(processes)]
        worker = WorkerProcess(argv, {**self.env, **env}, self.home, name, queues, self.launch)
        self._run(worker, wait)
        return worker

    def beat(self, name: str = "beat1", wait: bool = True) -> ProcessContainer:
        """Start a beat."""
        beat = ProcessContainer(
            [*CELERY, "beat", "-l", "info"], self.env, self.home, name, "beat: Starting", self.launch
        )
        self._run(beat, wait)
        return beat

    def _run(self, process: ProcessContainer, wait: bool) -> None:
        self.processes[process.name] = process
        process.start()
        if wait:
            process.ready()

    def feed(self, instrument: str, bars: Iterable[datetime], timeframe: str = "1h", afresh: bool = False) -> None:
        """Append bars to an instrument's file, or write it `afresh`. The newest one counts as not final yet."""
        path = self.home / "feed" / f"{instrument}-{timeframe}.csv"
        header = "" if path.exists() and not afresh else HEADER
        with path.open("w" if afresh else "a") as file:
            file.write(header + "".join(map(row_at, bars)))

    def send(self, task: str, **kwargs: Any) -> AsyncResult[Any]:
        """Send a task as the pipeline does."""
        return self.app.send_task(task, kwargs=kwargs)

    def evaluate(self, candle: Candle) -> AsyncResult[Any]:
        """Send `evaluate_candle`."""
        start = candle.start.isoformat().replace("+00:00", "Z")
        return self.send(
            "evaluate_candle", instrument=candle.instrument, timeframe=str(candle.timeframe), candle_start=start
        )

    def publish(self, signal: Signal) -> AsyncResult[Any]:
        """Send `publish_signal`."""
        return self.send("publish_signal", signal=signal.fields())

    def result(self, sent: AsyncResult[Any]) -> dict[str, Any]:
        """Wait for a task's result. A task that failed raises its error."""
        self.until(lambda: sent.state in ("SUCCESS", "FAILURE"), f"the result of {sent.id}")
        found: dict[str, Any] = sent.get(timeout=5)
        return found

    def run(self, candle: Candle) -> dict[str, Any]:
        """Evaluate a candle and wait for its result."""
        return self.result(self.evaluate(candle))

    def sweep(self) -> dict[str, Any]:
        """Sweep once, in a worker, and wait for its result."""
        return self.result(self.send("sweep"))

    def sweep_until(self, holds: Callable[[], Any], what: str) -> None:
        """Sweep again and again, as beat would, until something holds."""
        last_s = 0.0

        def swept() -> bool:
            nonlocal last_s
            if holds():
                return True
            if time.monotonic() - last_s > SWEEP_EVERY_S:
                self.sweep()
                last_s = time.monotonic()
            return False

        self.until(swept, what)

    def until(self, holds: Callable[[], Any], what: str, timeout_s: float = DEADLINE_S) -> Any:
        """Wait until something holds; on failure the ends of all logs are shown."""
        return eventually(holds, what, timeout_s, self.situation)

    def situation(self) -> str:
        """Ends of all logs."""
        logs = (f"--- {name} ({one.status})\n{one.logs()[-2500:]}" for name, one in self.processes.items())
        return "\n".join(logs)

    def outcomes(self, task: str, instrument: str | None = None) -> Counter[str]:
        """How often deliveries of a task ended how, from the workers' logs."""
        found = [outcome for one in self.processes.values() for outcome in _outcomes(one)]
        chosen = (one for one in found if one["task"] == task and instrument in (None, one.get("instrument")))
        return Counter(str(one["outcome"]) for one in chosen)

    def peek(self, candle: Candle) -> Peeked:
        """The record of a candle and the store's clock."""
        cache = self.line.candles(candle.timeframe)
        return cache.peek_many([cache.key(candle.instrument, candle.timeframe, candle.start)])[0]

    def candle_record(self, candle: Candle) -> Record | None:
        """The record of a candle."""
        return self.peek(candle).record

    def candle_outcome(self, candle: Candle) -> str:
        """How a candle is settled; empty while it is not."""
        record = self.candle_record(candle)
        return record.outcome if record else ""

    def signal(self, candle: Candle, strategy: str = "always_buy") -> Signal:
        """The signal that a strategy of these tests makes of a candle, as the candle's record carries it."""
        record = self.candle_record(candle)
        carried = record.value["signals"] if record else []
        return next(Signal.parse(fields) for fields in carried if fields["strategy"] == strategy)

    def signal_key(self, candle: Candle, strategy: str = "always_buy") -> str:
        """The key of the signal that a strategy makes of a candle."""
        return self.line.signals.key(candle.instrument, candle.start, candle.timeframe, strategy)

    def signal_record(self, candle: Candle, strategy: str = "always_buy") -> Record | None:
        """The record of that signal."""
        return self.line.signals.record(self.signal_key(candle, strategy))

    def signal_outcome(self, candle: Candle, strategy: str = "always_buy") -> str:
        """How that signal is settled: its outcome, `held`, or empty while it is not."""
        record = self.signal_record(candle, strategy)
        if record is None:
            return ""
        return "held" if record.held else record.outcome

    def posts(self, candle: Candle, strategy: str = "always_buy") -> list[Post]:
        """Every POST of that signal that reached the API."""
        name = signal_id(strategy, candle.instrument, candle.timeframe, candle.start)
        return [post for post in self.receiver.read().posts if post.key == name]

    def effects(self, candle: Candle, strategy: str = "always_buy") -> int:
        """How many effects that signal had at the API."""
        return sum(post.effect for post in self.posts(candle, strategy))

    def waiting(self, queue: str) -> list[dict[str, Any]]:
        """The messages that wait in a queue, oldest first."""
        with self.engine.client() as client:
            texts = client.lrange(queue, 0, -1)
        return [json.loads(text) for text in reversed(list(texts))]

    def kwargs_of(self, message: dict[str, Any]) -> dict[str, Any]:
        """The arguments that a message carries."""
        _, kwargs, _ = json.loads(b64decode(message["body"]))
        found: dict[str, Any] = kwargs
        return found

    def received(self, task: str) -> list[str]:
        """Ids of the messages of a task that workers received, from their logs."""
        logs = "".join(one.logs() for one in self.processes.values())
        return re.findall(rf"Task {task}\[([0-9a-f-]+)\] received", logs)

    def closed(self, instruments: Sequence[str], timeframe: str, after: datetime, until: datetime) -> list[Candle]:
        """The candles of a span, as they should all be worked."""
        found = (self.line.watchlist.find(name, timeframe) for name in instruments)
        watches = [one for one in found if one is not None]
        return [
            candle
            for one in watches
            for candle in closed_between(one.alignment, one.instrument, one.timeframe, after, until)
        ]


def _outcomes(process: ProcessContainer) -> list[dict[str, Any]]:
    found = (parse_outcome(line) for line in process.logs().splitlines())
    return [outcome for outcome in found if outcome is not None]
