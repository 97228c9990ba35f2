"""The demonstration: recorded bars replayed fast through the real pipeline, while things are killed under it.

At the end it judges itself by evidence that the pipeline has no hand in (`tasks.evidence`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from dedup.errors import StoreError
from tasks.evidence import Expected, Verdict, expect, judge, unsettled
from tasks.faults import Fault, scenario
from tasks.live import addresses, view
from tasks.outcomes import LogTail, Tally
from tasks.receiver.log import ReceiverLog, read_log
from tasks.runtime import Pipeline, make_pipeline
from tasks.settings import load_settings
from tasks.stack import BEATS, FLOWER, WORKERS, Replay, Stack, make_stack, start_pipeline, start_services
from tasks.supervisor import Supervisor

FIRST = datetime(2012, 9, 10, tzinfo=UTC)
LAST = datetime(2012, 11, 30, tzinfo=UTC)
END_OF_BARS = datetime(2013, 3, 1, tzinfo=UTC)
LEAD_S = 8.0
SETTLE_S = 45.0


@dataclass
class Struck:
    """One fault as it happened.

    Attributes:
        at_s: seconds from the beginning of the replay.
        recovered_s: seconds from the fault until every candle that had closed by then, and every signal of it, was
            settled in the store.
    """

    fault: Fault
    at_s: float
    what: str
    recovered_s: float | None = None


@dataclass
class Run:
    """A running demonstration."""

    stack: Stack
    line: Pipeline
    tally: Tally
    tail: LogTail
    began: float
    struck: list[Struck] = field(default_factory=list)

    def elapsed_s(self) -> float:
        """Wall seconds since the replay began."""
        return time.monotonic() - self.began

    def notes(self) -> list[str]:
        """What was done so far, for the live view."""
        return [f"{one.at_s:5.1f} s  {one.what}" for one in self.struck]


def replay(day_s: float, last: datetime) -> Replay:
    """The recorded days from September 2012, a day in `day_s` wall seconds."""
    return Replay(FIRST, last, day_s, LEAD_S)


@contextmanager
def running(stack: Stack) -> Iterator[Supervisor]:
    """Services and pipeline up; all of it stopped at the end."""
    with Supervisor(stack.home) as supervisor:
        start_services(stack, supervisor)
        start_pipeline(stack, supervisor)
        yield supervisor


def open_line(stack: Stack) -> Pipeline:
    """This process' own view of the pipeline, with the settings that the workers have."""
    names = ("REDIS_URL", "WATCHLIST", "MARKET_CLOCK", "WATCH_FROM", "WATCH_UNTIL", "HORIZON", "SIGNAL_MAX_AGE")
    overrides = {name.lower(): stack.env[name] for name in (*names, "SIGNAL_API_URL", "SIGNAL_API_SECRET")}
    return make_pipeline(load_settings(_env_file=None, **overrides))


def run_demo(console: Console, home: Path, day_s: float, last: datetime = LAST) -> bool:
    """Run it, print the summary, and say whether nothing was posted twice and nothing was lost."""
    stack = make_stack(home, replay(day_s, last))
    with running(stack) as supervisor:
        console.print(addresses(stack))
        run = _begin(stack)
        with Live(view(stack, run.tally, []), console=console, refresh_per_second=4) as live:
            strikes = threading.Thread(target=_strike_all, args=(run, supervisor), name="faults", daemon=True)
            strikes.start()
            days_s = (last - FIRST) / timedelta(days=1) * day_s
            while run.elapsed_s() < days_s or strikes.is_alive():
                _refresh(run, live)
            expected = _expected(run)
            verdict = _settle(run, expected, live)
        restarts = supervisor.restarts()
        supervisor.stop([*WORKERS, *BEATS, FLOWER])
        # Counted once more when nothing that could post is left.
        verdict = _judge(run, expected)
    console.print()
    console.print(summary(run, verdict, restarts))
    return verdict.good


