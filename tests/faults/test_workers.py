"""Workers that are wrong in themselves: redelivered too early, poisoned, in another time, of another version, cut off.

Each scenario is a deployment of its own; they run side by side, and each test looks at one of them.
"""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tasks.receiver import Fault
from tasks.supervisor import Supervised
from tests.faults.conftest import Recovered
from tests.faults.versions import FIELD
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import CELERY, Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of
from tests.pipeline.nodes import WorkerProcess
from tests.pipeline.preloaded import Preloaded
from tests.pipeline.proxy import Proxy

SIX = tuple(f"I{number}" for number in range(6))
TWELVE = tuple(f"I{number}" for number in range(12))
SWEEP_EVERY_S = 0.4
POLL_S = 0.1
PATIENCE_S = 120.0
STALL_S = 7.0
SILENCE_S = 6.0
TEN_MINUTES_S = 600

pytestmark = pytest.mark.timeout(600)


@dataclass
class Run:
    """One scenario on its way.

    Attributes:
        deployment: its processes are started.
        instruments: whose candles are worked.
        began_s: when what is wrong began to matter, `time.monotonic()`.
        settled_s: when everything was settled.
        trouble: why that did not happen.
    """

    deployment: Deployment
    instruments: Sequence[str]
    began_s: float = 0.0
    settled_s: float = 0.0
    proxies: list[Proxy] = field(default_factory=list)
    trouble: BaseException | None = None

    @property
    def workers(self) -> list[WorkerProcess]:
        """The workers."""
        return [one for one in self.deployment.processes.values() if isinstance(one, WorkerProcess)]

    def work(self, instruments: Sequence[str], sweeping: bool = True) -> None:
        """Send candles, and wait until they and their signals are settled, with sweeps and restarts meanwhile."""
        for name in instruments:
            self.deployment.evaluate(candle_of(name))
        swept_s = 0.0

        def settled() -> bool:
            nonlocal swept_s
            time.sleep(POLL_S)
            for worker in self.workers:
                if worker.status != "running":
                    worker.start()
            if sweeping and time.monotonic() - swept_s > SWEEP_EVERY_S:
                swept_s = time.monotonic()
                self.deployment.app.send_task("sweep", expires=2 * SWEEP_EVERY_S)
            return all(map(self.ended, instruments))

        self.deployment.until(settled, "everything to be settled", PATIENCE_S)
        self.settled_s = time.monotonic()

    def ended(self, name: str) -> bool:
        """Whether a candle is settled, and its signal where it has one."""
        outcome = self.deployment.candle_outcome(candle_of(name))
        return outcome == "failed" or (outcome == "evaluated" and bool(self.deployment.signal_outcome(candle_of(name))))

    def candles(self) -> Counter[str]:
        """How the candles ended."""
        return Counter(self.deployment.candle_outcome(candle_of(name)) for name in self.instruments)

    def signals(self) -> Counter[str]:
        """How the signals ended."""
        return Counter(self.deployment.signal_outcome(candle_of(name)) for name in self.instruments)

    def posts(self) -> set[int]:
        """How many POSTs there were of each signal."""
        return {len(self.deployment.posts(candle_of(name))) for name in self.instruments}


Worked = Callable[[str], Run]
Start = Callable[[ExitStack, Path, Preloaded], Run]
START: dict[str, tuple[Start, Callable[[Run], None]]] = {}


def scenario(name: str, work: Callable[[Run], None]) -> Callable[[Start], Start]:
    """Register how a scenario is started, and how it goes on."""

    def register(start: Start) -> Start:
        START[name] = start, work
        return start

    return register


def made(stack: ExitStack, home: Path, preloaded: Preloaded, instruments: Sequence[str], **options: Any) -> Run:
    """A deployment without processes."""
    watches = options.pop("watches", [watch(*instruments)])
    deployment = stack.enter_context(deploy(home, watches, **options))
    deployment.launch = preloaded.launch
    for name in instruments:
        deployment.feed(name, [ORIGIN - HOUR, ORIGIN])
    return Run(deployment, instruments)


def ready(run: Run) -> None:
    """Wait for all workers."""
    for worker in run.workers:
        worker.ready()
    run.began_s = time.monotonic()


def all_at_once(run: Run) -> None:
    """Work all candles."""
    ready(run)
    run.work(run.instruments)


