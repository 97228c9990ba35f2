"""Bars from CSV files that another process writes."""

from __future__ import annotations

import csv
import multiprocessing
import time
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from feeding import at, candle, run, starts
from hypothesis import given
from hypothesis import strategies as st

from dedup.errors import InvalidBars, InvalidInput, InvalidSetting, SourceError
from tasks.bars import Bar
from tasks.sources import CsvSource, WindowState, window_of

HEADER = "start,open,high,low,close,volume\n"
CANDLE = candle("2024-03-05T10:00")


def line(b: Bar) -> str:
    return f"{b.start.isoformat()},{b.open},{b.high},{b.low},{b.close},{b.volume}\n"


def write(path: Path, bars: list[Bar], header: str = HEADER) -> Path:
    path.write_text(header + "".join(line(b) for b in bars))
    return path


def one_file(path: Path, **options: Any) -> CsvSource:
    return CsvSource(str(path), instrument="GOLD", timeframe="15m", **options)


def test_a_path_with_placeholders_finds_the_file(tmp_path: Path) -> None:
    """`{instrument}` and `{timeframe}` in the path give each pair its own file."""
    write(tmp_path / "GOLD-15m.csv", run("2024-03-05T09:00", 6))
    write(tmp_path / "OIL-15m.csv", run("2024-03-05T09:45", 3))
    source = CsvSource(f"{tmp_path}/{{instrument}}-{{timeframe}}.csv")
    assert starts(source.bars(CANDLE, 3)) == ["09:30", "09:45", "10:00", "10:15"]
    assert starts(source.bars(candle("2024-03-05T10:00", instrument="OIL"), 3)) == ["09:45", "10:00", "10:15"]


def test_a_directory_stands_for_the_usual_names_in_it(tmp_path: Path) -> None:
    """A directory holds `{instrument}-{timeframe}.csv`, with what a file's name cannot hold replaced."""
    write(tmp_path / "EUR_USD-15m.csv", run("2024-03-05T09:45", 3))
    source = CsvSource(str(tmp_path))
    assert starts(source.bars(candle("2024-03-05T10:00", instrument="EUR/USD"), 1)) == ["10:00", "10:15"]


def test_names_of_the_feed(tmp_path: Path) -> None:
    """Where the files use other names for instruments and timeframes, options translate."""
    write(tmp_path / "XAUUSD_M15.csv", run("2024-03-05T09:45", 3))
    names: dict[str, Any] = {"symbols": {"gold": "XAUUSD"}, "timeframes": {"15m": "M15"}}
    source = CsvSource(f"{tmp_path}/{{instrument}}_{{timeframe}}.csv", **names)
    assert starts(source.bars(CANDLE, 2)) == ["09:45", "10:00", "10:15"]


def test_an_instrument_cannot_leave_the_directory(tmp_path: Path) -> None:
    """An instrument's name picks a file and never a directory."""
    (tmp_path / "in").mkdir()
    write(tmp_path / "15m.csv", run("2024-03-05T09:45", 3))
    source = CsvSource(f"{tmp_path}/in/{{instrument}}/{{timeframe}}.csv")
    for name in ("..", "."):
        with pytest.raises(SourceError, match="no name for a file"):
            source.bars(candle("2024-03-05T10:00", instrument=name), 1)
    with pytest.raises(SourceError, match="cannot be read"):
        source.bars(candle("2024-03-05T10:00", instrument="../.."), 1)


def test_a_column_tells_the_instrument(tmp_path: Path) -> None:
    """One file may hold several instruments in any mixture."""
    gold, oil = run("2024-03-05T09:30", 4), run("2024-03-05T09:30", 4)
    rows = "".join(f"GOLD,{line(g)}oil,{line(o)}" for g, o in zip(gold, oil[:3], strict=False))
    path = tmp_path / "all.csv"
    path.write_text(f"Ticker,{HEADER}{rows}")
    source = CsvSource(str(path), timeframe="15m")
    assert starts(source.bars(CANDLE, 9)) == ["09:30", "09:45", "10:00"]
    assert starts(source.bars(candle("2024-03-05T09:45", instrument="OIL"), 1)) == ["09:45", "10:00"]
    assert source.bars(candle("2024-03-05T10:00", instrument="TIN"), 1) == []


def test_without_anything_that_tells_the_instrument_nothing_is_answered(tmp_path: Path) -> None:
    """One instrument's bars are never served for all."""
    source = CsvSource(str(write(tmp_path / "bars.csv", run("2024-03-05T09:30", 4))), timeframe="15m")
    with pytest.raises(SourceError, match="nothing tells which instrument"):
        source.bars(CANDLE, 1)


