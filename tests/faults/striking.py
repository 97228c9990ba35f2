"""A deployment whose workers are struck at labelled points, one point after the other, and recover."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dedup.rules import new_token
from dedup.timeframe import Candle
from tasks.evaluation import ask_source, evaluate_bars
from tests.faults.labels import Fallen, Stroke, environment
from tests.faults.points import strokes, subjects
from tests.pipeline.deploying import LIMITS, deploy, watch
from tests.pipeline.deployment import CELERY, Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of
from tests.pipeline.nodes import WorkerProcess
from tests.pipeline.preloaded import Preloaded
from tests.pipeline.waiting import eventually

COMMAND = [word if word != "tasks" else "tests.faults.app" for word in CELERY]
LEASE_S = float(LIMITS["PUBLISH_LEASE"])
STOPPED_S = LEASE_S + 1.0
SWEEP_EVERY_S = 0.4
POLL_S = 0.05
RESULT_S = 4.0
PATIENCE_S = 120.0
QUIET_S = 0.7
GRACE_S = 10 * float(LIMITS["SWEEP_GRACE"])
SETTINGS = {"MAX_FAILURES": "5", "VISIBILITY_TIMEOUT": "8"}
"""A message that a struck worker held comes again beside the sweep's."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of one instrument.

    Attributes:
        candle, signal: their outcomes.
        reason: the signal's.
        posts, effects: of the signal at the API.
        settled_at_s: when both were settled, seconds since the epoch.
    """

    candle: str
    signal: str
    reason: str
    posts: int
    effects: int
    settled_at_s: float


class Striking:
    """A deployment under a plan.

    Args:
        deployment: without workers yet.
        plan: what is to happen, in order.
        workers: how many.
    """

    def __init__(self, deployment: Deployment, plan: list[Stroke], workers: int) -> None:
        self.deployment, self.plan = deployment, plan
        self.marks = deployment.home / "marks"
        self.marks.mkdir()
        env = environment(plan, self.marks)
        self.crew: list[WorkerProcess] = [
            deployment.worker(f"worker{number}", processes=1, wait=False, command=COMMAND, **env)
            for number in range(workers)
        ]
        self._swept_s = 0.0
        self._continued: dict[int, float] = {}

    def run(self) -> None:
        """Let every stroke fall, and everything be settled afterwards."""
        for worker in self.crew:
            worker.ready()
        for stroke in self.plan:
            self._strike(stroke, sweeping=stroke.task != "sweep")
        self._until(lambda: all(map(self._settled, self.plan)), "everything to be settled")
        self._until(lambda: self._able() == len(self.crew), "every worker to be back")
        for worker in self.crew:
            os.kill(worker.pid, signal.SIGTERM)
        for worker in self.crew:
            worker.wait()

    def seen(self, instrument: str) -> Seen:
        """What became of an instrument."""
        candle = candle_of(instrument)
        records = self.deployment.candle_record(candle), self.deployment.signal_record(candle)
        at_ms = max((record.at_ms for record in records if record), default=0)
        return Seen(
            self.deployment.candle_outcome(candle),
            self.deployment.signal_outcome(candle),
            records[1].reason if records[1] else "",
            len(self.deployment.posts(candle)),
            self.deployment.effects(candle),
            at_ms / 1000,
        )

    def recovery_s(self, stroke: Stroke) -> float:
        """From the stroke to the settling of the last of its subjects; 0 where they were settled before."""
        fallen = stroke.fallen(self.marks)
        assert fallen is not None
        return max(0.0, max(self.seen(name).settled_at_s for name in subjects(stroke)) - fallen.at_s)

    def _strike(self, stroke: Stroke, sweeping: bool) -> None:
        self._until(lambda: self._able() > 1 and (sweeping or self._quiet()), "workers", sweeping)
        self._begin(stroke)
        self._until(lambda: stroke.fallen(self.marks), f"{stroke} to fall", sweeping)
        if not sweeping:
            self._until(lambda: self._settled(stroke), f"what {stroke} left")
            self._sweep_and_wait()

    def _able(self) -> int:
        """How many workers take work."""
        stopped = {fallen.group for _, fallen in self._fallen() if fallen.at_s > self._continued.get(fallen.group, 0)}
        return sum(worker.works and worker.pid not in stopped for worker in self.crew)

    def _quiet(self) -> bool:
        """Whether no worker was let go on just now or will be soon: its old sweep would find what a new one is to."""
        ages_s = [time.time() - fallen.at_s for stroke, fallen in self._fallen() if stroke.how == "SIGSTOP"]
        return all(abs(age_s - STOPPED_S) > QUIET_S for age_s in ages_s)

    def _fallen(self) -> list[tuple[Stroke, Fallen]]:
        found = ((stroke, stroke.fallen(self.marks)) for stroke in self.plan)
        return [(stroke, fallen) for stroke, fallen in found if fallen is not None]

    def _begin(self, stroke: Stroke) -> None:
        for name in subjects(stroke):
            self._unlock(candle_of(name))
        if stroke.task == "sweep":
            for name in subjects(stroke)[2:]:
                self._evaluated_before(candle_of(name))
            # What has only just been evaluated is left to its own task for SWEEP_GRACE, by this sweep too.
            time.sleep(GRACE_S)
            self.deployment.app.send_task("sweep", task_id=stroke.subject)
        else:
            self.deployment.evaluate(candle_of(stroke.subject))

    def _unlock(self, candle: Candle) -> None:
        cache = self.deployment.line.candles(candle.timeframe)
        cache.delete(cache.key(candle.instrument, candle.timeframe, candle.start))

    def _evaluated_before(self, candle: Candle) -> None:
        """As an earlier worker left it: evaluated, and its publish message lost."""
        line = self.deployment.line
        watched = line.watchlist.find(candle.instrument, str(candle.timeframe))
        assert watched is not None
        age_s = line.settings.max_age_s(candle.timeframe)
        found = evaluate_bars(watched, candle, ask_source(watched, candle), age_s)
        cache, token = line.candles(candle.timeframe), new_token()
        key = cache.key(candle.instrument, candle.timeframe, candle.start)
        cache.claim(key, token)
        cache.complete(key, token, "evaluated", {"signals": [one.fields() for one in found.signals]})

    def _settled(self, stroke: Stroke) -> bool:
        candles = [candle_of(name) for name in subjects(stroke)]
        outcomes = (self.deployment.candle_outcome, self.deployment.signal_outcome)
        return all(outcome(candle) for candle in candles for outcome in outcomes)

    def _until(self, holds: Callable[[], Any], what: str, sweeping: bool = True) -> None:
        def tended() -> Any:
            time.sleep(POLL_S)
            self._tend()
            if sweeping:
                self._sweep()
            return holds()

        self.deployment.until(tended, what, PATIENCE_S)

    def _tend(self) -> None:
        """Start what was killed, and let go on what was stopped beyond its lease."""
        for worker in self.crew:
            if worker.status != "running":
                worker.start()
        for stroke, fallen in self._fallen():
            held_s = STOPPED_S if stroke.how == "SIGSTOP" else 0
            if fallen.at_s > self._continued.get(fallen.group, 0) and time.time() - fallen.at_s > held_s:
                self._continued[fallen.group] = time.time()
                with suppress(ProcessLookupError):
                    os.killpg(fallen.group, signal.SIGCONT)

    def _sweep(self) -> None:
        if time.monotonic() - self._swept_s > SWEEP_EVERY_S:
            self._swept_s = time.monotonic()
            self.deployment.app.send_task("sweep", expires=2 * SWEEP_EVERY_S)

    def _sweep_and_wait(self) -> None:
        """Sweep until one was seen to end: all that were sent before have been taken."""
        ended = False
        while not ended:
            sent = self.deployment.send("sweep")
            with suppress(AssertionError):
                ended = eventually(lambda s=sent: s.state == "SUCCESS", "a sweep", RESULT_S)
            self._tend()


@contextmanager
def struck(homes: Mapping[str, Path], how: str, workers: int) -> Iterator[dict[str, Striking]]:
    """A deployment for each policy that was struck at every point, when everything in them is settled.

    Args:
        homes: an empty directory for each policy.
        how: name of the signal that falls.
        workers: of each deployment.
    """
    with ExitStack() as stack:
        preloaded = stack.enter_context(Preloaded())
        found = {}
        for policy, home in homes.items():
            plan = strokes(how, policy)
            deployment = stack.enter_context(_deployed(home, policy, plan))
            deployment.launch = preloaded.launch
            found[policy] = Striking(deployment, plan, workers)
        # Not started in these threads: an engine is leashed to the thread that starts it.
        with ThreadPoolExecutor(len(found)) as pool:
            for running in [pool.submit(striking.run) for striking in found.values()]:
                running.result()
        yield found


@contextmanager
def _deployed(home: Path, policy: str, plan: Sequence[Stroke]) -> Iterator[Deployment]:
    instruments = [name for stroke in plan for name in subjects(stroke)]
    with deploy(home, [watch(*instruments)], ON_UNKNOWN=policy, **SETTINGS) as deployment:
        for name in instruments:
            deployment.feed(name, [ORIGIN - HOUR, ORIGIN])
            candle = candle_of(name)
            cache = deployment.line.candles(candle.timeframe)
            # Whoever wrote it has dealt with it: no sweep takes it before its turn.
            cache.set(cache.key(name, candle.timeframe, candle.start), "not yet")
        yield deployment
