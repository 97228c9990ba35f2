"""From what a source answered to what a strategy may see."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from feeding import at, bar, candle, run
from hypothesis import given
from hypothesis import strategies as st

from dedup.errors import InvalidBars
from dedup.timeframe import Candle, Timeframe
from tasks.bars import Bar
from tasks.sources import WindowState, window_of
from tasks.sources.window import around

CANDLE = candle("2024-03-05T10:00")
UP_TO_IT = run("2024-03-05T09:15", 4)


def test_final_shows_exactly_the_bars_needed() -> None:
    """A final candle with enough history shows the last `need` bars and no later one."""
    window = window_of([*UP_TO_IT, bar("2024-03-05T10:15", final=False)], CANDLE, 3)
    assert window.state is WindowState.FINAL
    assert window.bars == tuple(UP_TO_IT[1:])
    assert (window.need, window.have, window.gaps) == (3, 3, 0)


@pytest.mark.parametrize(
    "answer",
    [
        [],
        UP_TO_IT[:-1],
        [*UP_TO_IT[:-1], replace(UP_TO_IT[-1], final=False)],
        [*UP_TO_IT[:-2], replace(UP_TO_IT[-2], final=False), UP_TO_IT[-1]],
        [*UP_TO_IT[:-1], replace(UP_TO_IT[-1], final=False), bar("2024-03-05T10:15")],
    ],
    ids=["nothing", "candle missing", "candle forming", "history forming", "forming although a successor exists"],
)
def test_not_final(answer: list[Bar]) -> None:
    """A candle that is missing, or any bar to be shown that may still change, means asking again, and shows nothing."""
    window = window_of(answer, CANDLE, 3)
    assert window.state is WindowState.NOT_FINAL
    assert window.bars == ()


def test_gap() -> None:
    """Bars before and after the candle but not for it: the market had none."""
    window = window_of([*UP_TO_IT[:-1], bar("2024-03-05T10:15", final=False)], CANDLE, 3)
    assert window.state is WindowState.GAP
    assert window.bars == ()
    assert "the market had no bar" in window.reason


def test_an_answer_that_begins_after_the_candle_is_no_gap() -> None:
    """An answer that was cut off before the candle proves nothing about the market."""
    window = window_of([bar("2024-03-05T10:15"), bar("2024-03-05T10:30")], CANDLE, 3)
    assert window.state is WindowState.TOO_FEW
    assert (window.have, window.need) == (0, 3)


def test_too_few_gives_the_numbers() -> None:
    """A warm-up that is not reached says how many bars there are and how many are needed."""
    window = window_of(UP_TO_IT, CANDLE, 5)
    assert window.state is WindowState.TOO_FEW
    assert (window.have, window.need) == (4, 5)
    assert window.reason == "the strategy looks at 5 bars and the source has 4"


def test_old_bars_that_are_not_needed_may_still_change() -> None:
    """Only what is shown has to be final."""
    answer = [replace(UP_TO_IT[0], final=False), *UP_TO_IT[1:]]
    assert window_of(answer, CANDLE, 3).state is WindowState.FINAL


def test_gaps_are_counted_within_what_is_shown() -> None:
    """Each place where bars are missing counts once, however long it is, and only inside the window."""
    answer = [bar("2024-03-01T21:45"), bar("2024-03-04T00:00"), bar("2024-03-05T09:30"), *UP_TO_IT[2:]]
    assert window_of(answer, CANDLE, 4).gaps == 1
    assert window_of(answer, CANDLE, 5).gaps == 2


def test_the_long_day_of_the_clock_change_is_no_gap() -> None:
    """Under ny17 the day in which the clocks go back has 25 hours and is not a missing bar."""
    day = Timeframe.parse("1d")
    long_day = Candle("EUR_USD", day, at("2024-11-03T22:00"), at("2024-11-04T22:00"))
    answer = [bar("2024-11-02T21:00"), bar("2024-11-03T22:00")]
    assert window_of(answer, long_day, 2).gaps == 0


def test_a_feed_cut_elsewhere_is_refused() -> None:
    """A bar that starts inside the candle's span shows another alignment, and is not taken for a gap."""
    day = candle("2024-03-05T00:00", "1d")
    with pytest.raises(InvalidBars, match="alignment"):
        window_of([bar("2024-03-03T22:00"), bar("2024-03-04T22:00"), bar("2024-03-05T22:00")], day, 2)


@pytest.mark.parametrize(
    "spoilt",
    [
        replace(UP_TO_IT[1], high=50.0),
        replace(UP_TO_IT[1], close=float("nan")),
        replace(UP_TO_IT[1], start=UP_TO_IT[0].start),
        replace(UP_TO_IT[1], start=UP_TO_IT[3].start + timedelta(days=-5)),
        replace(UP_TO_IT[1], start=UP_TO_IT[1].start.replace(tzinfo=None)),
    ],
    ids=["high below low", "NaN", "twice", "out of order", "naive"],
)
def test_spoilt_bars_are_refused(spoilt: Bar) -> None:
    """Bars that no strategy should see are refused, not shown."""
    with pytest.raises(InvalidBars):
        window_of([UP_TO_IT[0], spoilt, *UP_TO_IT[2:]], CANDLE, 3)


def test_values_of_forming_and_later_bars_are_not_judged() -> None:
    """A feed may write zeros into a bar that has only begun; nobody looks at them yet."""
    empty = Bar(at("2024-03-05T10:15"), 0.0, 0.0, 0.0, 0.0, 0.0, False)
    assert window_of([*UP_TO_IT, empty], CANDLE, 3).state is WindowState.FINAL
    forming = replace(empty, start=CANDLE.start)
    assert window_of([*UP_TO_IT[:-1], forming], CANDLE, 3).state is WindowState.NOT_FINAL


def test_a_strategy_looks_at_something() -> None:
    """A need below 1 is a mistake of the caller."""
    with pytest.raises(ValueError, match="1 bar or more"):
        window_of(UP_TO_IT, CANDLE, 0)


@given(
    present=st.lists(st.booleans(), min_size=12, max_size=12),
    final_until=st.integers(-6, 6),
    need=st.integers(1, 8),
    count=st.integers(8, 12),
)
def test_nothing_but_final_bars_up_to_the_candle_is_ever_shown(
    present: list[bool], final_until: int, need: int, count: int
) -> None:
    """Whatever a feed has, the window is the same with and without what a source leaves out, and never looks ahead."""
    length = CANDLE.timeframe.length
    feed = [
        replace(bar("2024-03-05T10:00"), start=CANDLE.start + n * length, final=n <= final_until)
        for n, there in zip(range(-6, 6), present, strict=True)
        if there
    ]
    window = window_of(around(feed, CANDLE, count), CANDLE, need)
    assert window == window_of(feed, CANDLE, need)
    held = [b for b in feed if b.start <= CANDLE.start]
    if window.state is WindowState.FINAL:
        assert window.bars == tuple(held[-need:])
        assert window.bars[-1].start == CANDLE.start
        assert all(b.final for b in window.bars)
    else:
        assert window.bars == ()
    assert (window.state is WindowState.GAP) == (not present[6] and any(present[:6]) and any(present[7:]))