def slowly(run: Run) -> None:
    """Work candles whose POSTs take longer than the broker waits for an acknowledgement."""
    ready(run)
    run.deployment.receiver.faults.put(Fault("stall", seconds=STALL_S, times=None))
    run.work(run.instruments, sweeping=False)


@scenario("visibility", slowly)
def _visibility(stack: ExitStack, home: Path, preloaded: Preloaded) -> Run:
    limits = {"HTTP_DEADLINE": "12", "PUBLISH_TIME_LIMIT": "13", "PUBLISH_LEASE": "15"}
    run = made(stack, home, preloaded, SIX[:2], **limits)
    for name in ("worker1", "worker2"):
        run.deployment.worker(name, wait=False, command=under("tests.faults.unchecked"), VISIBILITY_TIMEOUT="1")
    return run


@scenario("poison", all_at_once)
def _poison(stack: ExitStack, home: Path, preloaded: Preloaded) -> Run:
    watches = [watch("POISON", strategy="kills_its_whole_worker"), watch("GOLD", "SILVER")]
    run = made(stack, home, preloaded, ("POISON", "GOLD", "SILVER"), watches=watches, MAX_FAILURES="3")
    for name in ("worker1", "worker2"):
        run.deployment.worker(name, processes=1, wait=False)
    return run


def _clock(shift_s: int, **env: str) -> Start:
    def start(stack: ExitStack, home: Path, preloaded: Preloaded) -> Run:
        run = made(stack, home, preloaded, SIX, **env)
        run.deployment.worker("right", processes=1, wait=False)
        run.deployment.launch = Supervised
        command = [sys.executable, "-m", "tests.faults.shifted", *CELERY[CELERY.index("celery") :]]
        run.deployment.worker("wrong", processes=1, wait=False, command=command, FAULT_CLOCK_S=str(shift_s))
        return run

    return start


scenario("clock ahead", all_at_once)(_clock(TEN_MINUTES_S))
scenario("clock behind", all_at_once)(_clock(-TEN_MINUTES_S))
scenario("clock ahead of the expiry", all_at_once)(_clock(TEN_MINUTES_S, SIGNAL_MAX_AGE="300"))


def refused_at_first(run: Run) -> None:
    """Work candles whose signals are refused for now, so that records go from one worker to another."""
    ready(run)
    run.deployment.receiver.faults.put(Fault("refuse", seconds=1, times=8), Fault("drop_reply", times=4))
    run.work(run.instruments)


@scenario("versions", refused_at_first)
def _versions(stack: ExitStack, home: Path, preloaded: Preloaded) -> Run:
    run = made(stack, home, preloaded, TWELVE, ON_UNKNOWN="resend")
    run.deployment.worker("older", wait=False)
    run.deployment.worker("newer", wait=False, command=under("tests.faults.newer"))
    return run


def cut_off(new: bool) -> Callable[[Run], None]:
    """Let a worker's connections go dead without a word, once all of them are in use."""

    def work(run: Run) -> None:
        ready(run)
        first, *others = run.instruments
        run.work([first])
        (proxy,) = run.proxies
        proxy.freeze(new)
        run.began_s = time.monotonic()
        if new:
            for name in others:
                run.deployment.evaluate(candle_of(name))
            time.sleep(SILENCE_S)
            run.began_s = time.monotonic()
            proxy.thaw()
        run.work(others)

    return work


def _behind_proxy(stack: ExitStack, home: Path, preloaded: Preloaded) -> Run:
    # As in production: limits are longer than it takes to give a dead connection up, which is 5 s.
    limits = {"CANDLE_TIME_LIMIT": "18", "PUBLISH_TIME_LIMIT": "18", "CANDLE_LEASE": "20", "PUBLISH_LEASE": "20"}
    run = made(stack, home, preloaded, SIX[:3], MAX_FAILURES="5", **limits)
    engine = run.deployment.engine
    run.proxies.append(stack.enter_context(Proxy(engine.port)))
    run.deployment.worker("cut off", wait=False, REDIS_URL=run.proxies[0].through(engine.url), CELERY_RESULT_BACKEND="")
    return run


scenario("half-open", cut_off(new=False))(_behind_proxy)
scenario("silent for a while", cut_off(new=True))(_behind_proxy)


