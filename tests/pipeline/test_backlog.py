"""Minutes without workers: the sweep recovers a backlog and never feeds one."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from tests.pipeline.conftest import Deploy
from tests.pipeline.deploying import watch
from tests.pipeline.deployment import ROOT, Deployment
from tests.pipeline.feeds import ORIGIN

INSTRUMENTS = tuple(f"I{number}" for number in range(5))
MINUTES = 10
SPAN = timedelta(minutes=MINUTES)


@pytest.fixture
def idle(deployed: Deploy) -> Deployment:
    """A deployment that has watched one-minute candles for ten minutes, without any process running."""
    until = (ORIGIN + SPAN).isoformat()
    span = {"WATCH_FROM": ORIGIN.isoformat(), "WATCH_UNTIL": until}
    deployment = deployed(watch(*INSTRUMENTS, timeframe="1m"), lead_s=-SPAN.total_seconds(), **span)
    for instrument in INSTRUMENTS:
        deployment.feed(instrument, [ORIGIN + timedelta(minutes=n) for n in range(MINUTES + 1)], "1m")
    return deployment


def pass_by(deployment: Deployment, *options: str) -> list[dict[str, Any]]:
    """Let ten minutes of sweeps pass, and of ticks; what was seen after each minute."""
    command = [sys.executable, "-m", "tests.pipeline.ticking", "--minutes", str(MINUTES), *options]
    done = subprocess.run(
        command, env=deployment.env, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    seen: list[dict[str, Any]] = json.loads(done.stdout)
    return seen


@pytest.mark.parametrize("options", [("--ticks",), ()], ids=["ticks and sweeps", "sweeps alone"])
def test_queues_grow_no_longer_than_what_was_due(idle: Deployment, options: tuple[str, ...]) -> None:
    """In ten minutes without workers no queue ever holds more than what closed, whether or not beat's ticks arrive; a
    worker that comes back then evaluates every candle and posts every signal once.
    """
    seen = pass_by(idle, *options)
    assert all(minute["candles"] <= minute["closed"] and minute["publish"] == 0 for minute in seen)
    assert seen[-1]["candles"] > 0
    if options:
        assert [minute["candles"] for minute in seen] == [minute["closed"] for minute in seen]
    candles = idle.closed(INSTRUMENTS, "1m", ORIGIN, ORIGIN + SPAN)
    assert len(candles) == MINUTES * len(INSTRUMENTS)
    idle.worker()
    idle.sweep_until(lambda: len(idle.receiver.read().ids) == len(candles), "every signal to be posted")
    assert len(idle.receiver.read().posts) == len(candles)
    idle.sweep_until(lambda: idle.sweep()["due"] == 0, "every candle to be settled")
    assert {idle.candle_outcome(candle) for candle in candles} == {"evaluated"}


@pytest.mark.parametrize("speed", [1, 240])
def test_tick_enqueues_the_candle_that_has_just_closed(deployed: Deploy, speed: float) -> None:
    """The candle that a tick enqueues is the one that closed with the tick, however fast market time runs."""
    deployment = deployed(watch("GOLD", timeframe="1m"), speed=speed)
    closes = [minute["enqueued"] for minute in pass_by(deployment, "--ticks")]
    assert closes == [f"2025-01-04T10:{minute:02}:00Z" for minute in range(1, MINUTES + 1)]


def test_sweep_feeds_no_backlog_of_signals(idle: Deployment) -> None:
    """While signals wait and nobody publishes, sweeps add none; a publisher that comes then posts each one once."""
    pass_by(idle, "--ticks")
    idle.worker("evaluating", "control,candles")
    expected = MINUTES * len(INSTRUMENTS)
    idle.until(lambda: len(idle.waiting("publish")) == expected, "every signal to be enqueued")
    for _ in range(3):
        assert idle.sweep()["republished"] == 0
    assert len(idle.waiting("publish")) == expected
    idle.worker("publishing", "publish")
    idle.until(lambda: len(idle.receiver.read().ids) == expected, "every signal to be posted")
    assert len(idle.receiver.read().posts) == expected
