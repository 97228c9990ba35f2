"""Making the source that a watchlist names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from feeding import candle

from dedup.errors import InvalidSetting, InvalidTimeframe
from dedup.timeframe import Candle
from tasks.bars import Bar
from tasks.sources import CsvSource, HttpSource, ReplaySource, make_source

HERE = __name__


class Own:
    """A source of one's own that wants the clock."""

    def __init__(self, depth: int, *, now: Callable[[], datetime], level: str = "top") -> None:
        self.depth, self.now, self.level = depth, now, level

    def bars(self, candle: Candle, count: int) -> Sequence[Bar]:
        return []

    class Inner:
        """A source without options."""

        def bars(self, candle: Candle, count: int) -> Sequence[Bar]:
            return []


def open_own(**options: Any) -> Own:
    """A function that makes a source and takes whatever it is given."""
    assert "now" not in options
    return Own(now=lambda: datetime.now(UTC), **options)


def explode() -> Own:
    raise RuntimeError("no licence")


def no_source() -> str:
    return "bars"


NUMBER = 3


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("replay", {}, ReplaySource),
        ("csv", {"path": "{instrument}-{timeframe}.csv"}, CsvSource),
        ("http", {"url": "https://host/{instrument}/{timeframe}"}, HttpSource),
        (f"{HERE}:Own", {"depth": 5}, Own),
        (f"{HERE}.Own", {"depth": 5}, Own),
        (f"{HERE}:Own.Inner", {}, Own.Inner),
        (f"{HERE}:open_own", {"depth": 5}, Own),
    ],
)
def test_by_name_or_path(name: str, options: dict[str, Any], kind: type) -> None:
    """Shipped sources go by their names, others by the path of a class or function."""
    assert isinstance(make_source(name, options), kind)


def test_options_and_clock_are_passed() -> None:
    """A source gets its options, and the pipeline's clock where it has a parameter `now`."""
    moment = datetime(2024, 3, 5, tzinfo=UTC)
    made = make_source(f"{HERE}:Own", {"depth": 5, "level": "book"}, now=lambda: moment)
    assert isinstance(made, Own)
    assert (made.depth, made.level, made.now()) == (5, "book", moment)


def test_the_shipped_sources_take_the_clock() -> None:
    """The recording follows the clock that the pipeline hands in."""
    day = candle("2012-09-12", "1d", "IBM")
    assert make_source("replay", now=lambda: day.start).bars(day, 9)[-1].start < day.start
    assert make_source("replay", now=lambda: day.close).bars(day, 9)[-1].start == day.start


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("cvs", {}, "write one of replay, csv, http, or package.module:Name"),
        ("", {}, "write one of replay, csv, http"),
        (None, {}, "write one of replay, csv, http"),
        ("nowhere.at:All", {}, "there is no module nowhere"),
        (f"{HERE}:Missing", {}, "has no Missing"),
        (f"{HERE}:", {}, "write package.module:name"),
        (".Own", {}, "write package.module:name"),
        (f"{HERE}:NUMBER", {}, "is not callable"),
        (f"{HERE}:no_source", {}, "has no method bars"),
        (f"{HERE}:explode", {}, "RuntimeError: no licence"),
        (f"{HERE}:Own", {}, "depth = 'missing'"),
        (f"{HERE}:Own", {"depth": 1, "dept": 2}, "dept = '2': is no option; there are depth, level"),
        (f"{HERE}:Own", {"depth": 1, "now": 2}, "now = '2': is no option"),
        (f"{HERE}:open_own", {"depth": 1, "now": 2}, "is filled by the pipeline"),
        ("csv", {}, "path = 'missing'"),
        ("csv", {"file": "x"}, "file = 'x': is no option; there are path, instrument"),
    ],
)
def test_what_cannot_be_made(name: Any, options: dict[str, Any], says: str) -> None:
    """An unknown name or option, a missing one, and code that fails are settings errors that say what to write."""
    with pytest.raises(InvalidSetting) as caught:
        make_source(name, options)
    assert says in str(caught.value)


def test_a_refused_value_keeps_its_own_error() -> None:
    """What a source says about a value of an option arrives as it said it."""
    with pytest.raises(InvalidTimeframe):
        make_source("replay", {"timeframe": "1x"})


@pytest.mark.parametrize(
    ("content", "says"),
    [("import absent_dependency", "needs the module absent_dependency"), ("1 / 0", "raised ZeroDivisionError")],
)
def test_a_module_that_fails_to_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, says: str
) -> None:
    """A module that is there but cannot be imported is told apart from one that is not there."""
    (tmp_path / "broken_source.py").write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InvalidSetting, match=says):
        make_source("broken_source:Own")
