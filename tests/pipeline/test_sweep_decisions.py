"""The sweep's decisions: what is due, which signals a record carries, and how much may be enqueued."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from dedup.ops import Peeked
from dedup.records import Record, State
from dedup.signals import Signal
from tasks import sweep
from tasks.candles import BATCH
from tasks.evaluation import make_signal
from tasks.strategies.function import FunctionStrategy
from tasks.watchlist import NamedStrategy
from tests.pipeline import strategies
from tests.pipeline.feeds import HOUR, ORIGIN, bar_at, candle_of

NOW_MS = 1_000_000
GRACE_MS = 20_000


def peeked(record: Record | None) -> Peeked:
    """The sweep's view of a record."""
    return Peeked(record, NOW_MS, "redis")


@pytest.mark.parametrize(
    ("record", "due"),
    [
        pytest.param(None, True, id="no record"),
        pytest.param(Record(State.CLAIMED, until_ms=NOW_MS + 1), False, id="claimed, lease runs"),
        pytest.param(Record(State.CLAIMED, until_ms=NOW_MS), True, id="claimed, lease ran out"),
        pytest.param(Record(State.RELEASED, until_ms=NOW_MS + 1), False, id="released, next try ahead"),
        pytest.param(Record(State.RELEASED, until_ms=NOW_MS), True, id="released, next try overdue"),
        pytest.param(Record(State.RELEASED), True, id="released, no next try"),
        pytest.param(Record(State.UNKNOWN, until_ms=NOW_MS + 1), False, id="unknown, next try ahead"),
        pytest.param(Record(State.UNKNOWN, until_ms=NOW_MS), True, id="unknown, next try overdue"),
        pytest.param(Record(State.UNKNOWN, held=True), False, id="held"),
        pytest.param(Record(State.DONE, outcome="posted"), False, id="done"),
        pytest.param(Record.loads("processed"), False, id="foreign value"),
    ],
)
def test_due_is_what_nobody_is_at(record: Record | None, due: bool) -> None:
    """Due is what has no record, a lease that ran out or a next try that is overdue; never what is done or held."""
    assert sweep.is_due(peeked(record)) is due


def done(value: Any, age_ms: int = GRACE_MS) -> Peeked:
    """A candle's record, DONE `age_ms` ago."""
    return peeked(Record(State.DONE, outcome="evaluated", at_ms=NOW_MS - age_ms, value=value))


@pytest.fixture
def signal() -> Signal:
    """A valid signal."""
    named = NamedStrategy("always_buy", FunctionStrategy(strategies.always_buy))
    return make_signal(named, candle_of("GOLD"), strategies.always_buy([bar_at(ORIGIN - HOUR)]), 300)


def test_done_candle_gives_its_signals(signal: Signal) -> None:
    """After the grace a DONE candle gives the signals that its record carries, as they were."""
    other = signal.model_copy(update={"id": "sig_other", "expires_at": ORIGIN + timedelta(minutes=7)})
    found = sweep.signals_of(done({"signals": [signal.fields(), other.fields()]}), GRACE_MS)
    assert list(found) == [signal, other]


@pytest.mark.parametrize(
    "value",
    [None, {}, {"signals": []}, "processed", ["signals"], 7],
    ids=["no value", "empty", "no signals", "foreign text", "foreign list", "foreign number"],
)
def test_record_without_signals_gives_none(value: Any) -> None:
    """A record that carries no signals, or is someone else's value, gives none."""
    assert list(sweep.signals_of(done(value), GRACE_MS)) == []


def test_absent_record_gives_no_signals() -> None:
    """Where there is no record there are no signals."""
    assert list(sweep.signals_of(peeked(None), GRACE_MS)) == []


def test_young_record_keeps_its_signals(signal: Signal) -> None:
    """Within the grace the signals' own tasks have the first go, and the sweep gives none."""
    carried = {"signals": [signal.fields()]}
    assert list(sweep.signals_of(done(carried, GRACE_MS - 1), GRACE_MS)) == []
    assert list(sweep.signals_of(done(carried, GRACE_MS), GRACE_MS)) == [signal]


@pytest.mark.parametrize("rubbish", [{"id": "x"}, "text", None, 7, []], ids=str)
def test_unreadable_signal_hides_no_other(signal: Signal, rubbish: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A signal in a record that cannot be read is logged as an error, and the others are given."""
    assert list(sweep.signals_of(done({"signals": [rubbish, signal.fields()]}), GRACE_MS)) == [signal]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize("signals", [None, 7, "text", {"a": 1}], ids=str)
def test_record_with_strange_signals_stops_no_sweep(signals: Any) -> None:
    """A record whose signals are no list gives none, and does not end the sweep for all others."""
    assert list(sweep.signals_of(done({"signals": signals}), GRACE_MS)) == []


@pytest.mark.parametrize(
    ("due", "waiting", "taken"),
    [
        pytest.param(0, 0, 0, id="nothing due"),
        pytest.param(7, 0, 7, id="empty queue: all"),
        pytest.param(7, 3, 4, id="some wait already: the rest"),
        pytest.param(7, 10, 0, id="as many wait as are due or more: none"),
        pytest.param(50, 10, 40, id="one close waits: the rest"),
        pytest.param(50, 11, 0, id="more than one close waits: none"),
        pytest.param(10_000, 0, BATCH, id="an outage: a batch at a time"),
    ],
)
def test_sweep_takes_no_more_than_the_queue_bears(
    monkeypatch: pytest.MonkeyPatch, due: int, waiting: int, taken: int
) -> None:
    """Of what is due the oldest are taken, beyond what waits already, a batch at most; none while more waits than one
    close brings (10).
    """
    monkeypatch.setattr(sweep, "queue_length", lambda queue: waiting)
    assert list(sweep._take(range(due), 10, "candles")) == list(range(taken))


def test_large_close_is_taken_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watchlist larger than a batch may have one close enqueued at a time."""
    monkeypatch.setattr(sweep, "queue_length", lambda queue: 0)
    assert len(sweep._take(range(3 * BATCH), 2 * BATCH, "candles")) == 2 * BATCH
