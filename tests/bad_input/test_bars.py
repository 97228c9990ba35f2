"""Bars that no strategy should see: refused with the reason, asked for again, and worked once the source is mended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from dedup.records import Record, State
from tests.bad_input.feeds import REFUSED, SETTLED
from tests.pipeline.deploying import deploy
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import candle_of

WATCHLIST = """
[sources.feed]
kind = "tests.bad_input.feeds:Feed"
mended = "{mended}"

[[watch]]
instruments = {instruments}
timeframe = "1h"
source = "feed"
strategy = "tests.pipeline.strategies:always_buy"
params = {{ warmup = 2 }}
"""


@dataclass
class Story:
    """What happened to a run: `wrong` while the source was wrong, `results` of the tasks once it was mended."""

    deployment: Deployment
    wrong: dict[str, Record]
    log: str
    posts: int
    results: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A run with a candle for every wrong answer; the source is mended as soon as it has refused them all."""
    home = tmp_path_factory.mktemp("bars")
    mended, instruments = home / "mended", [*REFUSED, *SETTLED]
    (home / "own.toml").write_text(WATCHLIST.format(mended=mended, instruments=instruments))
    with deploy(home, [], WATCHLIST=str(home / "own.toml")) as deployment:
        deployment.worker()
        sent = {name: deployment.evaluate(candle_of(name)) for name in instruments}
        wrong = {name: deployment.until(lambda name=name: _reason(deployment, name), name) for name in instruments}
        log, posts = deployment.processes["worker1"].logs(), len(deployment.receiver.read().posts)
        mended.touch()
        results = {name: deployment.result(one) for name, one in sent.items()}
        yield Story(deployment, wrong, log, posts, results)


def _reason(deployment: Deployment, instrument: str) -> Record | None:
    record = deployment.candle_record(candle_of(instrument))
    return record if record and record.reason else None


@pytest.mark.parametrize("instrument", list(REFUSED))
def test_wrong_bars_are_refused_with_the_reason(story: Story, instrument: str) -> None:
    """Wrong bars hold no claim: the record says why they were refused and is open to the next delivery. The log tells
    it, with the instrument.
    """
    record, (_, reason) = story.wrong[instrument], REFUSED[instrument]
    assert record.state is State.RELEASED
    assert reason in record.reason
    level = "warning" if record.reason.startswith("source feed") else "error"
    told = rf"{level} +ForkPoolWorker-\d+ candlelatch\.candles: {instrument} 1h .*{re.escape(record.reason)}"
    assert re.search(told, story.log)


@pytest.mark.parametrize("instrument", list(REFUSED))
def test_candle_is_worked_once_its_source_is_mended(story: Story, instrument: str) -> None:
    """Nothing is lost: the same message, due again, evaluates the candle, and its signal is posted once."""
    candle, deployment = candle_of(instrument), story.deployment
    assert story.results[instrument]["outcome"] == "evaluated"
    assert story.results[instrument]["attempt"] > 1
    deployment.until(lambda: deployment.signal_outcome(candle) == "posted", "the signal")
    assert len(deployment.posts(candle)) == 1


@pytest.mark.parametrize("instrument", list(SETTLED))
def test_bars_that_the_market_never_had_settle_the_candle(story: Story, instrument: str) -> None:
    """A gap, and a history that is too short, are no faults: the candle ends with an outcome and a reason, and is not
    asked for again.
    """
    _, outcome, reason = SETTLED[instrument]
    result = story.results[instrument]
    assert (result["outcome"], result["attempt"]) == (outcome, 1)
    assert reason in result["reason"]
    assert story.deployment.candle_outcome(candle_of(instrument)) == outcome


def test_wrong_bars_posted_nothing(story: Story) -> None:
    """No signal had been posted before the source was mended."""
    assert story.posts == 0
