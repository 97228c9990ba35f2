"""Where candles start and close under `utc` and `ny17`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dedup.alignment import (
    NY17,
    UTC_ALIGNMENT,
    Alignment,
    alignment_named,
    candle,
    candle_at,
    closed_between,
    last_closed,
    next_close,
)
from dedup.errors import InvalidCandle, InvalidSetting
from dedup.timeframe import Timeframe

NEW_YORK = ZoneInfo("America/New_York")
BERLIN = ZoneInfo("Europe/Berlin")
TICK = timedelta(microseconds=1)

alignments = st.sampled_from([UTC_ALIGNMENT, NY17])
timeframes = st.one_of(
    st.sampled_from(["1m", "15m", "90m", "1h", "2h", "120m", "150m", "3h", "4h", "5h", "7201s", "12h", "24h", "25h"]),
    st.sampled_from(["36h", "1d", "2d", "3d", "7d", "1w", "2w", "3w"]),
    st.builds("{}{}".format, st.integers(1, 500), st.sampled_from("smhdw")),
).map(Timeframe.parse)
moments = st.datetimes(datetime(1800, 1, 1), datetime(2400, 1, 1), timezones=st.just(UTC))
around_clock_changes = st.builds(
    lambda change, offset: change + offset,
    st.sampled_from(
        [
            datetime(2024, 3, 10, 7, tzinfo=UTC),
            datetime(2024, 11, 3, 6, tzinfo=UTC),
            datetime(1883, 11, 18, 17, tzinfo=UTC),
            datetime(1942, 2, 9, 7, tzinfo=UTC),
            datetime(2007, 3, 11, 7, tzinfo=UTC),
        ]
    ),
    st.timedeltas(-timedelta(days=2), timedelta(days=2)),
)
any_moment = st.one_of(moments, around_clock_changes)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def new_york(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


def spans(alignment: Alignment, timeframe: str, after: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    found = closed_between(alignment, "EURUSD", Timeframe.parse(timeframe), after, until)
    return [(each.start, each.close) for each in found]


def starts_in_new_york(timeframe: str, after: datetime, until: datetime) -> list[str]:
    return [f"{start.astimezone(NEW_YORK):%H:%M}" for start, _ in spans(NY17, timeframe, after, until)]


@settings(deadline=None, max_examples=400)
@given(alignments, timeframes, any_moment)
@example(NY17, Timeframe.parse("170m"), datetime(2024, 11, 3, 6, 10, tzinfo=UTC))
@example(NY17, Timeframe.parse("190m"), datetime(2024, 3, 10, 7, 10, tzinfo=UTC))
def test_candles_tile_time(alignment: Alignment, timeframe: Timeframe, moment: datetime) -> None:
    """Every moment lies in exactly one candle, whose neighbours start and close where it closes and starts."""
    here = candle_at(alignment, "EURUSD", timeframe, moment)
    assert here is not None
    assert here.start <= moment < here.close
    after = candle_at(alignment, "EURUSD", timeframe, here.close)
    before = candle_at(alignment, "EURUSD", timeframe, here.start - TICK)
    assert after is not None
    assert before is not None
    assert (before.close, here.close) == (here.start, after.start)


@settings(deadline=None, max_examples=300)
@given(alignments, timeframes, any_moment)
def test_start_names_the_candle(alignment: Alignment, timeframe: Timeframe, moment: datetime) -> None:
    """The start of the candle that contains a moment gives the same candle back, and so does its last microsecond."""
    here = candle_at(alignment, "EURUSD", timeframe, moment)
    assert here is not None
    assert candle(alignment, "EURUSD", timeframe, here.start) == here
    assert candle_at(alignment, "EURUSD", timeframe, here.close - TICK) == here


@settings(deadline=None, max_examples=300)
@given(alignments, timeframes, any_moment)
def test_last_closed_and_next_close_meet(alignment: Alignment, timeframe: Timeframe, now: datetime) -> None:
    """No candle closes between the last closed one and the next close, at a boundary neither."""
    last = last_closed(alignment, "EURUSD", timeframe, now)
    upcoming = next_close(alignment, timeframe, now)
    assert last.close <= now < upcoming
    assert next_close(alignment, timeframe, last.close) == upcoming
    assert last_closed(alignment, "EURUSD", timeframe, upcoming).start == last.close
    assert last_closed(alignment, "EURUSD", timeframe, last.close) == last


@settings(deadline=None, max_examples=200)
@given(alignments, timeframes, any_moment, st.integers(0, 30), st.integers(0, 10**6))
def test_closed_between_gives_each_candle_once(
    alignment: Alignment, timeframe: Timeframe, after: datetime, count: int, over_us: int
) -> None:
    """Every candle with `after < close <= until` comes once, oldest first, and two ranges join without a seam."""
    until = after + min(count * timeframe.length, timedelta(days=9000)) + timedelta(microseconds=over_us)
    found = list(closed_between(alignment, "EURUSD", timeframe, after, until))
    assert all(one.close == two.start for one, two in pairwise(found))
    assert all(after < each.close <= until for each in found)
    if found:
        assert found[0].close == next_close(alignment, timeframe, after)
        assert found[-1] == last_closed(alignment, "EURUSD", timeframe, until)
    else:
        assert next_close(alignment, timeframe, after) > until
    middle = after + (until - after) / 2
    halves = [
        *closed_between(alignment, "EURUSD", timeframe, after, middle),
        *closed_between(alignment, "EURUSD", timeframe, middle, until),
    ]
    assert halves == found


@settings(deadline=None)
@given(timeframes, moments)
def test_utc_candles_have_the_nominal_length(timeframe: Timeframe, moment: datetime) -> None:
    """Under `utc` every candle is as long as its timeframe says, and a whole number of them fits since the origin."""
    here = candle_at(UTC_ALIGNMENT, "EURUSD", timeframe, moment)
    assert here is not None
    assert here.close - here.start == timeframe.length
    origin = utc("1969-12-29") if timeframe.unit == "w" else utc("1970-01-01")
    assert (here.start - origin) % timeframe.length == timedelta(0)


@pytest.mark.parametrize(
    ("timeframe", "moment", "start"),
    [
        ("1m", "2024-02-29T23:59:59.999999", "2024-02-29T23:59"),
        ("15m", "2024-01-02T12:44", "2024-01-02T12:30"),
        ("4h", "2024-03-10T07:30", "2024-03-10T04:00"),
        ("1d", "2024-02-29T12:00", "2024-02-29T00:00"),
        ("2d", "1970-01-04T00:00", "1970-01-03T00:00"),
        ("2d", "1969-12-31T23:00", "1969-12-30T00:00"),
        ("7d", "1970-01-05T00:00", "1970-01-01T00:00"),
        ("1w", "2024-01-07T23:59", "2024-01-01T00:00"),
        ("1w", "2024-01-08T00:00", "2024-01-08T00:00"),
        ("1w", "1970-01-01T00:00", "1969-12-29T00:00"),
        ("2w", "1970-01-11T00:00", "1969-12-29T00:00"),
        ("2w", "2000-01-03T00:00", "2000-01-03T00:00"),
        ("36h", "1970-01-02T13:00", "1970-01-02T12:00"),
        ("7m", "1970-01-01T00:08", "1970-01-01T00:07"),
    ],
)
def test_utc_starts(timeframe: str, moment: str, start: str) -> None:
    """Under `utc` candles count from the epoch, and weeks from a Monday."""
    here = candle_at(UTC_ALIGNMENT, "EURUSD", Timeframe.parse(timeframe), utc(moment))
    assert here is not None
    assert here.start == utc(start)


@pytest.mark.parametrize("change", ["2024-03-31T01:00", "2024-10-27T01:00", "2024-03-10T07:00", "2024-11-03T06:00"])
@pytest.mark.parametrize("timeframe", ["15m", "1h", "4h", "1d"])
def test_utc_knows_no_summer_time(change: str, timeframe: str) -> None:
    """Changes of clocks in Europe and New York leave `utc` candles alone, in whatever zone the moments are given."""
    around = utc(change)
    found = spans(UTC_ALIGNMENT, timeframe, (around - timedelta(days=2)).astimezone(BERLIN), around + timedelta(days=2))
    assert {close - start for start, close in found} == {Timeframe.parse(timeframe).length}
    assert len(found) == timedelta(days=4) // Timeframe.parse(timeframe).length


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        ("2024-03-08", 24),
        ("2024-03-09", 23),
        ("2024-03-10", 24),
        ("2024-11-02", 25),
        ("2024-11-03", 24),
        ("2024-07-03", 24),
    ],
)
def test_ny17_days(day: str, hours: int) -> None:
    """A trading day runs from 17:00 to 17:00 in New York; it has 23 or 25 hours where the clocks change."""
    start = new_york(f"{day}T17:00")
    here = candle(NY17, "EURUSD", Timeframe.parse("1d"), start)
    assert here.close.astimezone(NEW_YORK).replace(tzinfo=None) == start.replace(tzinfo=None) + timedelta(days=1)
    assert here.close - here.start == timedelta(hours=hours)


@pytest.mark.parametrize("day", ["2024-01-15", "2024-07-15", "2024-03-09", "2024-11-02", "2024-03-30"])
@pytest.mark.parametrize(
    ("timeframe", "hours"),
    [
        ("4h", ["17:00", "21:00", "01:00", "05:00", "09:00", "13:00"]),
        ("6h", ["17:00", "23:00", "05:00", "11:00"]),
        ("8h", ["17:00", "01:00", "09:00"]),
        ("12h", ["17:00", "05:00"]),
        ("5h", ["17:00", "22:00", "03:00", "08:00", "13:00"]),
        ("24h", ["17:00"]),
    ],
)
def test_ny17_hours_follow_the_new_york_clock(day: str, timeframe: str, hours: list[str]) -> None:
    """Candles within the trading day start at the same hours of the New York clock, also where the clocks change."""
    start = new_york(f"{day}T17:00")
    close = next_close(NY17, Timeframe.parse("1d"), start)
    assert starts_in_new_york(timeframe, start, close) == hours


@pytest.mark.parametrize(
    ("day", "timeframe", "candle_start", "hours"),
    [
        ("2024-03-09", "4h", "2024-03-10T06:00", 3),
        ("2024-11-02", "4h", "2024-11-03T05:00", 5),
        ("2024-03-09", "12h", "2024-03-09T22:00", 11),
        ("2024-11-02", "12h", "2024-11-02T21:00", 13),
        ("2024-03-09", "3h", "2024-03-10T07:00", 2),
        ("2024-11-02", "3h", "2024-11-03T03:00", 4),
        ("2024-11-02", "2h", "2024-11-03T05:00", 3),
    ],
)
def test_ny17_only_the_candle_of_the_change_differs(day: str, timeframe: str, candle_start: str, hours: int) -> None:
    """The candle in which the clocks change is an hour shorter or longer, and no other one is."""
    start = new_york(f"{day}T17:00")
    found = spans(NY17, timeframe, start, next_close(NY17, Timeframe.parse("1d"), start))
    odd = [(start, close - start) for start, close in found if close - start != Timeframe.parse(timeframe).length]
    assert odd == [(utc(candle_start), timedelta(hours=hours))]


@pytest.mark.parametrize(
    ("timeframe", "moment", "start", "close"),
    [
        ("170m", "2024-11-03T05:29:59", "2024-11-03T02:40", "2024-11-03T05:30"),
        ("170m", "2024-11-03T05:30", "2024-11-03T05:30", "2024-11-03T09:20"),
        ("170m", "2024-11-03T06:10", "2024-11-03T05:30", "2024-11-03T09:20"),
        ("190m", "2024-03-10T07:10", "2024-03-10T04:20", "2024-03-10T07:30"),
        ("190m", "2024-03-10T07:30", "2024-03-10T07:30", "2024-03-10T09:40"),
    ],
)
def test_ny17_boundaries_in_the_changed_hour(timeframe: str, moment: str, start: str, close: str) -> None:
    """A boundary in the repeated hour is its first occurrence, one in the skipped hour lies an hour on."""
    here = candle_at(NY17, "EURUSD", Timeframe.parse(timeframe), utc(moment))
    assert here is not None
    assert (here.start, here.close) == (utc(start), utc(close))


@settings(deadline=None)
@given(st.sampled_from(["2h", "120m", "3h", "4h", "5h", "7201s", "8h", "23h"]), any_moment)
def test_ny17_days_hold_whole_candles(timeframe: str, moment: datetime) -> None:
    """Every trading day starts and closes with a candle of each timeframe of two hours to a day."""
    day = candle_at(NY17, "EURUSD", Timeframe.parse("1d"), moment)
    assert day is not None
    found = spans(NY17, timeframe, day.start, day.close)
    assert (found[0][0], found[-1][1]) == (day.start, day.close)


@settings(deadline=None)
@given(st.sampled_from(["1s", "1m", "15m", "1h", "90m", "119m", "7199s"]), any_moment)
def test_ny17_is_utc_below_two_hours(timeframe: str, moment: datetime) -> None:
    """Timeframes below two hours are the same under `ny17` and `utc`."""
    short = Timeframe.parse(timeframe)
    assert last_closed(NY17, "EURUSD", short, moment) == last_closed(UTC_ALIGNMENT, "EURUSD", short, moment)
    assert next_close(NY17, short, moment) == next_close(UTC_ALIGNMENT, short, moment)


@pytest.mark.parametrize(
    ("timeframe", "start", "close"),
    [
        ("1w", "2024-01-07T17:00", "2024-01-14T17:00"),
        ("1w", "2024-03-03T17:00", "2024-03-10T17:00"),
        ("1w", "2024-10-27T17:00", "2024-11-03T17:00"),
        ("2w", "1999-12-19T17:00", "2000-01-02T17:00"),
        ("2d", "1969-12-31T17:00", "1970-01-02T17:00"),
    ],
)
def test_ny17_weeks_and_days_are_counted(timeframe: str, start: str, close: str) -> None:
    """The forex week starts on Sunday at 17:00 in New York; several days are counted from the epoch's trading day."""
    assert candle(NY17, "EURUSD", Timeframe.parse(timeframe), new_york(start)).close == new_york(close)


