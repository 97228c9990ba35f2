"""`celery -A tasks chart`: recorded days, with the signals that the shipped strategies make of them."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from matplotlib import pyplot
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import to_rgba

from dedup.timeframe import Candle
from tasks import charting
from tasks.bars import Bar
from tasks.charting import COLOURS, Marker, draw, markers, save
from tasks.clock import Clock
from tasks.commands.chart import chart
from tasks.coverage import Mark, cells_of, last_candles
from tasks.evaluation import ask_source, evaluate_bars
from tasks.watchlist import Watch
from tests.cli.conftest import Desk

DAY = timedelta(days=1)
NOW = datetime(2012, 12, 15, tzinfo=UTC)
OUTCOMES = ("posted", "posted", "held", "posted", "expired", "posted", "rejected")
LAST = 60


def bars(count: int, gap: timedelta = DAY) -> list[Bar]:
    start = datetime(2012, 9, 10, tzinfo=UTC)
    return [Bar(start + number * gap, 100 + number, 103 + number, 99 + number, 101 + number) for number in range(count)]


@pytest.fixture
def closing() -> Iterator[list[Any]]:
    """Figures that are closed at the end."""
    figures: list[Any] = []
    yield figures
    for figure in figures:
        pyplot.close(figure)


@pytest.fixture
def recorded(desk: Desk) -> Desk:
    """The demonstration's watchlist in the middle of its recorded days, with the signals of AAPL in turn posted, held,
    expired and rejected."""
    desk.env |= {
        "WATCHLIST": str(Path(charting.__file__).parent / "demo.toml"),
        "MARKET_CLOCK": str(Clock(datetime.now(UTC), NOW)),
        "HORIZON": str(80 * 86_400),
        "SIGNAL_TTL": str(90 * 86_400),
    }
    watch = aapl(desk)
    outcomes = iter(OUTCOMES * 9)
    for candle in last_candles(watch, NOW, LAST):
        if watch.calendar.is_open(candle.start, candle.close):
            found = evaluate_bars(watch, candle, ask_source(watch, candle), 86_400)
            desk.evaluated(candle, *found.signals)
            for signal in found.signals:
                desk.publish(signal, next(outcomes))
    return desk


def aapl(desk: Desk) -> Watch:
    watch = desk.line.watchlist.find("AAPL", "1d")
    assert watch is not None
    return watch


def scattered(figure: Any) -> list[tuple[float, float, tuple[float, ...]]]:
    """Place, height and colour of every marker in a figure."""
    markers = [one for one in figure.axes[0].collections if isinstance(one, PathCollection)]
    return [(x, y, tuple(one.get_facecolor()[0])) for one in markers for x, y in one.get_offsets().tolist()]


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:])
    return width, height


def test_picture_of_recorded_days(recorded: Desk) -> None:
    """The command writes a PNG of the recorded days and says how many signals of which outcome are in it."""
    told = recorded.run(chart, "AAPL", "1d", "--out", "aapl.png", "--last", "40", "--json")
    path = recorded.home / "aapl.png"
    assert (told.code, told.document["bytes"]) == (0, path.stat().st_size)
    assert {"posted", "held", "expired", "rejected"} == set(told.document["signals"])
    assert min(png_size(path)) > 400
    assert path.stat().st_size < 150_000
    assert "aapl.png: " in recorded.run(chart, "AAPL", "1d", "--out", "aapl.png", "--last", "40").out


def test_markers_stand_at_their_bars(recorded: Desk, closing: list[Any]) -> None:
    """Every signal has a marker in the colour of its outcome, below the bar of a buy and above that of a sell, within
    the picture."""
    line, watch = recorded.line, aapl(recorded)
    newest = last_candles(watch, NOW, 1)[0]
    shown = [bar for bar in ask_source(watch, newest, 40) if bar.start <= newest.start]
    candles = [Candle("AAPL", watch.timeframe, bar.start, bar.start + DAY) for bar in shown]
    cells = cells_of(line, watch, candles, NOW)
    found = markers(shown, cells)
    assert len(found) == sum(len(cell.signals) for cell in cells) > 3
    figure = draw(shown, found, "AAPL")
    closing.append(figure)
    told = {(round(x), colour) for x, _, colour in scattered(figure)}
    assert told == {(one.place, to_rgba(COLOURS[one.mark])) for one in found}
    low, high = figure.axes[0].get_ylim()
    for one in found:
        bar, cell = shown[one.place], cells[one.place]
        assert one.side in {seen.signal.side for seen in cell.signals}
        assert one.price < bar.low if one.side == "buy" else one.price > bar.high
        assert low < one.price < high


def test_every_outcome_has_a_colour_of_its_own() -> None:
    """Posted, held, rejected and expired can be told apart."""
    seen = [COLOURS[mark] for mark in (Mark.POSTED, Mark.HELD, Mark.REJECTED, Mark.EXPIRED, Mark.WORKING)]
    assert len(set(seen)) == len(seen)


def test_nights_and_weekends_take_no_room(closing: list[Any]) -> None:
    """Bars stand side by side, whatever time lies between them."""
    week, gappy = bars(5), [*bars(5), *(bar_after(bars(5)[-1], days) for days in (3, 4, 5))]
    for shown in (week, gappy):
        figure = draw(shown, [], "GOLD")
        closing.append(figure)
        bodies = bodies_of(figure)
        assert bodies == list(range(len(shown)))


def bar_after(bar: Bar, days: int) -> Bar:
    return Bar(bar.start + days * DAY, 100, 103, 99, 101)


def bodies_of(figure: Any) -> list[int]:
    """The places of the candles' bodies."""
    polygons = [one for one in figure.axes[0].collections if isinstance(one, PolyCollection | LineCollection)]
    places = {round(float(path.vertices[:, 0].mean())) for one in polygons for path in one.get_paths()}
    return sorted(places)


