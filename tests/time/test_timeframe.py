"""Timeframes, moments and candles: what is read, and what is refused."""

from __future__ import annotations

import pickle
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.errors import InvalidCandle, InvalidTimeframe
from dedup.timeframe import Candle, Timeframe, as_utc

DASH = "\N{EN DASH}"
NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("1m", 60), ("15m", 900), ("4h", 14_400), ("1d", 86_400), ("1w", 604_800), ("99999w", 60_479_395_200)],
)
def test_length(text: str, seconds: int) -> None:
    """A timeframe is its count times its unit."""
    assert Timeframe.parse(text).seconds == seconds
    assert Timeframe.parse(text).length == timedelta(seconds=seconds)


@settings(deadline=None)
@given(st.integers(1, 99_999), st.sampled_from("smhdw"))
def test_text_round_trip(count: int, unit: str) -> None:
    """Reading what a timeframe writes gives an equal timeframe."""
    timeframe = Timeframe(count, unit)
    assert Timeframe.parse(str(timeframe)) == timeframe


@pytest.mark.parametrize(
    "text",
    [
        "",
        "m",
        "1",
        "0m",
        "01m",
        "-1m",
        "+1m",
        "1.5h",
        "100000s",
        "1H",
        "1D",
        "1min",
        " 1m",
        "1m\n",
        "\u0661m",
        None,
        60,
    ],
)
def test_rubbish_is_refused(text: Any) -> None:
    """Anything but a count from 1 to 99999 and one small unit letter is an error that says what to write."""
    with pytest.raises(InvalidTimeframe, match="write a count from 1 to 99999"):
        Timeframe.parse(text)


def test_a_month_is_not_taken_for_a_minute() -> None:
    """`1M` is refused with a word on months, while `1m` is a minute."""
    with pytest.raises(InvalidTimeframe, match="months are not offered"):
        Timeframe.parse("1M")
    assert Timeframe.parse("1m").length == timedelta(minutes=1)


@pytest.mark.parametrize(("count", "unit"), [(0, "m"), (-5, "m"), (1, "M"), (1, "min"), (100_000, "s"), (1.0, "h")])
def test_no_impossible_timeframe_can_be_made(count: Any, unit: str) -> None:
    """The constructor refuses what `parse` refuses."""
    with pytest.raises(InvalidTimeframe):
        Timeframe(count, unit)


def test_timeframe_survives_pickling() -> None:
    """A timeframe is equal to its pickled copy."""
    timeframe = Timeframe.parse("4h")
    assert pickle.loads(pickle.dumps(timeframe)) == timeframe


def test_as_utc_keeps_the_moment() -> None:
    """A moment in another zone is the same moment in UTC."""
    moment = as_utc(datetime(2024, 1, 2, 3, tzinfo=timezone(timedelta(hours=-9))), "moment")
    assert moment == NOON
    assert moment.tzinfo is UTC


class _Offsetless(tzinfo):
    def utcoffset(self, moment: datetime | None, /) -> None:
        return None

    def tzname(self, moment: datetime | None, /) -> str:
        return "nowhere"

    def dst(self, moment: datetime | None, /) -> None:
        return None


@pytest.mark.parametrize(
    "moment",
    [NOON.replace(tzinfo=None), NOON.replace(tzinfo=_Offsetless()), date(2024, 1, 2), "2024-01-02T12:00:00Z", None],
    ids=["naive", "zone without offset", "date", "text", "none"],
)
def test_a_moment_without_a_zone_is_refused(moment: Any) -> None:
    """What has no offset from UTC is an error that names the argument and the remedy."""
    with pytest.raises(InvalidCandle, match=r"(?s)^opened = .*timezone-aware"):
        as_utc(moment, "opened")


@pytest.mark.parametrize(("moment", "hours"), [(datetime.max, -1), (datetime.min, 1)])
def test_a_moment_beyond_the_calendar_is_refused(moment: datetime, hours: int) -> None:
    """A moment that has no UTC date between the years 1 and 9999 is an `InvalidCandle`, no OverflowError."""
    with pytest.raises(InvalidCandle, match="years 1 to 9999"):
        as_utc(moment.replace(tzinfo=timezone(timedelta(hours=hours))), "moment")


def test_a_candle_closes_at_its_close() -> None:
    """A candle is closed from its close on, and not a microsecond before."""
    candle = Candle("EURUSD", Timeframe.parse("1h"), NOON, NOON + timedelta(hours=1))
    assert not candle.closed(candle.close - timedelta(microseconds=1))
    assert candle.closed(candle.close)
    assert candle.closed(candle.close.astimezone(timezone(timedelta(hours=5))))


def test_a_candle_does_not_guess_a_zone() -> None:
    """Asking whether a candle is closed at a naive moment is an `InvalidCandle`."""
    candle = Candle("EURUSD", Timeframe.parse("1h"), NOON, NOON + timedelta(hours=1))
    with pytest.raises(InvalidCandle, match="timezone-aware"):
        candle.closed(datetime(2024, 1, 2, 13))


@pytest.mark.parametrize(
    ("start", "close", "text"),
    [
        (NOON, NOON + timedelta(hours=1), f"2024-01-02T12:00Z{DASH}13:00Z"),
        (NOON, NOON + timedelta(seconds=5), f"2024-01-02T12:00Z{DASH}12:00:05Z"),
        (NOON, NOON + timedelta(microseconds=5), f"2024-01-02T12:00Z{DASH}12:00:00.000005Z"),
        (datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC), f"0001-01-01T00:00Z{DASH}0001-01-02T00:00Z"),
    ],
)
def test_a_candle_shows_start_and_close(start: datetime, close: datetime, text: str) -> None:
    """A candle is written as its start and its close, to the minute and without the day again where that says all."""
    assert str(Candle("EURUSD", Timeframe.parse("1h"), start, close)) == text