def test_a_year_of_ny17_days() -> None:
    """A year has one trading day for each of its days, 23 or 25 hours long only where the clocks change."""
    found = spans(NY17, "1d", new_york("2023-12-31T17:00"), new_york("2024-12-31T17:00"))
    odd = {
        start.astimezone(NEW_YORK).date().isoformat(): close - start
        for start, close in found
        if close - start != timedelta(1)
    }
    assert len(found) == 366
    assert odd == {"2024-03-09": timedelta(hours=23), "2024-11-02": timedelta(hours=25)}


@pytest.mark.parametrize(
    ("alignment", "timeframe", "start", "nearest"),
    [
        (UTC_ALIGNMENT, "15m", "2024-01-02T12:01", "2024-01-02T12:00:00Z"),
        (UTC_ALIGNMENT, "15m", "2024-01-02T12:14:59", "2024-01-02T12:15:00Z"),
        (UTC_ALIGNMENT, "1m", "2024-01-02T12:00:00.000001", "2024-01-02T12:00:00Z"),
        (UTC_ALIGNMENT, "1w", "2024-01-07T00:00", "2024-01-08T00:00:00Z"),
        (NY17, "1d", "2024-01-02T00:00", "2024-01-01T22:00:00Z"),
        (NY17, "4h", "2024-07-02T00:00", "2024-07-02T01:00:00Z"),
    ],
)
def test_a_start_beside_a_boundary_is_refused(alignment: Alignment, timeframe: str, start: str, nearest: str) -> None:
    """Where no candle starts, the error names the nearest start."""
    with pytest.raises(InvalidCandle, match=f"under {alignment.name}; the nearest starts {nearest}$"):
        candle(alignment, "EURUSD", Timeframe.parse(timeframe), utc(start))