def test_title_and_legend(closing: list[Any]) -> None:
    """The title is the one that was asked for, and the legend counts each kind of signal."""
    held = Marker(3, 108.0, "sell", Mark.HELD)
    found = [Marker(1, 98.0, "buy", Mark.POSTED), Marker(2, 98.5, "buy", Mark.POSTED), held]
    figure = draw(bars(6), found, "GOLD 15m, 2025-01-04 (UTC)")
    closing.append(figure)
    assert figure.axes[0].get_title("left") == "GOLD 15m, 2025-01-04 (UTC)"
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["buy posted (2)", "sell held (1)"]


def test_times_are_utc(closing: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The axis shows UTC, wherever the machine stands."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    figure = draw(bars(4, timedelta(hours=6)), [], "GOLD")
    closing.append(figure)
    figure.canvas.draw()
    labels = [text.get_text() for axes in figure.axes for text in axes.get_xticklabels()]
    assert any("09-10 00:00" in label for label in labels), labels


def test_figure_is_closed(tmp_path: Path) -> None:
    """Writing a picture leaves no figure behind."""
    before = pyplot.get_fignums()
    save(draw(bars(3), [], "GOLD"), tmp_path / "gold.png")
    assert pyplot.get_fignums() == before


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("TIN", "1d", "--out", "x.png"), 2, "is not watched"),
        (("AAPL", "1d"), 2, "--out"),
        (("AAPL", "1d", "--out", "x.png", "--until", "2000-01-01T00:00:00Z"), 69, "no bar"),
    ],
)
def test_refused(recorded: Desk, argv: Sequence[str], code: int, said: str) -> None:
    """What cannot be drawn is refused with the reason, and nothing is written."""
    told = recorded.run(chart, *argv)
    assert (told.code, said in told.err) == (code, True)
    assert not (recorded.home / "x.png").exists()


def test_extra_is_missing(recorded: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra `chart` it says what to install."""
    monkeypatch.setitem(sys.modules, "mplfinance", None)
    told = recorded.run(chart, "AAPL", "1d", "--out", "aapl.png")
    assert (told.code, "pip install 'candlelatch[chart]'" in told.err) == (78, True)
