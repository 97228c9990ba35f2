"""Run the figures and print them: `python -m bench [claims|library|durability …]`, all by default.

Exit code 1 when a goal is missed.
"""

from __future__ import annotations

import importlib
import sys

from rich.console import Console
from rich.table import Table

from bench.figures import Figure

MODULES = ("claims", "throughput", "library", "peers_locks", "durability")


def main(chosen: list[str]) -> None:
    """Print a table of figures."""
    found: list[Figure] = []
    for name in chosen or MODULES:
        found += importlib.import_module(f"bench.{name}").figures()
    Console(width=110).print(table_of(found))
    sys.exit(0 if all(one.met for one in found) else 1)


def table_of(figures: list[Figure]) -> Table:
    """One line per figure."""
    table = Table(title="Side by side in one run, medians")
    for name in ("figure", "ours", "theirs", "unit", "ratio", "goal", "met"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    for one in figures:
        alone = one.theirs == 1.0
        sign = "≤" if one.smaller_is_better else "≥"
        goal = "–" if one.goal is None else f"{sign} {one.goal:,.0f}" if alone else f"{sign} {one.goal:.2f}"  # noqa: RUF001
        numbers = (
            f"{one.ours:,.1f}",
            "" if alone else f"{one.theirs:,.1f}",
            one.unit,
            "" if alone else f"{one.ratio:.2f}",
        )
        table.add_row(one.name, *numbers, goal, "yes" if one.met else "no")
    return table


if __name__ == "__main__":
    main(sys.argv[1:])