def test_any_zone_may_name_a_start() -> None:
    """A start given in another zone is the same candle, and candles are always in UTC."""
    here = candle(UTC_ALIGNMENT, "EURUSD", Timeframe.parse("1h"), datetime(2024, 3, 31, 3, tzinfo=BERLIN))
    assert (here.start, here.close) == (utc("2024-03-31T01:00"), utc("2024-03-31T02:00"))
    assert here.start.tzinfo is UTC


NAIVE = datetime(2024, 1, 2, 12)
HOUR = Timeframe.parse("1h")


@pytest.mark.parametrize(
    "ask",
    [
        lambda: candle(UTC_ALIGNMENT, "EURUSD", HOUR, NAIVE),
        lambda: candle_at(UTC_ALIGNMENT, "EURUSD", HOUR, NAIVE),
        lambda: last_closed(UTC_ALIGNMENT, "EURUSD", HOUR, NAIVE),
        lambda: next_close(UTC_ALIGNMENT, HOUR, NAIVE),
        lambda: closed_between(UTC_ALIGNMENT, "EURUSD", HOUR, NAIVE, utc("2024-01-02")),
        lambda: closed_between(UTC_ALIGNMENT, "EURUSD", HOUR, utc("2024-01-02"), NAIVE),
    ],
    ids=["candle", "candle_at", "last_closed", "next_close", "after", "until"],
)
def test_a_naive_moment_is_refused(ask: Any) -> None:
    """No question is answered for a naive datetime, and ranges refuse it at once."""
    with pytest.raises(InvalidCandle, match="timezone-aware"):
        ask()


