"""Traces and figures as text."""

from __future__ import annotations

from dedup.records import Record, State
from tests.model.exploring import Broken, Explored
from tests.model.states import posts
from tests.model.storing import SINCE_BEFORE_MS


def figures(explored: Explored) -> str:
    """One line: what was explored and how large it was."""
    size = f"{explored.states:>9,} states {explored.steps:>11,} steps  depth {explored.depth:>3}"
    broken = f": BREAKS {explored.broken.holds!r} in {len(explored.broken.trace)} steps" if explored.broken else ""
    return f"{size} {explored.seconds:6.1f} s  {explored.scenario}{broken}"


def trace(explored: Explored) -> str:
    """The shortest way to what broke, a step a line: who, what, and what stands in the store and at the API then."""
    broken = explored.broken
    if broken is None:
        return "nothing broke"
    lines = [_line(explored, number, broken) for number in range(len(broken.trace))]
    return "\n".join([f"breaks: {broken.holds}", *lines])


def _line(explored: Explored, number: int, broken: Broken) -> str:
    step = broken.trace[number]
    stored = explored.stepping.storing.all[step.state.stored]
    said = f"{step.who}{step.what}" if step.what.startswith("'") else f"{step.who} {step.what}".strip()
    forgot = "" if stored.since_ms == SINCE_BEFORE_MS else "; memory is younger than the candle"
    counts = _count(posts(step.state), "POST") + _count(step.state.effects, "effect")
    return f"{number + 1:>3}  {said:<78} {shown(stored.record)}{forgot}{counts}"


def _count(count: int, noun: str) -> str:
    return f"; {count} {noun}{'s' * (count > 1)}" if count else ""


def shown(record: Record | None) -> str:
    """A record in a few words."""
    if record is None:
        return "no record"
    notes = [f"attempt {'1' if record.attempt == 1 else '2+'}"]
    notes += ["lease over"] if record.state is State.CLAIMED and not record.until_ms else []
    notes += ["in doubt"] if record.in_doubt else []
    notes += ["held"] if record.held else []
    outcome = f"({record.outcome})" if record.outcome else ""
    return f"{record.state.value.upper()}{outcome}, {', '.join(notes)}"
