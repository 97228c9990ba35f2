"""Outcomes as the logs tell them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.logs import json_line
from tasks.outcomes import LogTail, Tally, parse_outcome


def line(**fields: Any) -> str:
    envelope = {"timestamp": "2026-01-01T00:00:00.000Z", "level": "info", "process": "ForkPoolWorker-1"}
    return json_line({**envelope, "logger": "candlelatch.outcomes", "event": "outcome", **fields})


def test_outcome_is_read_from_a_log_line() -> None:
    """A worker's log line tells one outcome, without what every line has."""
    assert parse_outcome(line(task="publish_signal", outcome="posted")) == {
        "task": "publish_signal",
        "outcome": "posted",
    }


@pytest.mark.parametrize(
    "text", ["", "Task publish_signal succeeded", "outcome {torn", line(task="t")[:-1], "outcome []", "{}"]
)
def test_other_lines_tell_none(text: str) -> None:
    """Any other line, torn ones too, tells none."""
    assert parse_outcome(text) is None


def test_tail_reads_what_is_new(tmp_path: Path) -> None:
    """Each outcome is read once; a torn last line waits until it is whole; a file may come later."""
    path = tmp_path / "worker1.log"
    tail = LogTail([path])
    assert list(tail.read()) == []
    whole = line(task="t", outcome="evaluated")
    path.write_text(whole + "\n" + whole[:40])
    assert len(list(tail.read())) == 1
    path.write_text(whole + "\n" + whole + "\n")
    assert len(list(tail.read())) == 1
    assert list(tail.read()) == []


def test_tally_counts_by_instrument() -> None:
    """Candles, posts and suppressed deliveries are counted by instrument and in all."""
    tally = Tally()
    candle = {"instrument": "GOLD", "candle": "2012-09-10T00:00Z–2012-09-11T00:00Z"}  # noqa: RUF001
    for outcome in ("evaluated", "duplicate", "busy", "closed_market"):
        tally.add({"task": "evaluate_candle", "outcome": outcome, **candle})
    tally.add({"task": "publish_signal", "outcome": "posted", "side": "buy", "strategy": "rsi", **candle})
    tally.add({"task": "sweep", "outcome": "swept"})
    row = tally.rows["GOLD"]
    assert (row.candles, row.closed, row.posts, row.suppressed) == (1, 1, 1, 2)
    assert row.last_signal == "2012-09-10 buy rsi"
    assert (tally.suppressed, tally.count("sweep", "swept")) == (2, 1)
