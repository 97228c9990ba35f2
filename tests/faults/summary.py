"""How long the pipeline took to recover from which fault: told at the end of a test run, and never judged there."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

NAME = "recovery"
"""Property of a test: a fault in words, and seconds until all that it struck was settled."""


def told(reports: Iterable[Any]) -> Iterator[str]:
    """One line for each fault that reports of tests tell of."""
    found: dict[str, list[float]] = defaultdict(list)
    for report in reports:
        for name, value in getattr(report, "user_properties", ()):
            if name == NAME:
                fault, seconds = value
                found[fault].append(seconds)
    for fault, seconds in sorted(found.items()):
        low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
        span = f"{low:.1f} s" if len(seconds) == 1 else f"{low:.1f} / {middle:.1f} / {high:.1f} s (of {len(seconds)})"
        yield f"{fault}: {span}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell it."""
    lines = list(told(terminalreporter.getreports("passed")))
    if lines:
        terminalreporter.section("faults: until all was settled (least / median / most)")
        for line in lines:
            terminalreporter.line(line)