@pytest.mark.parametrize(
    ("instrument", "timeframe", "says"),
    [("OIL", "15m", "holds GOLD and not OIL"), ("GOLD", "1h", "holds 15m bars and not 1h")],
)
def test_a_file_of_one_instrument_serves_no_other(tmp_path: Path, instrument: str, timeframe: str, says: str) -> None:
    """A source that holds one instrument and timeframe refuses others."""
    source = one_file(write(tmp_path / "gold.csv", run("2024-03-05T09:30", 4)))
    with pytest.raises(SourceError, match=says):
        source.bars(candle("2024-03-05T10:00", timeframe, instrument), 1)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("Date,Open,High,Low,Close,Adj Close,Volume", "2024-03-05T10:00Z,1.5,2,1,1.25,1.1,7"),
        ("\ufeffTimestamp;O;H;L;C;V", "1709632800;1.5;2;1;1.25;7"),
        ("open_time\topen\thigh\tlow\tclose\tvolume", "1709632800000\t1.5\t2\t1\t1.25\t7"),
        ("<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>", "2024-03-05T10:00Z,1.5,2,1,1.25,7"),
        ('"time","close","open","low","high","volume"', '"2024-03-05 10:00:00+00:00","1.25","1.5","1","2","7"'),
    ],
)
def test_usual_headers_are_understood(tmp_path: Path, header: str, row: str) -> None:
    """Usual names of columns in any case and order, usual delimiters, and a byte order mark need no options."""
    path = tmp_path / "gold.csv"
    path.write_text(f"{header}\r\n{row}\r\n", encoding="utf-8", newline="")
    assert one_file(path).bars(CANDLE, 1) == [Bar(CANDLE.start, 1.5, 2.0, 1.0, 1.25, 7.0, False)]


