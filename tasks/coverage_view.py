"""The coverage picture: instruments by the last candles, one glyph each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tasks.commands.given import iso
from tasks.coverage import FOUND, Cell, Mark, Row

GLYPHS: dict[Mark, tuple[str, str]] = {
    Mark.POSTED: ("●", "bold green"),
    Mark.NO_SIGNAL: ("·", "green"),
    Mark.TOO_FEW: ("w", "dim"),
    Mark.WORKING: ("○", "cyan"),
    Mark.EXPIRED: ("x", "yellow"),
    Mark.REJECTED: ("R", "bold red"),
    Mark.CONFLICT: ("C", "bold red"),
    Mark.HELD: ("H", "bold white on red"),
    Mark.FAILED: ("F", "bold red"),
    Mark.MISSING: ("?", "bold magenta"),
    Mark.MARKET_CLOSED: ("-", "dim"),
    Mark.NOT_KEPT: ("~", "dim"),
    Mark.UNWATCHED: (" ", "dim"),
}
"""A letter or sign for each mark, which tells it without colours too."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that `status` shows.

    Attributes:
        now: market time.
        queues: messages that wait, by queue (Redis knows no empty one: None); None for all where the broker does not
            answer: `broker_error` says why.
        held: signals that wait for a person, of whatever age.
        swept_s: seconds since a sweep last went through; None where none has for a day.
    """

    now: datetime
    rows: Sequence[Row]
    queues: dict[str, int | None] | None
    broker_error: str
    held: int
    swept_s: float | None

    @property
    def found(self) -> bool:
        """Whether somebody should look at something."""
        return self.held > 0 or any(cell.mark in FOUND for row in self.rows for cell in row.cells)


def as_document(picture: Picture) -> dict[str, Any]:
    """For machines."""
    return {
        "now": iso(picture.now),
        "found": picture.found,
        "held": picture.held,
        "swept_s": picture.swept_s,
        "queues": picture.queues,
        "broker_error": picture.broker_error,
        "rows": [
            {
                "instrument": row.instrument,
                "timeframe": row.timeframe,
                "alignment": row.alignment,
                "candles": [_cell_document(cell) for cell in row.cells],
            }
            for row in picture.rows
        ],
    }


def _cell_document(cell: Cell) -> dict[str, Any]:
    signals = [{"id": one.signal.id, "strategy": one.signal.strategy, "mark": one.mark.value} for one in cell.signals]
    return {
        "start": iso(cell.candle.start),
        "close": iso(cell.candle.close),
        "mark": cell.mark.value,
        "why": cell.why,
        "signals": signals,
    }


def as_view(picture: Picture) -> RenderableType:
    """For people: a table per timeframe and alignment, a legend of what is in them, and a summary."""
    parts: list[RenderableType] = []
    ordered = sorted(picture.rows, key=lambda row: (row.timeframe, row.alignment))
    for (timeframe, alignment), rows in groupby(ordered, key=lambda row: (row.timeframe, row.alignment)):
        parts += [_table(timeframe, alignment, list(rows)), Text()]
    parts += [_legend(picture.rows), _summary(picture)]
    return Group(*parts)


def _table(timeframe: str, alignment: str, rows: Sequence[Row]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=True, header_style="bold")
    table.add_column(timeframe if alignment == "utc" else f"{timeframe} {alignment}", no_wrap=True)
    longest = max(rows, key=lambda row: len(row.cells))
    table.add_column(_span(longest.cells), no_wrap=True)
    table.add_column("to look at", overflow="fold")
    for row in sorted(rows, key=lambda row: row.instrument):
        marks = Text()
        for cell in row.cells:
            glyph, style = GLYPHS[cell.mark]
            marks.append(glyph, style=style)
        counts = Counter(cell.mark for cell in row.cells)
        found = (f"{counts[mark]} {mark.value}" for mark in Mark if mark in FOUND and counts[mark])
        table.add_row(row.instrument, marks, ", ".join(found))
    return table


def _span(cells: Sequence[Cell]) -> str:
    if not cells:
        return ""
    return f"{cells[0].candle.start:%Y-%m-%d %H:%M} – {cells[-1].candle.close:%m-%d %H:%M}Z"  # noqa: RUF001


def _legend(rows: Iterable[Row]) -> Text:
    seen = {cell.mark for row in rows for cell in row.cells}
    legend = Text()
    for mark, (glyph, style) in GLYPHS.items():
        if mark in seen and mark is not Mark.UNWATCHED:
            legend.append(glyph, style=style).append(f" {mark.value}   ", style="dim")
    return legend


def _summary(picture: Picture) -> Text:
    summary = Text(f"{picture.now:%Y-%m-%d %H:%M:%S}Z market time   ")
    if picture.queues is None:
        summary.append(f"broker: {picture.broker_error}   ", style="bold red")
    else:
        waiting = (f"{name} {count or 0}" for name, count in picture.queues.items())
        summary.append(f"waiting: {', '.join(waiting)}   ")
    swept = "no sweep for a day" if picture.swept_s is None else f"swept {picture.swept_s:.0f} s ago"
    summary.append(f"{swept}   ", style="bold red" if picture.swept_s is None else "")
    if picture.held:
        summary.append(f"{picture.held} held: celery -A tasks signals list", style="bold red")
    else:
        summary.append("nothing held", style="green")
    return summary
