"""Beat on its own: when it ticks, and that it never makes up for ticks it missed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import ORIGIN
from tests.pipeline.nodes import ProcessContainer

_TICK = re.compile(r"^(\S+Z) info .*Scheduler: Sending due task close 1m utc", re.MULTILINE)
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def ticking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment with one beat and no worker; a market minute takes three quarters of a second."""
    home = tmp_path_factory.mktemp("beat")
    with deploy(home, [watch("GOLD", "SILVER", timeframe="1m")], speed=80) as deployment:
        deployment.beat()
        yield deployment


def beat_of(ticking: Deployment) -> ProcessContainer:
    """The beat."""
    return ticking.processes["beat1"]


def ticked_closes(ticking: Deployment) -> list[datetime]:
    """The last close, in market time, at each of beat's ticks."""
    found = []
    for text in _TICK.findall(beat_of(ticking).logs()):
        # The log cuts off what is below a millisecond.
        wall = datetime.fromisoformat(text) + timedelta(milliseconds=1)
        market = ticking.clock.market(wall)
        found.append(market - (market - ORIGIN) % MINUTE)
    return found


def await_ticks(ticking: Deployment, more: int) -> None:
    """Wait until beat has ticked so often more."""
    before = len(ticked_closes(ticking))
    ticking.until(lambda: len(ticked_closes(ticking)) >= before + more, f"{more} more ticks")


def await_closes(ticking: Deployment, count: int) -> None:
    """Wait until so many candles have closed."""
    until = ticking.clock.now() + count * MINUTE
    ticking.until(lambda: ticking.clock.now() >= until, f"{count} closes")


def test_beat_ticks_once_a_close(ticking: Deployment) -> None:
    """Beat ticks after a candle's close and not twice for one close; a tick is one message for all instruments."""
    await_ticks(ticking, 3)
    closes = ticked_closes(ticking)
    assert len(set(closes)) == len(closes)
    messages = ticking.waiting("control")
    assert len(messages) >= 3
    assert {message["headers"]["task"] for message in messages} == {"enqueue_candles"}
    assert ticking.kwargs_of(messages[0]) == {"timeframe": "1m", "alignment": "utc"}


def test_stopped_beat_makes_no_burst(ticking: Deployment) -> None:
    """A beat stopped over several closes ticks once when it goes on, then at each close as before."""
    await_ticks(ticking, 1)
    beat_of(ticking).kill("SIGSTOP")
    before = len(ticked_closes(ticking))
    await_closes(ticking, 4)
    assert len(ticked_closes(ticking)) == before
    beat_of(ticking).kill("SIGCONT")
    await_ticks(ticking, 3)
    closes = ticked_closes(ticking)
    assert len(set(closes)) == len(closes)


def test_restarted_beat_makes_no_burst(ticking: Deployment) -> None:
    """A beat that was killed and started again ticks for no close before its start, and once for each one after."""
    await_ticks(ticking, 1)
    beat_of(ticking).kill()
    before = len(ticked_closes(ticking))
    await_closes(ticking, 3)
    restarted = ticking.clock.now()
    beat_of(ticking).restart()
    ticking.until(lambda: len(ticked_closes(ticking)) >= before + 2, "ticks after the restart")
    closes = ticked_closes(ticking)
    assert len(set(closes)) == len(closes)
    assert min(closes[before:]) > restarted
