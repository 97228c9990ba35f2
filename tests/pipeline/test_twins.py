"""Two of everything at once: beats, sweeps and workers on the same candles."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from dedup.timeframe import Candle
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import ORIGIN

INSTRUMENTS = ("GOLD", "SILVER", "COPPER")
MINUTES = 8
UNTIL = ORIGIN + timedelta(minutes=MINUTES)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Eight market minutes, two a second, under two beats that sweep four times a second, and two workers."""
    span = {"WATCH_FROM": ORIGIN.isoformat(), "WATCH_UNTIL": UNTIL.isoformat(), "SWEEP_INTERVAL": "0.25"}
    home = tmp_path_factory.mktemp("twins")
    with deploy(home, [watch(*INSTRUMENTS, timeframe="1m")], speed=120, lead_s=6, **span) as deployment:
        for instrument in INSTRUMENTS:
            deployment.feed(instrument, [ORIGIN + timedelta(minutes=n) for n in range(MINUTES + 1)], "1m")
        for number in ("1", "2"):
            deployment.worker(f"worker{number}", wait=False)
            deployment.beat(f"beat{number}", wait=False)
        for process in deployment.processes.values():
            process.ready()
        deployment.until(lambda: all(map(deployment.signal_outcome, expected(deployment))), "every signal")
        yield deployment


def expected(run: Deployment) -> list[Candle]:
    """Every candle of the run."""
    return run.closed(INSTRUMENTS, "1m", ORIGIN, UNTIL)


def test_every_candle_is_evaluated(run: Deployment) -> None:
    """Every closed candle of every instrument is evaluated, and is DONE by one delivery."""
    candles = expected(run)
    assert len(candles) == MINUTES * len(INSTRUMENTS)
    assert {run.candle_outcome(candle) for candle in candles} == {"evaluated"}
    assert run.outcomes("evaluate_candle")["evaluated"] == len(candles)


def test_every_signal_is_one_post(run: Deployment) -> None:
    """Every signal reaches the API in exactly one POST, whoever enqueued it how often."""
    assert {len(run.posts(candle)) for candle in expected(run)} == {1}
    assert len(run.receiver.read().posts) == len(expected(run))


def test_duplicates_are_named(run: Deployment) -> None:
    """What the second beat and the sweeps enqueued again ends as `duplicate` or `busy`, and as nothing else."""
    outcomes = run.outcomes("evaluate_candle")
    assert set(outcomes) <= {"evaluated", "duplicate", "busy"}
    assert outcomes["duplicate"] + outcomes["busy"] > 0
    assert set(run.outcomes("publish_signal")) <= {"posted", "duplicate", "busy"}


def test_both_beats_ticked(run: Deployment) -> None:
    """Both beats sent closes and sweeps: the run was what it claims to be."""
    for beat in (run.processes["beat1"], run.processes["beat2"]):
        for entry in ("close 1m utc", "sweep"):
            run.until(lambda b=beat, e=entry: b.logs().count(f"Sending due task {e}") > 1, f"{entry} of {beat.name}")
