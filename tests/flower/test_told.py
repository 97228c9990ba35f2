"""What monitors are told of a result. No worker runs here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dedup.timeframe import Candle, Timeframe
from tasks.request import STATES, told
from tasks.shown import in_words, read_result, showing_candle

CANDLE = Candle(
    "GOLD",
    Timeframe.parse("1h"),
    datetime(2025, 1, 4, 9, tzinfo=UTC),
    datetime(2025, 1, 4, 9, tzinfo=UTC) + timedelta(hours=1),
)
RESULT = {
    "outcome": "held",
    "instrument": "GOLD",
    "side": "buy",
    "source": "redis",
    "attempt": 1,
    "reason": "500 told so",
}


@pytest.mark.parametrize(("outcome", "state"), [*STATES.items(), ("posted", None), ("duplicate", None), ("busy", None)])
def test_outcomes_that_ask_for_a_look_have_events_of_their_own(outcome: str, state: str | None) -> None:
    """Held, rejected and the like are events that make monitors show a state of that name; all else succeeded."""
    event, words = told(repr(RESULT | {"outcome": outcome}), "")
    assert event == (f"task-{state.lower()}" if state else "task-succeeded")
    assert words.startswith(f"{outcome} (redis): 500 told so")


@pytest.mark.parametrize("state", STATES.values())
def test_states_are_none_of_celerys(state: str) -> None:
    """No state is one that Celery gives a meaning of its own, by which it would be ordered before STARTED."""
    from celery import states

    assert state not in states.ALL_STATES


def test_results_come_in_words() -> None:
    """Outcome, store and reason come first; what the arguments show already is left out; lists are joined."""
    assert in_words(RESULT, "instrument=GOLD side=sell") == "held (redis): 500 told so · side=buy attempt=1"
    assert in_words({"outcome": "evaluated", "signals": ["a buy", "b sell"]}) == "evaluated · signals=a buy, b sell"
    assert in_words({"outcome": "swept"}) == "swept"


@pytest.mark.parametrize(
    "result", ["None", "17", "{'no': 'outcome'}", repr(RESULT)[:40], "{'outcome': <object>}", None, 17]
)
def test_what_is_no_result_of_ours_stays_as_it_is(result: object) -> None:
    """Results of other tasks, those that Celery cut off, and none at all are told as Celery tells them."""
    assert read_result(result) is None
    assert told(result, "") == ("task-succeeded", result)


def test_candle_is_shown_with_its_start_and_close() -> None:
    """At a glance a candle is instrument, timeframe, start and close; by name the same."""
    shown = showing_candle(CANDLE)
    assert shown["argsrepr"] == "GOLD 1h 2025-01-04T09:00Z–10:00Z"  # noqa: RUF001 as a person reads it
    assert shown["kwargsrepr"] == "instrument=GOLD timeframe=1h candle=2025-01-04T09:00Z–10:00Z"  # noqa: RUF001
