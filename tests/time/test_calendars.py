"""When markets trade: the calendars, and candles that follow the sessions of an exchange."""

from __future__ import annotations

import subprocess
import sys
import warnings
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import exchange_calendars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.alignment import NY17, UTC_ALIGNMENT, candle, candle_at, closed_between, last_closed, next_close
from dedup.errors import InvalidCandle, InvalidSetting, InvalidTimeframe
from dedup.timeframe import Timeframe
from tasks.calendars import alignment_for, calendar_named

NEW_YORK = ZoneInfo("America/New_York")
HONG_KONG = ZoneInfo("Asia/Hong_Kong")
MINUTE = timedelta(minutes=1)


def new_york(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


def spans(market: str, timeframe: str, after: datetime, until: datetime) -> list[str]:
    """As `Mon 09:30-16:00` on the market's own clock."""
    zone = after.tzinfo
    return [
        f"{each.start.astimezone(zone):%a %H:%M}-{each.close.astimezone(zone):%H:%M}"
        for each in closed_between(alignment_for(market), "SPY", Timeframe.parse(timeframe), after, until)
    ]


@pytest.mark.parametrize(
    ("market", "start", "minutes", "is_open"),
    [
        ("24/7", "2024-12-25T03:00", 1, True),
        ("forex", "2024-07-05T16:45", 15, True),
        ("forex", "2024-07-05T17:00", 15, False),
        ("forex", "2024-07-06T12:00", 240, False),
        ("forex", "2024-07-07T16:45", 15, False),
        ("forex", "2024-07-07T16:45", 16, True),
        ("forex", "2024-07-07T17:00", 1, True),
        ("forex", "2024-03-10T17:00", 1, True),
        ("forex", "2024-03-10T16:59", 1, False),
        ("forex", "2024-11-03T16:59", 1, False),
        ("forex", "2024-07-05T17:00", 7 * 1440, True),
        ("XNYS", "2024-07-03T09:30", 1, True),
        ("XNYS", "2024-07-03T09:29", 1, False),
        ("XNYS", "2024-07-03T09:29", 2, True),
        ("XNYS", "2024-07-03T12:59", 1, True),
        ("XNYS", "2024-07-03T13:00", 60, False),
        ("XNYS", "2024-07-04T00:00", 1440, False),
        ("XNYS", "2024-07-06T00:00", 1440, False),
        ("XNYS", "2024-07-06T00:00", 7 * 1440, True),
        ("XNYS", "2012-11-23T12:45", 15, True),
        ("XNYS", "2012-11-23T13:00", 15, False),
        ("XNYS", "2012-11-26T13:00", 15, True),
        ("XNYS", "2012-10-29T00:00", 1440, False),
        ("XNYS", "2012-10-30T00:00", 1440, False),
        ("XNYS", "2012-10-31T00:00", 1440, True),
        ("XNYS", "2001-09-12T12:00", 60, False),
        ("NYSE", "2012-10-29T12:00", 60, False),
        ("24/5", "2024-07-05T19:59", 1, True),
        ("24/5", "2024-07-05T20:00", 1, False),
        ("CMES", "2024-07-07T18:00", 1, True),
        ("CMES", "2024-07-07T17:59", 1, False),
    ],
)
def test_is_open(market: str, start: str, minutes: int, is_open: bool) -> None:
    """A market is open over a span that holds any of its trading, whatever its holidays and early closes."""
    begin = new_york(start).astimezone(UTC)
    assert calendar_named(market).is_open(begin, begin + minutes * MINUTE) is is_open


@pytest.mark.parametrize(
    ("start", "close", "is_open"),
    [("11:45", "12:00", True), ("12:00", "13:00", False), ("12:30", "13:00", False), ("12:30", "13:01", True)],
)
def test_a_lunch_break_is_closed(start: str, close: str, is_open: bool) -> None:
    """Hong Kong does not trade from 12:00 to 13:00."""
    first, last = (datetime.fromisoformat(f"2024-07-03T{text}").replace(tzinfo=HONG_KONG) for text in (start, close))
    assert calendar_named("XHKG").is_open(first, last) is is_open


@pytest.mark.parametrize("market", ["24/7", "forex", "XNYS"])
def test_an_empty_span_holds_no_trade(market: str) -> None:
    """No market is open over a span without length."""
    noon = new_york("2024-07-03T12:00")
    assert not calendar_named(market).is_open(noon, noon)


@pytest.mark.parametrize("market", ["24/7", "forex", "XNYS"])
def test_a_naive_moment_is_refused(market: str) -> None:
    """No calendar guesses the zone of a moment."""
    noon = new_york("2024-07-03T12:00")
    with pytest.raises(InvalidCandle, match="timezone-aware"):
        calendar_named(market).is_open(noon.replace(tzinfo=None), noon)
    with pytest.raises(InvalidCandle, match="timezone-aware"):
        calendar_named(market).is_open(noon, noon.replace(tzinfo=None))


@pytest.mark.parametrize("year", [1985, 2300])
def test_unknown_years_are_no_closed_market(year: int) -> None:
    """Outside the years that a calendar knows it raises, and says which years those are."""
    start = datetime(year, 7, 3, 15, tzinfo=UTC)
    with pytest.raises(InvalidCandle, match="XNYS is known from 1990-01-02 to 20"):
        calendar_named("XNYS").is_open(start, start + MINUTE)
    for ask in (candle_at, last_closed):
        with pytest.raises(InvalidCandle, match="XNYS is known from"):
            ask(alignment_for("XNYS"), "SPY", Timeframe.parse("1h"), start)


def test_a_calendar_that_knows_fewer_years_still_loads() -> None:
    """Tokyo's calendar starts in 1997; it is offered from there."""
    start = datetime(2024, 7, 3, 1, tzinfo=UTC)
    assert calendar_named("XTKS").is_open(start, start + MINUTE)
    with pytest.raises(InvalidCandle, match="XTKS is known from 1997-01-0"):
        calendar_named("XTKS").is_open(datetime(1995, 7, 3, 1, tzinfo=UTC), start)


def test_the_near_future_is_known() -> None:
    """The next year is known, so that a process may live a while."""
    start = datetime.now(UTC) + timedelta(days=300)
    assert calendar_named("XNYS").is_open(start, start + timedelta(days=10))


@pytest.mark.parametrize(
    ("name", "hint"), [("xnys", "did you mean XNYS"), ("NYSEE", "did you mean NYSE"), ("", "such as XNYS")]
)
def test_unknown_names_are_refused(name: str, hint: str) -> None:
    """An unknown name is an error that says what is offered, for calendars and for alignments."""
    with pytest.raises(InvalidSetting, match=f"calendar = .*24/7, forex and .*{hint}"):
        calendar_named(name)
    with pytest.raises(InvalidSetting, match=f"alignment = .*utc, ny17 and .*{hint}"):
        alignment_for(name)


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where exchange-calendars is missing, market names name the extra and the calendars of our own still work."""
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    for find in (calendar_named, alignment_for):
        with pytest.raises(InvalidSetting, match=r"pip install 'candlelatch\[calendars\]'"):
            find("XNYS")
    assert calendar_named("24/7").name == "24/7"
    assert calendar_named("forex").name == "forex"


def test_the_default_imports_nothing() -> None:
    """The default calendar and the alignments of our own load neither exchange-calendars nor pandas nor numpy."""
    script = (
        "import sys; from tasks.calendars import calendar_named, alignment_for; "
        "print(calendar_named().name, alignment_for('ny17').name, "
        "sorted({'pandas', 'numpy', 'exchange_calendars'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "24/7 ny17 []"


def test_alignments_of_our_own_come_first() -> None:
    """`utc` and `ny17` are found beside the names of markets."""
    assert (alignment_for("utc"), alignment_for("ny17")) == (UTC_ALIGNMENT, NY17)
    assert alignment_for("XNYS").name == "XNYS"


def test_a_calendar_is_computed_once() -> None:
    """Names and aliases of one market share its sessions within a process."""
    assert alignment_for("XNYS").sessions is alignment_for("NYSE").sessions  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("timeframe", "expected"),
    [
        ("1h", ["Fri 09:30-10:30", "Fri 10:30-11:30", "Fri 11:30-12:30", "Fri 12:30-13:00", "Mon 09:30-10:30"]),
        ("2h", ["Fri 09:30-11:30", "Fri 11:30-13:00"]),
        ("24h", ["Fri 09:30-13:00"]),
        ("1d", ["Fri 09:30-13:00"]),
        ("1w", ["Mon 09:30-13:00"]),
    ],
)
def test_an_early_close_ends_the_candle(timeframe: str, expected: list[str]) -> None:
    """On the day after Thanksgiving 2012 New York closed at 13:00, and so do the last candles of the day and week."""
    found = spans("XNYS", timeframe, new_york("2012-11-22T00:00"), new_york("2012-11-26T10:45"))
    assert found == expected


def test_a_closed_market_has_no_candles() -> None:
    """The storm of 29 and 30 October 2012 leaves a gap, and the week starts on its Wednesday."""
    after, until = new_york("2012-10-27T00:00"), new_york("2012-11-03T00:00")
    assert spans("XNYS", "1d", after, until) == [f"{day} 09:30-16:00" for day in ("Wed", "Thu", "Fri")]
    assert spans("XNYS", "1w", after, until) == ["Wed 09:30-16:00"]
    assert len(spans("XNYS", "30m", after, until)) == 3 * 13


@pytest.mark.parametrize("change", ["2024-03-10", "2024-11-03"])
def test_sessions_follow_the_local_clock(change: str) -> None:
    """New York opens at 09:30 of its own clock before and after a change of clocks."""
    sunday = new_york(f"{change}T12:00")
    assert spans("XNYS", "1d", sunday - timedelta(days=2, hours=1), sunday + timedelta(days=2)) == [
        "Fri 09:30-16:00",
        "Mon 09:30-16:00",
    ]


def test_intraday_candles_start_afresh_after_lunch() -> None:
    """In Hong Kong no candle reaches over the lunch break, and the day does."""
    after, until = (datetime(2024, 7, day, tzinfo=HONG_KONG) for day in (3, 4))
    assert spans("XHKG", "2h", after, until) == [
        "Wed 09:30-11:30",
        "Wed 11:30-12:00",
        "Wed 13:00-15:00",
        "Wed 15:00-16:00",
    ]
    assert spans("XHKG", "1d", after, until) == ["Wed 09:30-16:00"]


def test_several_days_and_weeks_count_calendar_days_from_1970() -> None:
    """`2d` holds the sessions of two calendar days, `2w` those of two weeks, each first open to last close."""
    after, until = new_york("2024-07-01T09:00"), new_york("2024-07-12T23:00")
    found = {
        timeframe: [
            f"{each.start.astimezone(NEW_YORK):%d %H:%M}-{each.close.astimezone(NEW_YORK):%d %H:%M}"
            for each in closed_between(alignment_for("XNYS"), "SPY", Timeframe.parse(timeframe), after, until)
        ]
        for timeframe in ("2d", "2w")
    }
    assert found["2d"] == [
        "01 09:30-01 16:00",
        "02 09:30-03 13:00",
        "05 09:30-05 16:00",
        "08 09:30-09 16:00",
        "10 09:30-11 16:00",
        "12 09:30-12 16:00",
    ]
    assert found["2w"] == ["01 09:30-12 16:00"]


def test_no_session_outlasts_a_day() -> None:
    """Hours beyond a day are refused for an exchange, with a word on days."""
    with pytest.raises(InvalidTimeframe, match="count in days or weeks"):
        next_close(alignment_for("XNYS"), Timeframe.parse("36h"), new_york("2024-07-03T12:00"))


def test_between_sessions_there_is_no_candle() -> None:
    """Overnight no candle contains the moment, none starts there, and the next close is in the next session."""
    market, hour, night = alignment_for("XNYS"), Timeframe.parse("1h"), new_york("2024-07-02T20:00")
    assert candle_at(market, "SPY", hour, night) is None
    assert last_closed(market, "SPY", hour, night).close == new_york("2024-07-02T16:00")
    assert next_close(market, hour, night) == new_york("2024-07-03T10:30")
    with pytest.raises(InvalidCandle, match="nearest starts 2024-07-02T19:30:00Z"):
        candle(market, "SPY", hour, night)


exchange_moments = st.datetimes(datetime(1990, 3, 1), datetime(2026, 11, 1), timezones=st.just(UTC))


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(["XNYS", "XHKG", "CMES", "24/5"]),
    st.sampled_from(["1m", "7m", "30m", "1h", "4h", "24h", "1d", "2d", "5d", "1w", "3w"]).map(Timeframe.parse),
    exchange_moments,
)
def test_session_candles_never_overlap(market: str, timeframe: Timeframe, moment: datetime) -> None:
    """Candles of an exchange come one after the other, and every question agrees on the same ones."""
    alignment = alignment_for(market)
    until = moment + min(timeframe.length * 5, timedelta(days=60))
    found = list(closed_between(alignment, "SPY", timeframe, moment, until))
    assert all(one.start < one.close <= two.start for one, two in pairwise(found))
    for each in found:
        assert candle(alignment, "SPY", timeframe, each.start) == each
        assert last_closed(alignment, "SPY", timeframe, each.close) == each
        assert candle_at(alignment, "SPY", timeframe, each.close - timedelta(microseconds=1)) == each
        assert calendar_named(market).is_open(each.start, each.close)
    before = last_closed(alignment, "SPY", timeframe, moment)
    upcoming = next_close(alignment, timeframe, moment)
    assert before.close <= moment < upcoming
    assert next_close(alignment, timeframe, before.close) == upcoming
    assert last_closed(alignment, "SPY", timeframe, upcoming - timedelta(microseconds=1)) == before


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(["XNYS", "XHKG", "CMES", "forex"]),
    exchange_moments,
    st.integers(1, 3 * 1440),
)
def test_a_span_is_open_where_a_part_of_it_is(market: str, start: datetime, minutes: int) -> None:
    """A span is open just where one of its two halves is."""
    calendar = calendar_named(market)
    middle, close = start + minutes * MINUTE / 3, start + minutes * MINUTE
    assert calendar.is_open(start, close) is (calendar.is_open(start, middle) or calendar.is_open(middle, close))


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    """The calendars of exchange-calendars, some years of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            market: exchange_calendars.get_calendar(market, start="2011-12-01", end="2014-02-01")
            for market in ("XNYS", "XHKG", "CMES")
        }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(["XNYS", "XHKG", "CMES"]),
    st.datetimes(datetime(2012, 1, 1), datetime(2014, 1, 1), timezones=st.just(UTC)),
    st.integers(1, 600),
)
def test_is_open_agrees_with_exchange_calendars(
    theirs: dict[str, Any], market: str, start: datetime, minutes: int
) -> None:
    """A span is open just where exchange-calendars finds a trading minute in it."""
    begin = start.replace(second=0, microsecond=0)
    close = begin + minutes * MINUTE
    found = len(theirs[market].minutes_in_range(begin, close - MINUTE)) > 0
    assert calendar_named(market).is_open(begin, close) is found
