"""What commands print for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

PIPED_COLUMNS = 200


def console() -> Console:
    """The terminal; wide where there is none, so that a pipe or a file gets whole lines."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPED_COLUMNS)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], title: str | None = None) -> None:
    """A table whose cells are folded where the terminal is too narrow: nothing is left out."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    console().print(table)


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Names and values, a line each."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields:
        table.add_row(name, Text(value))
    console().print(table)
