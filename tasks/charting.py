"""A picture of candles, with a marker for each signal in the colour of its outcome.

Time is not to scale: bars stand side by side, so that nights and weekends without a market take no room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dedup.errors import InvalidSetting
from tasks.bars import Bar
from tasks.coverage import Cell, Mark

COLOURS: Mapping[Mark, str] = {
    Mark.POSTED: "#2e9e5b",
    Mark.WORKING: "#3d7fd9",
    Mark.EXPIRED: "#c9911c",
    Mark.REJECTED: "#8e44ad",
    Mark.CONFLICT: "#8e44ad",
    Mark.HELD: "#d62728",
}
SHAPES: Mapping[str, str] = {"buy": "^", "sell": "v", "close": "D"}
INCHES, DPI = (12.0, 6.0), 100
CLEARANCE = 0.03
"""How far a marker stands from its bar, as a part of all prices shown."""


@dataclass(frozen=True, slots=True)
class Marker:
    """One signal in the picture.

    Attributes:
        place: number of its bar, from the left.
        price: where it stands: below its bar for a buy, above it for a sell, at the close for a close.
    """

    place: int
    price: float
    side: str
    mark: Mark


def markers(bars: Sequence[Bar], cells: Iterable[Cell]) -> list[Marker]:
    """A marker for each signal of a candle whose bar is shown."""
    if not bars:
        return []
    places = {bar.start: place for place, bar in enumerate(bars)}
    away = CLEARANCE * (max(bar.high for bar in bars) - min(bar.low for bar in bars))
    found: list[Marker] = []
    for cell in cells:
        place = places.get(cell.candle.start)
        if place is not None:
            sides = ((seen.signal.side, seen.mark) for seen in cell.signals)
            found += [Marker(place, _height(bars[place], side, away), side, mark) for side, mark in sides]
    return found


def _height(bar: Bar, side: str, away: float) -> float:
    return {"buy": bar.low - away, "sell": bar.high + away}.get(side, bar.close)


def draw(bars: Sequence[Bar], found: Sequence[Marker], title: str) -> Any:
    """The picture as a matplotlib figure, which the caller closes.

    Raises:
        InvalidSetting: the extra `chart` is not installed.
    """
    mpf = _mplfinance()
    prices = [(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars]
    figure, axes = mpf.plot(
        _frame([bar.start for bar in bars], prices),
        type="candle",
        style="yahoo",
        volume=any(bar.volume for bar in bars),
        figsize=INCHES,
        returnfig=True,
        tight_layout=True,
        xrotation=0,
        datetime_format=_time_format(bars),
        warn_too_much_data=len(bars) + 1,
    )
    main = axes[0]
    main.set_title(title, loc="left", pad=30)
    for mark in COLOURS:
        of_mark = [one for one in found if one.mark is mark]
        for side, shape in SHAPES.items():
            of_side = [one for one in of_mark if one.side == side]
            if of_side:
                xs, ys = [one.place for one in of_side], [one.price for one in of_side]
                label = f"{side} {mark.value} ({len(of_side)})"
                main.scatter(xs, ys, marker=shape, s=70, color=COLOURS[mark], edgecolors="black", zorder=5, label=label)
    if found:
        low, high = main.get_ylim()
        away = CLEARANCE * (high - low)
        heights = [one.price for one in found]
        main.set_ylim(min(low, min(heights) - away), max(high, max(heights) + away))
        above = (0, 1.0)
        main.legend(loc="lower left", bbox_to_anchor=above, ncols=6, fontsize="small", frameon=False, borderpad=0)
    return figure


def save(figure: Any, path: Path) -> None:
    """Write the figure as a PNG, and close it."""
    from matplotlib import pyplot

    try:
        figure.savefig(path, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.15)
    finally:
        pyplot.close(figure)


def _frame(starts: Sequence[datetime], prices: Sequence[tuple[float, ...]]) -> Any:
    import pandas

    # Naive, in UTC: matplotlib would otherwise show the time of whoever's machine this is.
    index = pandas.DatetimeIndex([start.astimezone(UTC).replace(tzinfo=None) for start in starts])
    return pandas.DataFrame(prices, index=index, columns=["Open", "High", "Low", "Close", "Volume"])


def _time_format(bars: Sequence[Bar]) -> str:
    days = {bar.start.date() for bar in bars}
    return "%Y-%m-%d" if len(days) == len(bars) else "%m-%d %H:%M"


def _mplfinance() -> Any:
    try:
        import matplotlib as mpl
        import mplfinance
    except ImportError:
        remedy = "is not installed; pip install 'candlelatch[chart]'"
        raise InvalidSetting("mplfinance", "missing", remedy) from None
    # No window, and no display needed.
    mpl.use("Agg")
    return mplfinance