def _begin(stack: Stack) -> Run:
    lead_s = stack.clock.seconds_until(FIRST)
    logs = [stack.home / f"{name}.log" for name in WORKERS]
    return Run(stack, open_line(stack), Tally(), LogTail(logs), time.monotonic() + lead_s)


def _refresh(run: Run, live: Live) -> None:
    for outcome in run.tail.read():
        run.tally.add(outcome)
    live.update(view(run.stack, run.tally, run.notes()))
    time.sleep(0.25)


def _strike_all(run: Run, supervisor: Supervisor) -> None:
    for fault in scenario():
        time.sleep(max(0.0, fault.at_s - run.elapsed_s()))
        at_s = run.elapsed_s()
        struck = Struck(fault, at_s, f"{fault.name} …")
        run.struck.append(struck)
        struck.what = fault.strike(run.stack, supervisor)
        if fault.measured:
            struck.recovered_s = _recovery_s(run, run.stack.clock.now())


def _recovery_s(run: Run, closed_by: datetime, patience_s: float = 40) -> float | None:
    """Seconds from now until everything that has closed by now is settled."""
    began = time.monotonic()
    expected = _expected(run, closed_by)
    while time.monotonic() - began < patience_s:
        try:
            if not unsettled(run.line, expected):
                return time.monotonic() - began
        except StoreError:
            pass
        time.sleep(0.2)
    return None


def _expected(run: Run, until: datetime | None = None) -> Expected:
    max_age_s = run.line.settings.signal_max_age or 0.0
    return expect(run.line.watchlist, FIRST, min(until or run.stack.replay.last, run.stack.replay.last), max_age_s)


def _judge(run: Run, expected: Expected) -> Verdict:
    log = _receiver_log(run.stack)
    return judge(run.line, expected, log.effects, len(log.posts))


def _receiver_log(stack: Stack) -> ReceiverLog:
    return read_log(stack.receiver_log)


def _settle(run: Run, expected: Expected, live: Live) -> Verdict:
    """Wait until nothing is open, or for long enough to call it lost."""
    until = time.monotonic() + SETTLE_S
    while True:
        _refresh(run, live)
        verdict = _judge(run, expected)
        if verdict.settled or time.monotonic() > until:
            return verdict


def summary(run: Run, verdict: Verdict, restarts: dict[str, int]) -> Table:
    """What the evidence says."""
    log = _receiver_log(run.stack)
    table = Table(title="Summary, from the API's log and the strategies run over the same bars", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    expected = verdict.expected
    rows: list[tuple[str, object]] = [
        ("candles expected", len(expected.candles)),
        ("candles evaluated", verdict.evaluated),
        ("candles missing", len(verdict.missing)),
        ("signals expected", len(expected.signals)),
        ("signals posted", len(verdict.posted)),
        ("signals held", len(verdict.held)),
        ("signals expired", len(verdict.expired)),
        ("signals rejected", len(verdict.rejected)),
        ("signals lost", len(verdict.lost)),
        ("POSTs that reached the API", verdict.posts),
        ("distinct signal ids with an effect", len(log.ids)),
        ("doubles in effect", len(verdict.doubled)),
        ("effects that no bar asks for", len(verdict.unexpected)),
        ("repeated POSTs that the API recognised", log.replays),
        ("deliveries suppressed by claims", run.tally.suppressed),
    ]
    for one in run.struck:
        if one.fault.measured:
            recovered = "not within 40 s" if one.recovered_s is None else f"{one.recovered_s:.1f} s"
            rows.append((f"recovered from {one.fault.name}", recovered))
    rows.append(("processes started again", ", ".join(f"{k} x {v}" for k, v in restarts.items()) or "none"))
    rows.append(("verdict", "nothing twice, nothing lost" if verdict.good else "FAILED"))
    for name, value in rows:
        table.add_row(name, str(value))
    return table