def test_an_empty_range_has_no_candles() -> None:
    """A range that ends where it starts, or before, holds no close."""
    noon = utc("2024-01-02T12:00")
    assert spans(UTC_ALIGNMENT, "1m", noon, noon) == []
    assert spans(UTC_ALIGNMENT, "1m", noon, noon - timedelta(hours=1)) == []


@pytest.mark.parametrize("alignment", [UTC_ALIGNMENT, NY17], ids=["utc", "ny17"])
@pytest.mark.parametrize("timeframe", ["1m", "4h", "1d", "1w", "99999w"])
@pytest.mark.parametrize("moment", [datetime.min, datetime.max])
def test_the_ends_of_time(alignment: Alignment, timeframe: str, moment: datetime) -> None:
    """Near the years 1 and 9999 an answer is right, or an `InvalidCandle` that says so."""
    far = moment.replace(tzinfo=UTC)
    length = Timeframe.parse(timeframe)
    refused = 0
    for ask in (candle_at, last_closed):
        try:
            here = ask(alignment, "EURUSD", length, far)
        except InvalidCandle as error:
            assert "years 1 to 9999" in str(error)
            refused += 1
        else:
            assert here is not None
            assert here.start < here.close
    assert refused >= 1


@pytest.mark.parametrize("year", [1, 1600, 1969, 2100, 2500, 9998])
def test_far_dates(year: int) -> None:
    """Far from today New York candles still follow its clock."""
    here = candle_at(NY17, "EURUSD", Timeframe.parse("1d"), datetime(year, 6, 15, 12, tzinfo=UTC))
    assert here is not None
    assert f"{here.start.astimezone(NEW_YORK):%d %H:%M}" == "14 17:00"