def under(app: str) -> list[str]:
    """`celery -A app`."""
    return [word if word != "tasks" else app for word in CELERY]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """Every scenario, when everything in it is settled."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(len(START)))
        preloaded = stack.enter_context(Preloaded())
        found = {name: start(stack, tmp_path_factory.mktemp("run"), preloaded) for name, (start, _) in START.items()}
        running = {name: pool.submit(work, found[name]) for name, (_, work) in START.items()}
        for name, one in running.items():
            found[name].trouble = one.exception()
        yield found


@pytest.fixture
def worked(runs: dict[str, Run]) -> Worked:
    """A scenario by its name, when everything in it is settled."""

    def find(name: str) -> Run:
        if runs[name].trouble is not None:
            raise AssertionError(name) from runs[name].trouble
        return runs[name]

    return find


SOUND = sorted(set(START) - {"poison", "clock ahead of the expiry"})


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_lost_or_twice(worked: Worked, recovered: Recovered, name: str) -> None:
    """Every candle is evaluated, and every signal posted with one effect; under `hold` with one POST."""
    run = worked(name)
    assert run.candles() == {"evaluated": len(run.instruments)}
    assert run.signals() == {"posted": len(run.instruments)}
    assert {run.deployment.effects(candle_of(one)) for one in run.instruments} == {1}
    if run.deployment.line.settings.on_unknown == "hold":
        assert run.posts() == {1}
    recovered(name, run.settled_s - run.began_s)


def test_too_short_visibility_is_refused(tmp_path: Path) -> None:
    """A worker does not start with a `visibility_timeout` below its work's limits, and says which two settings."""
    with Preloaded() as preloaded, deploy(tmp_path, [watch("GOLD")]) as deployment:
        deployment.launch = preloaded.launch
        worker = deployment.worker(wait=False, VISIBILITY_TIMEOUT="1")
        deployment.until(lambda: worker.status == "exited", "the worker to refuse")
        assert "VISIBILITY_TIMEOUT" in worker.logs()
        assert "PUBLISH_TIME_LIMIT" in worker.logs()


def test_running_work_was_delivered_again(worked: Worked) -> None:
    """With the check bypassed the broker delivers a POST's message again while it runs, and the claim says `busy`."""
    deployment = worked("visibility").deployment
    received = Counter(deployment.received("publish_signal"))
    assert max(received.values()) > 1
    assert deployment.outcomes("publish_signal")["busy"] >= 1


def test_poison_is_given_up(worked: Worked, recovered: Recovered) -> None:
    """A candle that kills every worker that takes it, with all its processes, ends `failed` at the cap with its reason;
    the candles beside it are posted.
    """
    run = worked("poison")
    record = run.deployment.candle_record(candle_of("POISON"))
    assert record is not None
    assert (record.outcome, record.attempt, record.failures) == ("failed", 3, 3)
    assert "lease ran out under attempt 3" in record.reason
    assert sum(worker.starts - 1 for worker in run.workers) == 3
    assert [run.deployment.signal_outcome(candle_of(name)) for name in ("GOLD", "SILVER")] == ["posted"] * 2
    assert [len(run.deployment.posts(candle_of(name))) for name in ("GOLD", "SILVER")] == [1, 1]
    recovered("poison", run.settled_s - run.began_s)


def test_wrong_clocks_took_part(worked: Worked) -> None:
    """The worker whose clock is wrong took messages too, and said so by its own clock."""
    for name in START:
        if name.startswith("clock"):
            log = worked(name).deployment.processes["wrong"].logs()
            assert re.search(r"Task (evaluate_candle|publish_signal)\[[^]]+\] received", log), name


def test_clock_ahead_of_the_expiry_expires(worked: Worked) -> None:
    """Signals that a worker takes for too old, because its clock is ahead, end EXPIRED with the reason, or are posted
    by the other worker: none twice, none without an end.
    """
    run = worked("clock ahead of the expiry")
    assert run.candles() == {"evaluated": len(run.instruments)}
    ended = run.signals()
    assert set(ended) <= {"posted", "expired"}
    assert ended.total() == len(run.instruments)
    assert run.posts() <= {0, 1}
    records = [run.deployment.signal_record(candle_of(one)) for one in run.instruments]
    assert all(record and record.reason for record in records)


def test_versions_worked_side_by_side(worked: Worked) -> None:
    """Both versions took part, and records that the newer one wrote kept its field, whoever wrote them last."""
    run = worked("versions")
    texts = []
    for name in run.instruments:
        key = run.deployment.signal_key(candle_of(name))
        texts.append(run.deployment.line.store.get(key) or "")
    assert any(f'"{FIELD}":"new"' in text for text in texts)
    for worker in run.workers:
        assert "Task publish_signal[" in worker.logs()
