"""What was explored is told at the end of a run: a line for every space, and with `-v` the trace of every mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from tests.model.exploring import Explored
from tests.model.telling import figures, trace

FIGURES, TRACE = "explored", "trace"

Tell = Callable[[Explored], Explored]


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Tell what a search saw."""

    def telling(explored: Explored) -> Explored:
        print(figures(explored))
        record_property(FIGURES, figures(explored))
        if explored.broken is not None:
            print(trace(explored))
            record_property(TRACE, trace(explored))
        return explored

    return telling


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures, and the traces where they were asked for."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    properties = [prop for report in reports if report.when == "call" for prop in report.user_properties]
    if any(name == FIGURES for name, _ in properties):
        terminalreporter.section("interleavings explored")
        verbose = terminalreporter.config.getoption("verbose") > 0
        for line in _lines(properties, verbose):
            terminalreporter.write_line(line)


def _lines(properties: Iterable[tuple[str, object]], verbose: bool) -> Iterable[str]:
    for name, value in properties:
        if name == FIGURES or (name == TRACE and verbose):
            yield from str(value).splitlines()
