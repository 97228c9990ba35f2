"""Session candles at the edges of what a calendar knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dedup.alignment import candle_at, closed_between, last_closed, next_close
from dedup.errors import InvalidCandle
from dedup.timeframe import Timeframe
from tasks.sessions import SessionAlignment, Sessions

HOUR, DAY, WEEK = (Timeframe.parse(text) for text in ("1h", "1d", "1w"))
TICK = timedelta(microseconds=1)


def at(day: int, hour: int) -> datetime:
    return datetime(2024, 7, day, hour, tzinfo=UTC)


def market(*days: int) -> SessionAlignment:
    """Trades from 10 to 12 and from 13 to 15 UTC on those days of July 2024; the first is a Monday."""
    sessions = Sessions(
        market="TEST",
        days=tuple(at(day, 0).toordinal() for day in days),
        opens=tuple(at(day, 10) for day in days),
        closes=tuple(at(day, 15) for day in days),
        part_opens=tuple(at(day, hour) for day in days for hour in (10, 13)),
        part_closes=tuple(at(day, hour) for day in days for hour in (12, 15)),
    )
    return SessionAlignment("TEST", sessions)


@pytest.mark.parametrize("timeframe", [HOUR, DAY], ids=str)
def test_nothing_is_known_after_the_last_close(timeframe: Timeframe) -> None:
    """At the last close the last candle is closed; which one is next, nobody knows."""
    known = market(1, 2, 3)
    assert last_closed(known, "X", timeframe, at(3, 15)).close == at(3, 15)
    assert next_close(known, timeframe, at(3, 15) - TICK) == at(3, 15)
    with pytest.raises(InvalidCandle, match="TEST is known from 2024-07-01 to 2024-07-03"):
        next_close(known, timeframe, at(3, 15))
    with pytest.raises(InvalidCandle, match="TEST is known"):
        last_closed(known, "X", timeframe, at(3, 15) + TICK)


@pytest.mark.parametrize(("timeframe", "close"), [(HOUR, at(1, 11)), (DAY, at(1, 15))], ids=["1h", "1d"])
def test_nothing_is_known_before_the_first_close(timeframe: Timeframe, close: datetime) -> None:
    """From the first open on there is a next close, and until then no closed candle."""
    known = market(1, 2, 3)
    assert next_close(known, timeframe, at(1, 10)) == close
    assert last_closed(known, "X", timeframe, close).start == at(1, 10)
    for moment in (at(1, 10), close - TICK):
        with pytest.raises(InvalidCandle, match="TEST is known"):
            last_closed(known, "X", timeframe, moment)
    with pytest.raises(InvalidCandle, match="TEST is known"):
        next_close(known, timeframe, at(1, 10) - TICK)


def test_a_week_that_is_known_in_part_is_not_guessed() -> None:
    """A week whose first or last days lie outside the known ones may have sessions there, so it has no candle."""
    known = market(3, 4, 5, 8, 9, 12, 14, 15, 16)
    assert next_close(known, WEEK, at(9, 0)) == at(14, 15)
    assert last_closed(known, "X", WEEK, at(14, 15)).start == at(8, 10)
    for moment in (at(4, 0), at(15, 0)):
        with pytest.raises(InvalidCandle, match="TEST is known"):
            next_close(known, WEEK, moment)
    with pytest.raises(InvalidCandle, match="TEST is known"):
        last_closed(known, "X", WEEK, at(12, 0))


def test_gaps_belong_to_no_candle() -> None:
    """Candles stop at lunch, overnight and over days without a session."""
    known = market(1, 2, 5)
    found = [each.start for each in closed_between(known, "X", HOUR, at(1, 10), at(5, 11))]
    assert found == [at(day, hour) for day in (1, 2) for hour in (10, 11, 13, 14)] + [at(5, 10)]
    assert [candle_at(known, "X", HOUR, moment) for moment in (at(1, 12), at(1, 15), at(3, 11))] == [None] * 3
    lunch = candle_at(known, "X", DAY, at(1, 12))
    assert lunch is not None
    assert (lunch.start, lunch.close) == (at(1, 10), at(1, 15))
