"""What a candle's task makes of what the source has: late bars, gaps, closed markets, rubbish."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from dedup.alignment import UTC_ALIGNMENT, next_close
from dedup.errors import InvalidCandle
from dedup.records import State
from dedup.timeframe import Timeframe
from tasks.sweep import is_due
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of

START = ORIGIN - HOUR


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment with a worker. Its instruments have no bars yet."""
    watches = [
        watch("LATE", "GAPPED", "ZERO"),
        watch("CLOSED", calendar="forex"),
        watch("YOUNG", params={"warmup": 50}),
        watch("PROMPT", "TARDY", timeframe="9s"),
    ]
    with deploy(tmp_path_factory.mktemp("bars"), watches) as deployment:
        deployment.worker()
        yield deployment


def test_bar_that_becomes_final_is_evaluated_on_a_retry(running: Deployment) -> None:
    """A bar that is not final yet leaves the candle released and retried; once it is final the candle is evaluated."""
    candle = candle_of("LATE")
    running.feed("LATE", [START])
    sent = running.evaluate(candle)
    record = running.until(
        lambda: (found := running.candle_record(candle)) and found.state is State.RELEASED and found, "a retry"
    )
    assert "final" in record.reason
    assert not running.posts(candle)
    running.feed("LATE", [ORIGIN])
    result = running.result(sent)
    assert (result["outcome"], result["attempt"] > 1) == ("evaluated", True)
    running.until(lambda: running.signal_outcome(candle) == "posted", "the signal")
    assert len(running.posts(candle)) == 1


def test_gap_is_missing_for_good(running: Deployment) -> None:
    """A candle that the source skipped, as a later bar shows, ends DONE as `missing`, with why."""
    candle = candle_of("GAPPED")
    running.feed("GAPPED", [START - HOUR, ORIGIN])
    result = running.run(candle)
    assert result["outcome"] == "missing"
    assert "the market had no bar" in result["reason"]
    assert running.candle_outcome(candle) == "missing"


def test_closed_market_asks_no_source(running: Deployment) -> None:
    """A candle in which the market did not trade ends as `closed_market`, though its source has no file to read."""
    candle = candle_of("CLOSED")
    assert running.run(candle)["outcome"] == "closed_market"
    assert running.candle_outcome(candle) == "closed_market"


def test_short_history_is_told(running: Deployment) -> None:
    """A candle with fewer bars than the strategy looks at ends as `too_few_bars`, with both numbers."""
    candle = candle_of("YOUNG")
    running.feed("YOUNG", [START - HOUR, START, ORIGIN])
    result = running.run(candle)
    assert result["outcome"] == "too_few_bars"
    assert "50" in result["reason"]
    assert "2" in result["reason"]


def test_rubbish_bars_reach_no_strategy(running: Deployment) -> None:
    """A bar that no strategy should see is asked for again, its reason in the record, until the source is right."""
    candle = candle_of("ZERO")
    path = running.home / "feed" / "ZERO-1h.csv"
    path.write_text(f"start,open,high,low,close\n{START.isoformat()},0,0,0,0\n{ORIGIN.isoformat()},1,1,1,1\n")
    sent = running.evaluate(candle)
    running.until(lambda: (found := running.candle_record(candle)) and "above zero" in found.reason, "the refusal")
    running.feed("ZERO", [START, ORIGIN], afresh=True)
    assert running.result(sent)["outcome"] == "evaluated"


def test_candle_older_than_the_horizon_is_refused(running: Deployment) -> None:
    """A candle beyond the horizon ends as `expired` and leaves no record: the one it may have had may have run out."""
    candle = candle_of("LATE", ORIGIN - 5 * HOUR)
    assert running.run(candle)["outcome"] == "expired"
    assert running.candle_record(candle) is None


def test_candle_of_the_future_is_refused(running: Deployment) -> None:
    """A candle that closes beyond the check window is an InvalidCandle, and claims nothing."""
    candle = candle_of("LATE", ORIGIN + HOUR)
    with pytest.raises(InvalidCandle, match="has not closed"):
        running.run(candle)
    assert running.candle_record(candle) is None


def test_candle_waits_for_its_close_and_then_for_its_bar(running: Deployment) -> None:
    """A candle sent before its close waits for it. A bar that stays away is asked for again, then the candle ends as
    `missing`, which the sweep leaves alone for a while; the source is asked again then, and may have the bar.
    """
    length = Timeframe.parse("9s")
    start = next_close(UTC_ALIGNMENT, length, running.clock.now() + timedelta(seconds=1))
    prompt, tardy = (candle_of(name, start - length.length, "9s") for name in ("PROMPT", "TARDY"))
    running.feed("PROMPT", [prompt.start, start], "9s")
    running.feed("TARDY", [tardy.start], "9s")
    early = running.evaluate(prompt), running.evaluate(tardy)
    on_time, missing = (running.result(sent) for sent in early)
    assert (on_time["outcome"], on_time["attempt"], on_time["late_s"] >= 0) == ("evaluated", 1, True)
    assert (missing["outcome"], missing["attempt"] > 1) == ("missing", True)
    assert not is_due(running.peek(tardy))
    running.feed("TARDY", [start], "9s")
    assert running.run(tardy)["outcome"] == "evaluated"
    running.until(lambda: running.signal_outcome(tardy) == "posted", "the signal")
    assert [len(running.posts(candle)) for candle in (prompt, tardy)] == [1, 1]