@pytest.mark.parametrize(("name", "alignment"), [("utc", UTC_ALIGNMENT), ("ny17", NY17)])
def test_alignments_have_names(name: str, alignment: Alignment) -> None:
    """An alignment is found under its own name."""
    assert alignment_named(name) is alignment
    assert alignment.name == name


@pytest.mark.parametrize("name", ["", "UTC", "ny", "XNYS"])
def test_an_unknown_alignment_is_refused(name: str) -> None:
    """Another name is an error that lists what is offered."""
    with pytest.raises(InvalidSetting, match="offered are utc, ny17"):
        alignment_named(name)


def test_an_alignment_of_your_own_needs_two_methods() -> None:
    """Whatever answers `closing_after` and `closed_by` can be used, gaps between its candles included."""

    class Lunch:
        """12:00 to 13:00 UTC on every day."""

        name = "lunch"

        def closing_after(self, moment: datetime, timeframe: Timeframe) -> Any:
            from dedup.alignment import Span

            noon = (moment - timedelta(hours=13)).replace(hour=12, minute=0, second=0, microsecond=0) + timedelta(
                days=1
            )
            return Span(noon, noon + timedelta(hours=1))

        def closed_by(self, moment: datetime, timeframe: Timeframe) -> Any:
            return self.closing_after(moment - timedelta(days=1), timeframe)

    lunch, hour = Lunch(), Timeframe.parse("1h")
    assert candle_at(lunch, "SOUP", hour, utc("2024-01-02T11:59")) is None
    assert candle_at(lunch, "SOUP", hour, utc("2024-01-02T13:00")) is None
    assert candle_at(lunch, "SOUP", hour, utc("2024-01-02T12:30")) == candle(
        lunch, "SOUP", hour, utc("2024-01-02T12:00")
    )
    assert last_closed(lunch, "SOUP", hour, utc("2024-01-02T12:30")).close == utc("2024-01-01T13:00")
    assert last_closed(lunch, "SOUP", hour, utc("2024-01-02T13:00")).close == utc("2024-01-02T13:00")
    days = [
        each.start.day for each in closed_between(lunch, "SOUP", hour, utc("2024-01-02T13:00"), utc("2024-01-05T13:00"))
    ]
    assert days == [3, 4, 5]
    with pytest.raises(InvalidCandle, match="nearest starts 2024-01-02T12:00:00Z"):
        candle(lunch, "SOUP", hour, utc("2024-01-02T17:00"))


def test_candle_carries_what_it_was_asked_for() -> None:
    """A candle has the instrument and timeframe that it was asked for with."""
    moment = datetime(2024, 1, 2, 12, tzinfo=timezone.utc)  # noqa: UP017 both spellings are the same zone
    here = candle(UTC_ALIGNMENT, "BTC/USDT", HOUR, moment)
    assert (here.instrument, here.timeframe, here.start) == ("BTC/USDT", HOUR, moment)
