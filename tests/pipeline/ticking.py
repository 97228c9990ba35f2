"""Ten minutes of beat in a moment: ticks and sweeps of this process, on a wall clock that it moves itself.

`python -m tests.pipeline.ticking --minutes 10 --ticks` runs the pipeline's own tasks against the broker of its
environment, four sweeps a market minute, and prints for each minute the close that the tick enqueued, how many candles
have closed, and what waits in the queues.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from datetime import datetime, timedelta

from tasks import candles, sweep
from tasks.runtime import Pipeline, pipeline
from tests.pipeline.feeds import ORIGIN

SWEEPS_A_MINUTE = 4


class Minutes:
    """A pipeline whose wall clock stands at `ORIGIN` until it is moved."""

    def __init__(self) -> None:
        real = pipeline()
        self._wall = real.clock.wall(ORIGIN)
        self.line: Pipeline = replace(real, clock=replace(real.clock, wall_now=self._now))

    def move_to(self, market: datetime) -> None:
        """Let it be that market time."""
        self._wall = self.line.clock.wall(market)

    def _now(self) -> datetime:
        return self._wall


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, required=True)
    parser.add_argument("--ticks", action="store_true", help="beat's ticks arrive; otherwise there are sweeps only")
    options = parser.parse_args()
    minutes = Minutes()
    for module in (candles, sweep):
        module.pipeline = lambda: minutes.line  # type: ignore[attr-defined]
    seen = []
    for minute in range(1, options.minutes + 1):
        enqueued = None
        for quarter in range(1, SWEEPS_A_MINUTE + 1):
            minutes.move_to(ORIGIN + timedelta(minutes=minute - 1 + quarter / SWEEPS_A_MINUTE))
            if options.ticks and quarter == SWEEPS_A_MINUTE:
                enqueued = candles.enqueue_candles("1m", "utc")["close"]
            sweep.sweep()
        closed = minute * len(minutes.line.watchlist)
        waiting = {name: sweep.queue_length(name) for name in ("candles", "publish")}
        seen.append({"enqueued": enqueued, "closed": closed, **waiting})
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
