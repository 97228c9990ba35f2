"""The market clock: real time, or recorded time that passes faster."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.errors import InvalidCandle, InvalidSetting
from tasks.clock import Clock

WALL = datetime(2026, 11, 22, 21, 30, tzinfo=UTC)
MARKET = datetime(2012, 9, 10, tzinfo=UTC)
TEXT = "2012-09-10T00:00:00Z@2026-11-22T21:30:00Z*86400"

aware = st.datetimes(datetime(1990, 1, 1), datetime(2050, 1, 1), timezones=st.just(UTC))
speeds = st.floats(0.01, 100_000)


class Wall:
    """A wall clock that a test moves."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment


def test_real_time_is_wall_time() -> None:
    """`Clock()` shows the time on the wall, in UTC."""
    clock = Clock()
    before = datetime.now(UTC)
    now = clock.now()
    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC
    assert clock.is_real


def test_recorded_time_passes_faster() -> None:
    """A second on the wall is a day in a market that runs 86400 times as fast, before the origins too."""
    wall = Wall(WALL)
    clock = Clock(WALL, MARKET, 86_400, wall)
    assert clock.now() == MARKET
    wall.moment = WALL + timedelta(seconds=3)
    assert clock.now() == MARKET + timedelta(days=3)
    wall.moment = WALL - timedelta(seconds=1)
    assert clock.now() == MARKET - timedelta(days=1)
    assert not clock.is_real


def test_seconds_until_a_market_moment_are_wall_seconds() -> None:
    """The wait for a market moment is told in wall seconds, and is negative once it is past."""
    clock = Clock(WALL, MARKET, 60, Wall(WALL))
    assert clock.seconds_until(MARKET + timedelta(hours=1)) == 60
    assert clock.seconds_until(MARKET - timedelta(minutes=1)) == -1
    assert clock.wall_seconds(3600) == 60
    real = Clock(wall_now=Wall(WALL))
    assert real.seconds_until(WALL + timedelta(seconds=1.5)) == 1.5
    assert real.wall_seconds(3600) == 3600


@settings(deadline=None)
@given(aware, aware, speeds, aware)
def test_wall_and_market_are_inverse(
    wall_origin: datetime, market_origin: datetime, speed: float, moment: datetime
) -> None:
    """A market moment goes to the wall and back within `speed` microseconds, a wall moment within one."""
    clock = Clock(wall_origin, market_origin, speed)
    slack = timedelta(microseconds=max(1.0, speed) + 2)
    try:
        wall, market = clock.wall(moment), clock.market(moment)
    except InvalidSetting as error:
        assert "years 1 to 9999" in str(error)
        return
    assert abs(clock.market(wall) - moment) <= slack
    assert abs(clock.wall(market) - moment) <= timedelta(microseconds=1 / speed + 2)


@settings(deadline=None)
@given(aware, aware, speeds)
def test_text_round_trip(wall_origin: datetime, market_origin: datetime, speed: float) -> None:
    """Reading what a clock writes gives an equal clock."""
    clock = Clock(wall_origin, market_origin, speed)
    assert Clock.parse(str(clock)) == clock


def test_the_written_form() -> None:
    """The form is market origin, wall origin, speed; real time is `real`."""
    assert str(Clock(WALL, MARKET, 86_400)) == TEXT
    assert Clock.parse(TEXT) == Clock(WALL, MARKET, 86_400)
    assert str(Clock()) == "real"
    assert Clock.parse(" real ") == Clock()
    assert Clock.parse("real").is_real


@pytest.mark.parametrize(
    ("text", "clock"),
    [
        ("2012-09-10T00:00:00Z@2026-11-22T21:30:00Z", Clock(WALL, MARKET, 1)),
        (" 2012-09-10T00:00Z @ 2026-11-22T21:30Z * 0.5 ", Clock(WALL, MARKET, 0.5)),
        ("2012-09-10T02:00+02:00@2026-11-22T16:30-05:00*1e3", Clock(WALL, MARKET, 1000)),
    ],
)
def test_other_spellings_are_read(text: str, clock: Clock) -> None:
    """Speed may be left out, blanks and offsets other than Z are read."""
    assert Clock.parse(text) == clock


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fast",
        "86400",
        "@",
        "2012-09-10T00:00:00Z",
        "2012-09-10T00:00:00Z*86400",
        "2012-09-10T00:00:00Z@2026-11-22T21:30:00Z*",
        "2012-09-10T00:00:00Z@2026-11-22T21:30:00Z*fast",
        "2012-09-10T00:00:00Z@2026-11-22T21:30:00Z*2*3",
        "2012-13-10T00:00:00Z@2026-11-22T21:30:00Z*2",
    ],
)
def test_rubbish_is_refused(text: str) -> None:
    """What is no clock is an error that shows how one is written."""
    with pytest.raises(InvalidSetting, match="write real, or <market origin>@<wall origin>"):
        Clock.parse(text)


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf", "-inf"])
def test_time_must_pass(speed: str) -> None:
    """A speed that is zero, negative or no number is refused."""
    with pytest.raises(InvalidSetting, match="finite number above zero"):
        Clock.parse(f"2012-09-10T00:00:00Z@2026-11-22T21:30:00Z*{speed}")
    with pytest.raises(InvalidSetting, match="finite number above zero"):
        Clock(WALL, MARKET, float(speed))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("2012-09-10T00:00:00@2026-11-22T21:30:00Z*2", "market_origin"),
        ("2012-09-10T00:00:00Z@2026-11-22T21:30:00*2", "wall_origin"),
        ("2012-09-10@2026-11-22T21:30:00Z*2", "market_origin"),
    ],
)
def test_naive_origins_are_refused(text: str, name: str) -> None:
    """An origin without a zone is an error that names it."""
    with pytest.raises(InvalidSetting, match=f"clock {name} = .*timezone-aware"):
        Clock.parse(text)


@pytest.mark.parametrize("ask", [Clock().market, Clock().wall, Clock().seconds_until])
def test_naive_moments_are_refused(ask: Any) -> None:
    """A clock maps no moment whose zone it would have to guess."""
    with pytest.raises(InvalidCandle, match="timezone-aware"):
        ask(datetime(2024, 1, 2))


def test_a_replay_that_outruns_the_calendar_says_so() -> None:
    """Past the year 9999 a clock raises an error that names itself and the remedy."""
    clock = Clock(WALL, MARKET, 86_400, Wall(WALL + timedelta(days=40)))
    with pytest.raises(InvalidSetting, match=r"years 1 to 9999 .*lower speed"):
        clock.now()


def test_origins_are_kept_in_utc() -> None:
    """Clocks whose origins are the same moments in other zones are equal."""
    elsewhere = timezone(timedelta(hours=9))
    clock = Clock(WALL.astimezone(elsewhere), MARKET.astimezone(elsewhere), 2)
    assert clock == Clock(WALL, MARKET, 2)
    assert str(clock) == str(Clock(WALL, MARKET, 2))


def test_is_real_is_about_the_time_shown() -> None:
    """A clock is real where it shows wall time, however its origins were written."""
    assert Clock(WALL, WALL, 1).is_real
    assert not Clock(WALL, WALL, 2).is_real
    assert not Clock(WALL, MARKET, 1).is_real


def test_a_clock_survives_pickling() -> None:
    """Processes that are handed a clock agree with it."""
    clock = Clock.parse(TEXT)
    copy = pickle.loads(pickle.dumps(clock))
    assert copy == clock
    assert copy.market(WALL) == MARKET
