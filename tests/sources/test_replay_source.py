"""Recorded bars, shown as if they were happening, and the recording that comes with the package."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import exchange_calendars
import pytest
from feeding import at, candle, run, starts

from dedup.errors import InvalidBars, InvalidInput, SourceError
from dedup.timeframe import Candle
from tasks.bars import Bar, check_bars
from tasks.sources import ReplaySource, WindowState, window_of

INSTRUMENTS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")


def day(start: str, instrument: str = "IBM") -> Candle:
    return candle(start, "1d", instrument)


@pytest.fixture(scope="module")
def shipped() -> dict[str, list[Bar]]:
    source = ReplaySource()
    return {name: list(source.bars(day("2013-03-01", name), 1_000)) for name in INSTRUMENTS}


def test_the_shipped_bars_are_fit_for_strategies(shipped: dict[str, list[Bar]]) -> None:
    """All 980 recorded bars pass the check that every bar passes."""
    for bars in shipped.values():
        check_bars(bars)
        assert len(bars) == 196
        assert all(bar.final for bar in bars)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_shipped_bars_are_the_trading_days_of_the_exchange(shipped: dict[str, list[Bar]]) -> None:
    """Exactly the days on which the New York Stock Exchange traded are there: no hurricane, holiday or weekend."""
    calendar = exchange_calendars.get_calendar("XNYS", start="2012-01-01", end="2014-01-01")
    sessions = [s.to_pydatetime().replace(tzinfo=UTC) for s in calendar.sessions_in_range("2012-05-18", "2013-03-01")]
    assert at("2012-10-29") not in sessions
    for bars in shipped.values():
        assert [bar.start for bar in bars] == sessions


def test_the_shipped_numbers_are_the_recorded_ones(shipped: dict[str, list[Bar]]) -> None:
    """Odd numbers stay as the source has them, such as the close of the first day of FB."""
    assert shipped["FB"][0] == Bar(at("2012-05-18"), 42.05, 45.0, 38.0, 38.2318, 573576400.0)
    assert shipped["IBM"][-1] == Bar(at("2013-03-01"), 200.65, 202.94, 199.36, 202.91, 3308300.0)


def test_the_origin_is_told_beside_the_data() -> None:
    """The package ships the origin, the licence and the checksum of the data that it ships."""
    data = files("tasks") / "data"
    origin = (data / "ORIGIN.md").read_text(encoding="utf-8")
    assert hashlib.sha256((data / "daily.csv").read_bytes()).hexdigest() in origin
    assert "public domain" in origin


def test_a_bar_is_shown_from_its_close_on() -> None:
    """By the clock given, a bar is there from the moment at which its candle closes and not before."""
    asked = day("2012-09-12")
    moments = iter([asked.close - timedelta(microseconds=1), asked.close])
    source = ReplaySource(now=lambda: next(moments))
    before, after = source.bars(asked, 3), source.bars(asked, 3)
    assert [bar.start.day for bar in before] == [10, 11]
    assert [bar.start.day for bar in after] == [10, 11, 12]
    assert window_of(before, asked, 2).state is WindowState.NOT_FINAL
    assert window_of(after, asked, 3).state is WindowState.FINAL


def test_a_later_bar_is_shown_once_it_has_closed_too() -> None:
    """A missing day turns from not final into a gap when the next recorded day has closed."""
    storm = day("2012-10-30")
    clock = [storm.close]
    source = ReplaySource(now=lambda: clock[0])
    assert window_of(source.bars(storm, 5), storm, 5).state is WindowState.NOT_FINAL
    clock[0] = at("2012-11-01")
    assert [bar.start.day for bar in source.bars(storm, 2)] == [25, 26, 31]
    assert window_of(source.bars(storm, 5), storm, 5).state is WindowState.GAP


def test_the_storm_is_one_gap_and_the_weekend_before_it_the_same() -> None:
    """Weekends and closed days within the history are counted as gaps and do not hold a candle up."""
    first = day("2012-10-31")
    window = window_of(ReplaySource().bars(first, 6), first, 6)
    assert window.state is WindowState.FINAL
    assert [bar.start.day for bar in window.bars] == [22, 23, 24, 25, 26, 31]
    assert window.gaps == 1


def test_day_after_day_nothing_is_seen_early() -> None:
    """As the clock passes through the recording, each day shows the history that the last day shows of it."""
    clock = [at("2012-05-18")]
    source, whole = ReplaySource(now=lambda: clock[0]), ReplaySource()
    everything = list(whole.bars(day("2013-03-01"), 1_000))
    while clock[0] < at("2013-03-05"):
        asked = day((clock[0] - timedelta(days=1)).replace(tzinfo=None).isoformat())
        shown = [bar for bar in everything if bar.start + timedelta(days=1) <= clock[0]]
        assert list(source.bars(asked, 40)) == shown[-40:]
        clock[0] += timedelta(days=1)


def test_what_the_recording_does_not_hold() -> None:
    """Another instrument or timeframe is an error that names what there is."""
    with pytest.raises(SourceError, match="holds AAPL, FB, GOOG, IBM, MSFT and not TIN"):
        ReplaySource().bars(day("2012-09-12", "TIN"), 1)
    with pytest.raises(SourceError, match="holds 1d bars and not 15m"):
        ReplaySource().bars(candle("2012-09-12T10:00", "15m", "IBM"), 1)


def test_a_recording_of_your_own(tmp_path: Path) -> None:
    """Any CSV file can be replayed, with the options of the source csv; its last line needs no line end."""
    path = tmp_path / "gold.csv"
    rows = [f"{b.start:%Y-%m-%d %H:%M},{b.open},{b.high},{b.low},{b.close}" for b in run("2024-03-05T09:30", 4)]
    path.write_text("\n".join(["Time,Open,High,Low,Close", *rows]))
    source = ReplaySource(str(path), timeframe="15m", instrument="gold", timezone="UTC")
    assert starts(source.bars(candle("2024-03-05T10:00"), 2)) == ["09:45", "10:00", "10:15"]


@pytest.mark.parametrize(
    ("content", "options", "error"),
    [
        ("start,open,high,low,close\n2024-03-05T10:00Z,1,1,1,1\n", {}, SourceError),
        ("start,open,high,low,close\n2024-03-05T10:00Z,1,1,1\n", {"instrument": "GOLD"}, SourceError),
        ("start,open,high,low,close\n2024-03-05T10:00Z,1,1,2,1\n", {"instrument": "GOLD"}, InvalidBars),
        (
            "symbol,start,open,high,low,close\nGOLD,2024-03-05T10:15Z,1,1,1,1\nGOLD,2024-03-05T10:00Z,1,1,1,1\n",
            {},
            InvalidBars,
        ),
    ],
    ids=["no instrument", "short row", "high below low", "out of order"],
)
def test_spoilt_recordings(tmp_path: Path, content: str, options: dict[str, Any], error: type[Exception]) -> None:
    """A recording that cannot be understood or trusted is refused as a whole."""
    path = tmp_path / "gold.csv"
    path.write_text(content)
    with pytest.raises(error):
        ReplaySource(str(path), timeframe="15m", **options).bars(candle("2024-03-05T10:00"), 1)


def test_a_missing_recording(tmp_path: Path) -> None:
    """A file that is not there is told by its name when bars are asked for, and not before."""
    source = ReplaySource(str(tmp_path / "gone.csv"), timeframe="15m")
    with pytest.raises(SourceError, match=r"gone\.csv"):
        source.bars(candle("2024-03-05T10:00"), 1)


@pytest.mark.parametrize("options", [{"file": "x.csv"}, {"file": ""}, {"timeframe": "1x"}, {"time": "x"}])
def test_wrong_options(options: dict[str, Any]) -> None:
    """Wrong options are refused when the source is made."""
    with pytest.raises(InvalidInput):
        ReplaySource(**options)


def _rows() -> Iterator[dict[str, str]]:
    with (files("tasks") / "data" / "daily.csv").open(encoding="utf-8", newline="") as file:  # type: ignore[call-arg]
        yield from csv.DictReader(file)


def test_the_file_itself_is_plain() -> None:
    """The shipped file is sorted by instrument and day, with each day at midnight UTC."""
    keys = [(row["instrument"], datetime.fromisoformat(row["start"])) for row in _rows()]
    assert keys == sorted(set(keys))
    assert {(start.hour, start.minute, start.utcoffset()) for _, start in keys} == {(0, 0, timedelta(0))}