def test_columns_by_option(tmp_path: Path) -> None:
    """Columns can be named, one by one; those that are not are still found; volume may be missing."""
    path = tmp_path / "gold.csv"
    path.write_text("date,time,bid,open,high,low,close\nx,2024-03-05T10:00Z,1.25,9,2,1,9\n")
    with pytest.raises(SourceError, match=r"both 'date' and 'time' may be the start"):
        one_file(path).bars(CANDLE, 1)
    source = one_file(path, columns={"start": "time", "open": "bid", "close": "bid"})
    assert source.bars(CANDLE, 1) == [Bar(CANDLE.start, 1.25, 2.0, 1.0, 1.25, 0.0, False)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("p,q,r\n1,2,3\n", "no column is the start, open, high, low, close"),
        (HEADER + "2024-03-05T10:00Z,1,2,x,1,1\n", "low 'x' is no number"),
        (HEADER + "2024-03-05T10:00Z,1,2,1\n", "has 4 columns and the header 6"),
        (HEADER + "2024-03-05T10:00,1,2,1,1,1\n", "has no zone"),
        (HEADER + "yesterday,1,2,1,1,1\n", "is no ISO-8601 time"),
        (HEADER + '2024-03-05T10:00Z,"' + "9" * 200_000 + '",2,1,1,1\n', "is no CSV"),
    ],
)
def test_files_that_hold_something_else_are_refused(tmp_path: Path, content: str, says: str) -> None:
    """What is no bar is an error that names the file and what is wrong."""
    path = tmp_path / "gold.csv"
    path.write_text(content)
    with pytest.raises(SourceError, match=says) as caught:
        one_file(path).bars(CANDLE, 1)
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file and one that is not UTF-8 are errors that may pass."""
    with pytest.raises(SourceError, match=r"gone\.csv: cannot be read: No such file"):
        one_file(tmp_path / "gone.csv").bars(CANDLE, 1)
    (tmp_path / "wide.csv").write_text(HEADER, encoding="utf-16")
    with pytest.raises(SourceError, match="save it as UTF-8"):
        one_file(tmp_path / "wide.csv").bars(CANDLE, 1)


def test_impossible_prices_reach_the_check(tmp_path: Path) -> None:
    """A row that reads as a bar but cannot be one is refused by the window, not repaired."""
    path = tmp_path / "gold.csv"
    path.write_text(HEADER + "2024-03-05T10:00Z,1,nan,1,1,1\n2024-03-05T10:15Z,1,1,1,1,1\n")
    with pytest.raises(InvalidBars, match="high"):
        window_of(one_file(path).bars(CANDLE, 1), CANDLE, 1)


def test_a_row_without_prices_is_no_bar(tmp_path: Path) -> None:
    """A span in which nothing was traded, written with empty prices, is a gap."""
    path = tmp_path / "gold.csv"
    path.write_text(HEADER + "2024-03-05T09:45Z,1,1,1,1,1\n2024-03-05T10:00Z,,,,,0\n2024-03-05T10:15Z,1,1,1,1,1\n")
    assert window_of(one_file(path).bars(CANDLE, 2), CANDLE, 2).state is WindowState.GAP


def test_newest_first(tmp_path: Path) -> None:
    """Files with the newest bar on top are read the right way round, however long they are."""
    bars = run("2024-03-05T10:15", 1) + run("2023-12-01T00:00", 4_000)
    bars = sorted((b for b in bars if b.start <= at("2024-03-05T10:15")), key=lambda b: b.start, reverse=True)
    path = write(tmp_path / "gold.csv", bars)
    assert path.stat().st_size > 2 * 65_536
    newest = one_file(path).bars(CANDLE, 2)
    assert [b.start for b in newest] == sorted(b.start for b in bars)[-3:]


def test_a_torn_last_line_is_no_bar(tmp_path: Path) -> None:
    """However far the last line has been written, there is neither an error nor a bar until its line end is there."""
    whole = (HEADER + "".join(line(b) for b in run("2024-03-05T09:45", 3))).encode()
    path = tmp_path / "gold.csv"
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        lines = whole[:length].count(b"\n")
        assert len(one_file(path).bars(CANDLE, 9)) == max(0, lines - 1)


def test_finality_by_successor(tmp_path: Path) -> None:
    """By default the newest bar in the file may still change."""
    path = write(tmp_path / "gold.csv", run("2024-03-05T09:45", 2))
    source = one_file(path)
    assert [b.final for b in source.bars(CANDLE, 2)] == [True, False]
    write(path, run("2024-03-05T09:45", 3))
    assert [b.final for b in source.bars(CANDLE, 2)] == [True, True, False]


@pytest.mark.parametrize(("after_s", "final"), [(-1, False), (0, False), (4.9, False), (5, True), (3600, True)])
def test_finality_by_settling(tmp_path: Path, after_s: float, final: bool) -> None:
    """With `settle` a bar is final so many seconds after its close, by the clock given."""
    path = write(tmp_path / "gold.csv", run("2024-03-05T09:45", 2))
    now = CANDLE.close + timedelta(seconds=after_s)
    source = one_file(path, finality="settle", settle_s=5, now=lambda: now)
    assert source.bars(CANDLE, 1)[-1].final is final


def test_finality_by_a_column(tmp_path: Path) -> None:
    """With `flag` a column of the file says which bars are final."""
    path = tmp_path / "gold.csv"
    path.write_text(
        "start,open,high,low,close,done\n2024-03-05T09:45Z,1,1,1,1,1\n2024-03-05T10:00Z,1,1,1,1,True\n"
        "2024-03-05T10:15Z,1,1,1,1,false\n"
    )
    source = one_file(path, finality="flag", columns={"final": "done"})
    assert [b.final for b in source.bars(CANDLE, 2)] == [True, True, False]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"path": ""}, "csv.path"),
        ({"path": "bars.csv"}, "csv.path"),
        ({"path": "{symbol}-{timeframe}.csv"}, "csv.path"),
        ({"path": "{instrument-{timeframe}.csv"}, "csv.path"),
        ({"path": "{instrument:>9}-{timeframe}.csv"}, "csv.path"),
        ({"timeframe": "1x"}, "timeframe"),
        ({"instrument": "A:B"}, "instrument"),
        ({"columns": {"cloze": "x"}}, "csv.columns"),
        ({"columns": {"close": 4}}, "csv.columns.close"),
        ({"columns": "close"}, "csv.columns"),
        ({"delimiter": ", "}, "csv.delimiter"),
        ({"time": "days"}, "csv.time"),
        ({"timezone": "Mars"}, "csv.timezone"),
        ({"finality": "surely"}, "csv.finality"),
        ({"finality": "flag"}, "csv.finality"),
        ({"finality": "settle"}, "csv.settle_s"),
        ({"finality": "settle", "settle_s": -1}, "csv.settle_s"),
        ({"finality": "settle", "settle_s": True}, "csv.settle_s"),
        ({"settle_s": 3}, "csv.settle_s"),
        ({"symbols": {"GOLD": 1}}, "csv.symbols.GOLD"),
        ({"timeframes": {"1x": "M1"}}, "timeframe"),
    ],
)
def test_wrong_options_are_refused_when_the_source_is_made(options: dict[str, Any], names: str) -> None:
    """Every wrong option is refused before a file is opened, and the error names it."""
    with pytest.raises(InvalidInput) as caught:
        CsvSource(**{"path": "{instrument}-{timeframe}.csv", **options})
    assert caught.value.what == names


def test_an_older_candle_in_a_long_file(tmp_path: Path) -> None:
    """A candle far from the end of a long file is found with its whole history."""
    bars = run("2024-01-01T00:00", 3_000)
    source = one_file(write(tmp_path / "gold.csv", bars))
    for index in range(0, 2_999, 100):
        asked = candle(bars[index].start.replace(tzinfo=None).isoformat())
        answer = source.bars(asked, 300)
        assert [b.start for b in answer] == [b.start for b in bars[max(0, index - 299) : index + 2]]
        assert answer[-2].close == bars[index].close


def _append(path: Path, rows: list[str]) -> None:
    with path.open("ab", buffering=0) as file:
        for row in rows:
            data = row.encode()
            for i in range(0, len(data), 7):
                file.write(data[i : i + 7])
            time.sleep(0.0005)


def test_reading_while_another_process_appends(tmp_path: Path) -> None:
    """A file that another process appends to piece by piece gives whole bars in order at every moment."""
    bars = run("2024-03-05T00:00", 400)
    path = write(tmp_path / "gold.csv", bars[:1])
    context = multiprocessing.get_context("spawn")
    writer = context.Process(target=_append, args=(path, [line(b) for b in bars[1:]]))
    writer.start()
    try:
        source, last, seen = one_file(path), candle(bars[-1].start.replace(tzinfo=None).isoformat()), {1}
        while writer.is_alive():
            answer = list(source.bars(last, 1_000))
            assert [(b.start, b.close) for b in answer] == [(b.start, b.close) for b in bars[: len(answer)]]
            seen.add(len(answer))
    finally:
        writer.join(30)
    assert len(source.bars(last, 1_000)) == len(bars)
    assert len(seen) > 3


@given(st.lists(st.integers(0, 400), unique=True, max_size=40), st.integers(0, 400), st.integers(1, 10), st.booleans())
def test_the_answer_is_the_feed_around_the_candle(
    tmp_path_factory: pytest.TempPathFactory, offsets: list[int], wanted: int, count: int, newest_first: bool
) -> None:
    """Whatever gaps a file has, the answer is the last bars up to the candle and the one after it, oldest first."""
    length = CANDLE.timeframe.length
    bars = [Bar(CANDLE.start + n * length, 9.0, 9.5, 8.5, 9.25, 1.0) for n in sorted(offsets)]
    path = tmp_path_factory.mktemp("bars") / "gold.csv"
    write(path, bars[::-1] if newest_first else bars)
    asked = candle((CANDLE.start + wanted * length).replace(tzinfo=None).isoformat())
    answer = one_file(path).bars(asked, count)
    past = [b.start for b in bars if b.start <= asked.start][-count:]
    later = [b.start for b in bars if b.start > asked.start][:1]
    assert [b.start for b in answer] == past + later
    assert all(a.start < b.start for a, b in pairwise(answer))


def test_the_csv_module_writes_what_is_read(tmp_path: Path) -> None:
    """A file written by Python's csv module, with its CRLF line ends, reads back the same."""
    path = tmp_path / "gold.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", "open", "high", "low", "close"])
        writer.writerows([[b.start.isoformat(), b.open, b.high, b.low, b.close] for b in run("2024-03-05T09:45", 3)])
    assert [b.close for b in one_file(path).bars(CANDLE, 2)] == [100.0, 101.0, 102.0]


def test_invalid_setting_shows_its_remedy() -> None:
    """The message of a path that hides the timeframe says what to write."""
    with pytest.raises(InvalidSetting, match=r'write \{timeframe\} in it, or add timeframe = "15m"'):
        CsvSource("gold.csv")


def test_repr_names_the_file() -> None:
    """A source in a log says which files it reads."""
    assert repr(CsvSource("bars/{instrument}-{timeframe}.csv")) == (
        "CsvSource(path='bars/{instrument}-{timeframe}.csv', finality='successor')"
    )
