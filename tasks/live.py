"""What `up` shows while it runs: a table per instrument, what was done to the pipeline, and where to look."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tasks.outcomes import Tally
from tasks.stack import Stack


def addresses(stack: Stack) -> Panel:
    """URLs and where the logs are."""
    lines = [
        f"Flower     http://127.0.0.1:{stack.flower_port}  user candlelatch, password {stack.flower_password}",
        f"Signals    {stack.api_url}/signals",
        f"Redis      {stack.redis_url}",
        f"Logs       {stack.home}",
    ]
    return Panel("\n".join(lines), title="candlelatch", expand=False)


def view(stack: Stack, tally: Tally, notes: list[str]) -> RenderableType:
    """The live view: per instrument the candles evaluated, days without a market, signals posted, and deliveries that a
    claim suppressed.
    """
    table = Table(
        title=f"market time {stack.clock.now():%a %Y-%m-%d %H:%M}Z", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False
    )
    for name in ("instrument", "candles", "closed", "posted", "duplicates"):
        table.add_column(name, justify="left" if name == "instrument" else "right", no_wrap=True)
    table.add_column("last signal", no_wrap=True)
    for instrument in sorted(tally.rows):
        row = tally.rows[instrument]
        numbers = (row.candles, row.closed, row.posts, row.suppressed)
        table.add_row(instrument, *map(str, numbers), row.last_signal)
    return Group(table, *(Text(note, style="yellow") for note in notes[-8:]))
