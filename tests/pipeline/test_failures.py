"""Strategies that fail, hang and kill: what becomes of their candles, and of the candles beside them.

One run works them all at once, with a sweep whenever beat would send one; each test looks at one candle of it.
`MAX_FAILURES` is 2.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dedup.records import Record
from dedup.timeframe import Candle
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of

FAILING = ("DEADLY", "HANGING", "SLEEPING", "WRONG")
SOUND = ("GOLD", "SILVER")
WATCHES = (
    watch("DEADLY", strategy="kills_its_worker"),
    watch("HANGING", strategy="hangs"),
    watch("SLEEPING", strategy="sleeps"),
    watch("WRONG", strategy="raises"),
    watch("WRONG", *SOUND),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A run in which every candle is settled."""
    with deploy(tmp_path_factory.mktemp("failures"), WATCHES) as deployment:
        for instrument in (*FAILING, *SOUND):
            deployment.feed(instrument, [ORIGIN - HOUR, ORIGIN])
        deployment.worker(processes=4)
        deployment.send("enqueue_candles", timeframe="1h", alignment="utc")
        everything = [candle_of(name) for name in (*FAILING, *SOUND)]
        deployment.sweep_until(lambda: all(map(deployment.candle_outcome, everything)), "every candle to be settled")
        buyers = [candle_of(name) for name in ("WRONG", *SOUND)]
        deployment.sweep_until(lambda: all(map(deployment.signal_outcome, buyers)), "every signal to be settled")
        yield deployment


def record_of(run: Deployment, candle: Candle) -> Record:
    """The record of a settled candle."""
    record = run.candle_record(candle)
    assert record is not None
    return record


@pytest.mark.parametrize("instrument", ["DEADLY", "HANGING", "SLEEPING"])
def test_candle_that_never_ends_well_is_given_up(run: Deployment, instrument: str) -> None:
    """A candle that kills its process, or runs into a time limit, ends as `failed` at the cap, with its reason."""
    record = record_of(run, candle_of(instrument))
    assert (record.outcome, record.failures) == ("failed", 2)
    assert "lease ran out under attempt 2" in record.reason


def test_candle_whose_worker_dies_is_redone(run: Deployment) -> None:
    """A deadly candle was worked as often as the cap says, by a new process each time, and not once more."""
    deaths = run.processes["worker1"].logs().count("signal 9 (SIGKILL)")
    assert record_of(run, candle_of("DEADLY")).attempt == 2
    assert deaths >= 2


def test_hanging_candle_is_killed_by_the_hard_limit(run: Deployment) -> None:
    """A strategy that shrugs off the soft time limit is killed at the hard one; its work is not dropped for that."""
    assert "Hard time limit" in run.processes["worker1"].logs()


def test_failing_strategy_is_told(run: Deployment) -> None:
    """A candle whose strategy raises is tried up to the cap and ends as `failed`, with the strategy's own words."""
    record = record_of(run, candle_of("WRONG"))
    assert record.outcome == "failed"
    assert "raises raised ZeroDivisionError: no volume to divide by" in record.reason
    assert run.outcomes("evaluate_candle", "WRONG")["failed"] == 1


def test_failing_strategy_silences_no_other(run: Deployment) -> None:
    """The signal of another strategy of that candle is sent on by each evaluation, the first too, and posted once."""
    candle = candle_of("WRONG")
    run.until(lambda: run.outcomes("publish_signal", "WRONG").total() >= 2, "the signal of each evaluation")
    assert run.outcomes("publish_signal", "WRONG")["posted"] == 1
    assert len(run.posts(candle)) == 1


@pytest.mark.parametrize("instrument", SOUND)
def test_candles_beside_are_not_hurt(run: Deployment, instrument: str) -> None:
    """Candles beside them are evaluated and posted once, though pool processes die under the same worker."""
    candle = candle_of(instrument)
    assert run.candle_outcome(candle) == "evaluated"
    assert (run.signal_outcome(candle), len(run.posts(candle))) == ("posted", 1)
    assert run.processes["worker1"].status == "running"


def test_given_up_candle_stays_given_up(run: Deployment) -> None:
    """A sweep and a delivery more leave a failed candle as it is."""
    candle = candle_of("DEADLY")
    before = run.candle_record(candle)
    assert run.sweep()["due"] == 0
    assert run.run(candle)["outcome"] == "duplicate"
    assert run.candle_record(candle) == before
