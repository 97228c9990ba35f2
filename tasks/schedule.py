"""Beat's schedules: one entry per timeframe and alignment, aligned to the candles' closes, and the sweep.

Beat compares all its entries on every tick, so per-instrument entries would slow it down; one entry per close keeps it
fast and `enqueue_candles` fans out.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from celery.schedules import BaseSchedule, schedstate, schedule

from dedup.alignment import Alignment, next_close
from dedup.timeframe import Timeframe
from tasks.clock import Clock
from tasks.shown import showing_tick
from tasks.watchlist import Watchlist


class CandleClose(BaseSchedule):
    """Due at every close of a timeframe's candles.

    However many closes passed since the last run (a stalled beat, a restart), it is due once: what was missed is the
    sweep's, so that a restart brings no burst.

    Args:
        timeframe: of the candles.
        alignment: where their boundaries lie.
        clock: market time.
    """

    def __init__(self, timeframe: Timeframe, alignment: Alignment, clock: Clock, **options: Any) -> None:
        super().__init__(**options)
        self.timeframe = timeframe
        self.alignment = alignment
        self.clock = clock

    def is_due(self, last_run_at: datetime) -> Any:
        """Whether a candle closed since, and the wall seconds until the next close."""
        now = self.clock.now()
        due_at = next_close(self.alignment, self.timeframe, self.clock.market(last_run_at))
        if now >= due_at:
            return schedstate(True, self._seconds_until(next_close(self.alignment, self.timeframe, now)))
        return schedstate(False, self._seconds_until(due_at))

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Wall time until the first close after the last run."""
        due_at = next_close(self.alignment, self.timeframe, self.clock.market(last_run_at))
        return timedelta(seconds=self._seconds_until(due_at))

    def _seconds_until(self, close: datetime) -> float:
        return max(0.0, self.clock.seconds_until(close))

    def _identity(self) -> tuple[str, str, str]:
        return (str(self.timeframe), self.alignment.name, str(self.clock))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CandleClose) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        return f"<close of {self.timeframe} candles, {self.alignment.name}>"


def beat_schedule(watchlist: Watchlist, clock: Clock, sweep_interval_s: float) -> dict[str, dict[str, Any]]:
    """Beat's entries for a watchlist.

    Messages expire when the next one is due: a tick that nobody took in time is the sweep's.
    """
    entries: dict[str, dict[str, Any]] = {}
    for timeframe, alignment in watchlist.closes():
        entries[f"close {timeframe} {alignment.name}"] = {
            "task": "enqueue_candles",
            "schedule": CandleClose(timeframe, alignment, clock),
            "kwargs": {"timeframe": str(timeframe), "alignment": alignment.name},
            "options": {
                "expires": max(1.0, clock.wall_seconds(timeframe.seconds)),
                **showing_tick(timeframe, alignment.name),
            },
        }
    entries["sweep"] = {
        "task": "sweep",
        "schedule": schedule(sweep_interval_s),
        "options": {"expires": max(1.0, 2 * sweep_interval_s)},
    }
    return entries
