"""Run every figure and print them. Exit code 1 when a goal is missed."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from bench import claims, throughput
from bench.figures import Figure


def main() -> None:
    """Print a table of ratios."""
    found: list[Figure] = [*claims.figures(), *throughput.figures()]
    table = Table(title="Side by side in one run, medians")
    for name in ("figure", "ours", "theirs", "unit", "ratio", "goal", "met"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    for one in found:
        sign = "≤" if one.smaller_is_better else "≥"
        row = (f"{one.ours:.1f}", f"{one.theirs:.1f}", one.unit, f"{one.ratio:.2f}", f"{sign} {one.goal:.2f}")
        table.add_row(one.name, *row, "yes" if one.met else "no")
    Console(width=110).print(table)
    sys.exit(0 if all(one.met for one in found) else 1)


if __name__ == "__main__":
    main()
