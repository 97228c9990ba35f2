"""How a figure is taken: candidates in turn, so that a drift of the machine's speed strikes all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One ratio.

    Attributes:
        name: what is compared.
        ours, theirs: medians, in `unit`; `theirs` is 1 where the figure stands for itself.
        goal: the ratio, or the figure, that was asked for; None where it is only told.
        smaller_is_better: whether the ratio has to stay below the goal, or reach it.
    """

    name: str
    ours: float
    theirs: float
    unit: str
    goal: float | None
    smaller_is_better: bool = True

    @classmethod
    def absolute(cls, name: str, value: float, unit: str, goal: float | None, smaller_is_better: bool = True) -> Figure:
        """A figure that is compared with nothing."""
        return cls(name, value, 1.0, unit, goal, smaller_is_better)

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return self.ours / self.theirs

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        if self.goal is None:
            return True
        return self.ratio <= self.goal if self.smaller_is_better else self.ratio >= self.goal


def medians_us(candidates: Mapping[str, Callable[[], object]], rounds: int = 100, calls: int = 50) -> dict[str, float]:
    """Median time of one call of each candidate in µs: `rounds` turns of `calls` calls each, after a warm-up."""
    for candidate in candidates.values():
        for _ in range(calls):
            candidate()
    times: dict[str, list[int]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            for _ in range(calls):
                began = time.perf_counter_ns()
                candidate()
                times[name].append(time.perf_counter_ns() - began)
    return {name: statistics.median(values) / 1000 for name, values in times.items()}
