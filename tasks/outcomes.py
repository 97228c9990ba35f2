"""Outcomes as the workers' logs tell them: for a live view and for counting what was suppressed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.logs import read_outcome

SUPPRESSED = ("duplicate", "busy")


class LogTail:
    """Reads what is new in growing log files.

    Args:
        paths: files, which need not exist yet.
    """

    def __init__(self, paths: list[Path]) -> None:
        self._offsets = dict.fromkeys(paths, 0)

    def read(self) -> Iterator[dict[str, Any]]:
        """The outcomes written since the last call. A torn last line waits for the next."""
        for path, offset in self._offsets.items():
            if not path.exists():
                continue
            with path.open("rb") as log:
                log.seek(offset)
                data = log.read()
            whole = data.rfind(b"\n") + 1
            self._offsets[path] = offset + whole
            for line in data[:whole].decode("utf-8", "replace").splitlines():
                outcome = parse_outcome(line)
                if outcome is not None:
                    yield outcome


def parse_outcome(line: str) -> dict[str, Any] | None:
    """The outcome that a log line tells, whichever `LOG_FORMAT` it has; None where it tells none."""
    return read_outcome(line)


@dataclass
class InstrumentRow:
    """One line of the live view."""

    candles: int = 0
    closed: int = 0
    posts: int = 0
    suppressed: int = 0
    last_signal: str = ""


@dataclass
class Tally:
    """Outcomes counted: in all, and by instrument."""

    totals: Counter[tuple[str, str]] = field(default_factory=Counter)
    rows: dict[str, InstrumentRow] = field(default_factory=dict)

    def add(self, outcome: dict[str, Any]) -> None:
        """Count one outcome."""
        task, kind = str(outcome.get("task", "")), str(outcome.get("outcome", ""))
        self.totals[task, kind] += 1
        instrument = outcome.get("instrument")
        if not isinstance(instrument, str):
            return
        row = self.rows.setdefault(instrument, InstrumentRow())
        span = str(outcome.get("candle", "")).partition("T")[0]
        row.suppressed += kind in SUPPRESSED
        row.candles += kind == "evaluated"
        row.closed += kind == "closed_market"
        if kind == "posted":
            row.posts += 1
            row.last_signal = f"{span} {outcome.get('side')} {outcome.get('strategy')}"

    @property
    def suppressed(self) -> int:
        """Deliveries that found the work done or in other hands."""
        return sum(count for (_, kind), count in self.totals.items() if kind in SUPPRESSED)

    def count(self, task: str, kind: str) -> int:
        """How often a task ended so."""
        return self.totals[task, kind]
