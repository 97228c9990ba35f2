"""Labelled points of a worker's work, and the plan of what happens to the worker there.

A plan comes in the environment. On the n-th pass of a point the whole worker, every process of it, is sent a signal:
SIGKILL, or SIGSTOP. Each stroke falls once, however many workers have the plan: a marker file remembers it.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

PLAN, MARKS = "FAULT_PLAN", "FAULT_MARKS"
"""Environment: the plan as JSON, and the directory of the marker files."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """What happens at one point.

    Attributes:
        task: name of the task.
        point: such as ``after claim``; `tests.faults.app` lists them.
        subject: the instrument that the task works on; for a sweep the task's id.
        how: name of the signal.
        nth: the pass, counted in each process for itself.
    """

    task: str
    point: str
    subject: str
    how: str = "SIGKILL"
    nth: int = 1

    @property
    def name(self) -> str:
        """Of its marker file."""
        return "-".join((self.task, *self.point.split(), self.subject))

    def mark(self, marks: Path) -> Path:
        """Its marker file."""
        return marks / self.name

    def fallen(self, marks: Path) -> Fallen | None:
        """When and on whom it fell; None while it has not."""
        mark = self.mark(marks)
        if not (mark.exists() and (group := mark.read_text())):
            return None
        return Fallen(mark.stat().st_mtime, int(group))


@dataclass(frozen=True, slots=True)
class Fallen:
    """A stroke that fell.

    Attributes:
        at_s: seconds since the epoch.
        group: the worker's process group.
    """

    at_s: float
    group: int


def environment(strokes: Sequence[Stroke], marks: Path) -> dict[str, str]:
    """What a worker's environment says of a plan."""
    return {PLAN: json.dumps([asdict(stroke) for stroke in strokes]), MARKS: str(marks)}


class Plan:
    """The plan in a worker's process.

    Args:
        strokes: the plan.
        marks: directory of the marker files.
    """

    def __init__(self, strokes: Sequence[Stroke], marks: Path) -> None:
        self._strokes = {(stroke.task, stroke.point, stroke.subject): stroke for stroke in strokes}
        self._marks = marks
        self._passed: Counter[Stroke] = Counter()

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Plan:
        """The plan of an environment, empty where there is none."""
        strokes = [Stroke(**fields) for fields in json.loads(environ.get(PLAN, "[]"))]
        return cls(strokes, Path(environ.get(MARKS, ".")))

    def reach(self, task: str, point: str, subject: str) -> None:
        """Pass a point: a stroke that is due falls here, and a SIGKILL does not return."""
        stroke = self._strokes.get((task, point, subject))
        if stroke is None:
            return
        self._passed[stroke] += 1
        if self._passed[stroke] == stroke.nth and self._mark(stroke):
            os.killpg(os.getpgrp(), signal.Signals[stroke.how])

    def _mark(self, stroke: Stroke) -> bool:
        try:
            with stroke.mark(self._marks).open("x") as mark:
                mark.write(str(os.getpgrp()))
        except FileExistsError:
            return False
        return True
