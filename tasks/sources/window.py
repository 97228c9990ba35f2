"""From what a source answered to what a strategy may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import pairwise

from dedup.errors import InvalidBars
from dedup.timeframe import Candle
from tasks.bars import Bar, check_bars


class WindowState(StrEnum):
    """What a source's answer amounts to."""

    FINAL = "final"
    """The strategy may look at the bars."""
    NOT_FINAL = "not_final"
    """The candle is missing or may still change: ask again."""
    GAP = "gap"
    """Bars exist before and after the candle and not for it: the market had no bar."""
    TOO_FEW = "too_few"
    """The feed has fewer final bars up to the candle than the strategy needs, and will not get more."""


@dataclass(frozen=True, slots=True)
class Window:
    """What a strategy may see.

    Attributes:
        state: what the answer amounts to.
        bars: exactly `need` bars, oldest first, the candle the last; empty unless `state` is FINAL.
        need: how many bars the strategy looks at.
        have: how many usable bars there were, `need` at most.
        gaps: places within those bars where one or more bars are missing, as over a weekend.
        reason: why the state is what it is, for a log.
    """

    state: WindowState
    bars: tuple[Bar, ...]
    need: int
    have: int
    gaps: int
    reason: str


def window_of(answer: Sequence[Bar], candle: Candle, need: int) -> Window:
    """Judge what a source answered for `candle` to a strategy that looks at `need` bars (1 or more).

    Bars after the candle, and bars that may still change, count as signs only; their values are not looked at.

    Raises:
        InvalidBars: bars that no strategy should see, or a bar that starts inside the candle's span, so that the feed
            cuts time elsewhere than the watchlist's alignment does.
    """
    if need < 1:
        raise ValueError(f"a strategy looks at 1 bar or more, not {need}")
    _check_alignment(answer, candle)
    past = [bar for bar in answer if bar.start <= candle.start]
    changing = [bar for bar in past[-need:] if not bar.final]
    settled = [bar for bar in past if bar.final]
    check_bars(settled)
    shown = tuple(settled[-need:])
    state, reason = _judge(past, changing, len(shown), need, candle, later=len(past) < len(answer))
    bars = shown if state is WindowState.FINAL else ()
    return Window(state, bars, need, len(shown), _count_gaps(shown, candle.timeframe.length), reason)


def _judge(
    past: Sequence[Bar], changing: Sequence[Bar], have: int, need: int, candle: Candle, *, later: bool
) -> tuple[WindowState, str]:
    if not any(bar.start == candle.start for bar in past):
        if later and not past:
            return WindowState.TOO_FEW, f"the source's bars begin after {candle}, and the strategy looks at {need}"
        if later:
            return WindowState.GAP, f"the source has a later bar and none for {candle}: the market had no bar"
        newest = f"its newest is {past[-1].start.isoformat()}" if past else "it has none before it either"
        return WindowState.NOT_FINAL, f"the source has no bar for {candle} yet; {newest}"
    if changing:
        return WindowState.NOT_FINAL, f"the source does not call {changing[0].start.isoformat()} final yet"
    if have < need:
        return WindowState.TOO_FEW, f"the strategy looks at {need} bars and the source has {have}"
    return WindowState.FINAL, f"{need} final bars up to {candle}"


def _check_alignment(answer: Sequence[Bar], candle: Candle) -> None:
    for bar in answer:
        if bar.start.utcoffset() != timedelta(0):
            raise InvalidBars("bar.start", bar.start.isoformat(), "give a timezone-aware UTC datetime")
        if candle.start < bar.start < candle.close:
            remedy = f"lies inside the candle {candle}; set the watchlist's alignment to where the feed cuts its bars"
            raise InvalidBars("bar.start", bar.start.isoformat(), remedy)


def _count_gaps(bars: Sequence[Bar], length: timedelta) -> int:
    # Half a bar of tolerance: under ny17 the bar in which the clocks go back is an hour longer.
    return sum(after.start - before.start > 1.5 * length for before, after in pairwise(bars))


def around(bars: Sequence[Bar], candle: Candle, count: int) -> list[Bar]:
    """The last `count` of `bars` up to the candle, and the first one after it: what a source answers."""
    past = [bar for bar in bars if bar.start <= candle.start]
    later = [bar for bar in bars if bar.start > candle.start]
    return past[-count:] + later[:1]
