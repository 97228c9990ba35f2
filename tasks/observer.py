"""What the pipeline tells an observer, beside what the library does (`dedup.observer`). `tasks.metrics` counts it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dedup.observer import Observer
from dedup.timeframe import Timeframe


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest candle of a watch that is settled, and the close of the one that follows. Wall clock, s since epoch.

    Attributes:
        next_close_s: infinite where none follows.
    """

    instrument: str
    timeframe: Timeframe
    close_s: float
    next_close_s: float


class PipelineObserver(Observer):
    """What can be told. Every method does nothing: override those that you care about.

    They are called in the middle of the work: be quick, and raise nothing.
    """

    counts = False
    """Whether anybody listens: what is dear to find out is not found out for nobody."""

    def ended(self, task: str, outcome: str, said: Mapping[str, Any]) -> None:
        """A delivery ended; `said` is its result, or what is known of it where it has none."""

    def fed(self, source: str, state: str, lag_s: float | None) -> None:
        """A source answered for a candle.

        Args:
            state: one of `tasks.sources.window.WindowState`, or ``error``.
            lag_s: wall seconds from the candle's close to this answer; None where the delivery was late itself.
        """

    def swept(self, newest: Iterable[Newest], held: int) -> None:
        """A sweep looked at every watch, and counted the signals that wait for a person."""

    def sent(self, task: str) -> None:
        """A message was sent."""
