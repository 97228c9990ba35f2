"""How far each watch is, and what is held, as a sweep tells an observer. Records as workers leave them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from dedup.rules import new_token
from dedup.timeframe import Candle, Timeframe
from tasks.progress import held, progress
from tasks.sweep import look
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of

FIRST, LAST = ORIGIN - timedelta(days=30), ORIGIN + timedelta(days=30)
DAY = Candle("WHEAT", Timeframe.parse("1d"), ORIGIN.replace(hour=0) - timedelta(days=1), ORIGIN.replace(hour=0))


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """Hourly GOLD and SILVER and daily WHEAT, three hours of horizon; no end of the watch is near."""
    watches = [watch("GOLD", "SILVER"), watch("WHEAT", timeframe="1d")]
    with deploy(tmp_path, watches, WATCH_FROM=FIRST.isoformat(), WATCH_UNTIL=LAST.isoformat()) as found:
        yield found


def settle(deployment: Deployment, candle: Candle, outcome: str = "evaluated") -> None:
    cache = deployment.line.candles(candle.timeframe)
    cache.complete(cache.key(candle.instrument, candle.timeframe, candle.start), new_token(), outcome)


def told(deployment: Deployment) -> dict[str, tuple[float, float]]:
    """Close of the newest settled candle and of the next, by instrument, s of market time after `ORIGIN`."""
    clock = deployment.clock
    found = progress(deployment.line, look(deployment.line).settled)
    zero_s = clock.wall(ORIGIN).timestamp()
    return {one.instrument: (round(one.close_s - zero_s, 3), round(one.next_close_s - zero_s, 3)) for one in found}


def test_newest_settled_candle_counts(deployment: Deployment) -> None:
    """Of several settled candles the newest counts, whatever gap is before it and however it ended; a watch of which
    nothing is settled is not told.
    """
    settle(deployment, candle_of("GOLD", ORIGIN - 3 * HOUR))
    settle(deployment, candle_of("GOLD"), "closed_market")
    settle(deployment, candle_of("SILVER", ORIGIN - 2 * HOUR))
    assert told(deployment) == {"GOLD": (0, 3600), "SILVER": (-3600, 0)}


def test_candle_that_is_worked_does_not_count(deployment: Deployment) -> None:
    """A candle that somebody has claimed, or given back, is not settled."""
    cache = deployment.line.candles(Timeframe.parse("1h"))
    key = cache.key("GOLD", "1h", ORIGIN - HOUR)
    cache.claim(key, "mine")
    assert told(deployment) == {}
    cache.release(key, "mine", "no bar yet")
    assert told(deployment) == {}


def test_day_older_than_the_horizon_counts(deployment: Deployment) -> None:
    """The last candle of a day is known all day long, though the sweep itself looks back three hours."""
    settle(deployment, DAY)
    close_s = (DAY.close - ORIGIN).total_seconds()
    assert told(deployment) == {"WHEAT": (close_s, close_s + 86_400)}


def test_nothing_is_due_behind_the_end_of_the_watch(deployment: Deployment) -> None:
    """Where the watch ends, no candle follows."""
    settle(deployment, candle_of("GOLD"))
    ends = deployment.line.settings.model_copy(update={"watch_until": ORIGIN})
    found = list(progress(replace(deployment.line, settings=ends), look(deployment.line).settled))
    assert [one.next_close_s for one in found if one.instrument == "GOLD"] == [math.inf]


def test_signal_held_long_ago_counts(deployment: Deployment) -> None:
    """A signal that is held waits for a person until it is settled, however long ago its candle closed; one in doubt
    that will be gone on with does not count.
    """
    cache = deployment.line.signals
    rules = cache.rules
    for start, hold in ((ORIGIN - 50 * HOUR, True), (ORIGIN - HOUR, True), (ORIGIN - 2 * HOUR, False)):
        key, token = cache.key("GOLD", start, "1h", "always_buy"), new_token()
        cache.ask([rules.claim(key, token, "d1"), rules.doubt(key, token, "d1", "no reply", hold=hold)])
    assert held(deployment.line) == 2
    assert look(deployment.line).held == 0
