"""Strategies that raise or return rubbish: said so, capped, without harm to the strategies beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from dedup.records import Record, State
from tests.bad_input.strategies import RUBBISH
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of

HERE = "tests.bad_input.strategies"


def watched(strategy: str, *instruments: str, **params: str) -> dict[str, Any]:
    """A `[[watch]]` table with a strategy of this folder."""
    return watch(*instruments) | {"strategy": f"{HERE}:{strategy}", "params": params}


@dataclass
class Story:
    """A run in which every candle is settled; `first` is MENDED's record after its strategy raised."""

    deployment: Deployment
    first: Record
    results: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A run with a candle for every kind of rubbish, each beside a sound strategy; MAX_FAILURES is 2."""
    home = tmp_path_factory.mktemp("strategies")
    mended, instruments = home / "mended", [*RUBBISH, "MENDED"]
    watches = [watched("rubbish", name, what=name) for name in RUBBISH]
    watches += [watched("recovers", "MENDED", mended=str(mended)), watch(*instruments)]
    with deploy(home, watches) as deployment:
        for instrument in instruments:
            deployment.feed(instrument, [ORIGIN - HOUR, ORIGIN])
        deployment.worker()
        candle = candle_of("MENDED")
        late = deployment.evaluate(candle)
        first = deployment.until(
            lambda: (record := deployment.candle_record(candle)) and record.failures and record, "MENDED to fail"
        )
        mended.touch()
        sent = {name: deployment.evaluate(candle_of(name)) for name in RUBBISH} | {"MENDED": late}
        yield Story(deployment, first, {name: deployment.result(one) for name, one in sent.items()})


@pytest.mark.parametrize("instrument", list(RUBBISH))
def test_rubbish_is_told_and_capped(story: Story, instrument: str) -> None:
    """After MAX_FAILURES attempts the candle ends as `failed`; result, record and log say which strategy did what."""
    result, log = story.results[instrument], story.deployment.processes["worker1"].logs()
    record = story.deployment.candle_record(candle_of(instrument))
    assert record is not None
    assert (result["outcome"], record.outcome, record.attempt) == ("failed", "failed", 2)
    told = f"rubbish: rubbish {RUBBISH[instrument][1]}"
    assert told in result["reason"]
    assert told in record.reason
    assert log.count(f"{instrument} 1h {candle_of(instrument)}: {record.reason}") == 2


@pytest.mark.parametrize("instrument", list(RUBBISH))
def test_rubbish_harms_no_other_strategy(story: Story, instrument: str) -> None:
    """The sound strategy's signal of the same candle is posted once, and of the rubbish nothing."""
    candle, deployment = candle_of(instrument), story.deployment
    deployment.until(lambda: deployment.signal_outcome(candle) == "posted", "the sound signal")
    assert len(deployment.posts(candle)) == 1
    assert deployment.posts(candle, "rubbish") == []
    assert deployment.signal_record(candle, "rubbish") is None


def test_candle_is_worked_once_its_strategy_is_mended(story: Story) -> None:
    """Between its attempts a candle is released with the reason; mended in time, its signal is posted once."""
    candle, deployment = candle_of("MENDED"), story.deployment
    assert story.first.state is State.RELEASED
    assert "recovers: recovers raised ZeroDivisionError: no volume yet" in story.first.reason
    assert (story.results["MENDED"]["outcome"], story.results["MENDED"]["attempt"]) == ("evaluated", 2)
    deployment.until(lambda: deployment.signal_outcome(candle, "recovers") == "posted", "the signal")
    assert len(deployment.posts(candle, "recovers")) == 1


def test_failed_candle_is_left_alone(story: Story) -> None:
    """A sweep does not bring a failed candle back: only `backfill --force` does."""
    before = {name: story.deployment.candle_record(candle_of(name)) for name in RUBBISH}
    assert story.deployment.sweep()["due"] == 0
    assert {name: story.deployment.candle_record(candle_of(name)) for name in RUBBISH} == before
