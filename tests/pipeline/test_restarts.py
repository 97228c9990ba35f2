"""The engine and a worker are killed in mid-run, and come back: the worker by its supervisor."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from dedup.timeframe import Candle
from tasks.supervisor import Spec, Supervisor
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import CELERY, Deployment
from tests.pipeline.feeds import ORIGIN
from tests.pipeline.waiting import eventually

INSTRUMENTS = ("GOLD", "SILVER", "COPPER")
MINUTES = 12
UNTIL = ORIGIN + timedelta(minutes=MINUTES)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, Supervisor]]:
    """Twelve market minutes, two a second; the engine is killed in the third and a worker in the seventh."""
    span = {"WATCH_FROM": ORIGIN.isoformat(), "WATCH_UNTIL": UNTIL.isoformat(), "SWEEP_INTERVAL": "0.5"}
    home = tmp_path_factory.mktemp("restarts")
    watches = [watch(*INSTRUMENTS, timeframe="1m")]
    with (
        deploy(home, watches, speed=120, lead_s=5, ON_UNKNOWN="resend", **span) as deployment,
        Supervisor(home) as supervisor,
    ):
        for instrument in INSTRUMENTS:
            deployment.feed(instrument, [ORIGIN + timedelta(minutes=n) for n in range(MINUTES + 1)], "1m")
        worker = [*CELERY, "worker", "-l", "info", "-c", "2", "-Q", "control,candles,publish"]
        for number in ("1", "2"):
            supervisor.add(Spec(f"worker{number}", [*worker, "-n", f"worker{number}@%h"], deployment.env))
        supervisor.add(Spec("beat", [*CELERY, "beat", "-l", "info"], deployment.env))
        posted(deployment, 2 * len(INSTRUMENTS))
        deployment.engine.kill()
        deployment.engine.start()
        posted(deployment, 6 * len(INSTRUMENTS))
        supervisor.kill("worker1")
        everything = expected(deployment)
        eventually(lambda: all(map(deployment.candle_outcome, everything)), "every candle to be settled")
        eventually(lambda: all(map(deployment.signal_outcome, everything)), "every signal to be settled")
        yield deployment, supervisor


def posted(deployment: Deployment, count: int) -> None:
    """Wait until so many signals have reached the API."""
    eventually(lambda: len(deployment.receiver.read().ids) >= count, f"{count} signals at the API")


def expected(deployment: Deployment) -> list[Candle]:
    """Every candle of the run."""
    return deployment.closed(INSTRUMENTS, "1m", ORIGIN, UNTIL)


def test_nothing_is_lost(run: tuple[Deployment, Supervisor]) -> None:
    """Every candle that closed before, during and after the two kills is evaluated, and its signal posted."""
    deployment, _ = run
    candles = expected(deployment)
    assert len(candles) == MINUTES * len(INSTRUMENTS)
    assert {deployment.candle_outcome(candle) for candle in candles} == {"evaluated"}
    assert {deployment.signal_outcome(candle) for candle in candles} == {"posted"}


def test_nothing_has_two_effects(run: tuple[Deployment, Supervisor]) -> None:
    """Every signal has exactly one effect at the API."""
    deployment, _ = run
    assert {deployment.effects(candle) for candle in expected(deployment)} == {1}
    assert not deployment.receiver.read().doubles


def test_supervisor_started_the_worker_again(run: tuple[Deployment, Supervisor]) -> None:
    """The killed worker runs again without anyone's doing, and takes work."""
    _, supervisor = run
    assert supervisor.restarts()["worker1"] >= 1
    log = supervisor["worker1"].log_path
    eventually(lambda: log.read_text().count(" ready.") >= 2, "the worker to be ready again")
    assert supervisor["worker1"].running
