"""Reading the times that feeds write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from feeding import at
from hypothesis import given
from hypothesis import strategies as st

from dedup.errors import InvalidSetting, SourceError
from tasks.sources.moments import Moments

NOON = at("2024-03-05T12:00")


@pytest.mark.parametrize(
    "written",
    [
        "2024-03-05T12:00:00Z",
        "2024-03-05 12:00:00+00:00",
        "2024-03-05T07:00-05:00",
        "2024-03-05T12:00:00.000000000Z",
        1709640000,
        1709640000.0,
        "1709640000",
        "1709640000.000000000",
        1709640000000,
        " 1709640000000 ",
    ],
)
def test_auto_reads_what_feeds_write(written: object) -> None:
    """ISO times with a zone and seconds or milliseconds since 1970 are told apart by their looks."""
    assert Moments().read(written) == NOON
    assert Moments().read(written).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "written", ["2024-03-05T12:00:00", "2024-03-05", "20240305", 20240305, "", "noon", None, True, [1], 1e30, -1]
)
def test_what_is_no_single_moment_is_refused(written: object) -> None:
    """A naive time, a number that is no plausible epoch, and anything else is an error and never guessed."""
    with pytest.raises(SourceError):
        Moments().read(written)


def test_a_naive_time_names_the_remedy() -> None:
    """The message for a naive time names the option that settles it."""
    with pytest.raises(SourceError, match='timezone = "UTC"'):
        Moments().read("2024-03-05T12:00:00")


@pytest.mark.parametrize(("zone", "written"), [("UTC", "2024-03-05 12:00"), ("America/New_York", "2024-03-05 07:00")])
def test_a_zone_given_is_used_for_naive_times_only(zone: str, written: str) -> None:
    """The option timezone reads naive times, and leaves times that carry a zone alone."""
    moments = Moments.from_options("csv", "auto", zone)
    assert moments.read(written) == NOON
    assert moments.read("2024-03-05T12:00Z") == NOON


@pytest.mark.parametrize("written", ["2024-11-03 01:30", "2024-03-10 02:30"])
def test_local_times_that_happen_twice_or_never_are_refused(written: str) -> None:
    """In the hours in which the clocks change a local time is no single moment."""
    with pytest.raises(SourceError, match="no single moment in America/New_York"):
        Moments.from_options("csv", "iso", "America/New_York").read(written)


def test_a_form_given_is_not_second_guessed() -> None:
    """With a form set, small numbers are read in it and other forms are refused."""
    assert Moments("s").read(60) == datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    with pytest.raises(SourceError):
        Moments("ms").read("2024-03-05T12:00:00Z")
    with pytest.raises(SourceError):
        Moments("iso").read(1709640000)
    with pytest.raises(SourceError, match="out of range"):
        Moments("s").read(10**18)


@pytest.mark.parametrize(
    ("form", "zone"), [("days", None), (1, None), ("auto", "Mars/Olympus"), ("auto", ""), ("auto", "../x")]
)
def test_wrong_options(form: object, zone: object) -> None:
    """An unknown form or zone is refused when the source is made."""
    with pytest.raises(InvalidSetting):
        Moments.from_options("csv", form, zone)


@given(st.datetimes(datetime(1980, 1, 1), datetime(2199, 12, 31)))
def test_every_form_reads_the_same_moment(moment: datetime) -> None:
    """A moment written as ISO, seconds or milliseconds reads back as itself, to the millisecond."""
    moment = moment.replace(tzinfo=UTC, microsecond=moment.microsecond // 1000 * 1000)
    milliseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    seconds = f"{milliseconds // 1000}.{milliseconds % 1000:03}"
    for written in (moment.isoformat(), milliseconds, str(milliseconds), seconds):
        assert Moments().read(written) == moment
