"""A pipeline under load: candles close all the time, workers and a beat that sweeps work them, and something happens.

A minute of its market lasts half a second. Workers that exit are started again, as a supervisor does.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from dedup.errors import StoreError
from dedup.signals import signal_id
from dedup.timeframe import Candle
from tests.engines import Engine
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import ORIGIN
from tests.pipeline.preloaded import Preloaded

INSTRUMENTS = ("GOLD", "SILVER", "COPPER")
MINUTES = 24
UNTIL = ORIGIN + timedelta(minutes=MINUTES)
SPEED = 120.0
LEAD_S = 3.0
SETTINGS = {
    "WATCH_FROM": ORIGIN.isoformat(),
    "WATCH_UNTIL": UNTIL.isoformat(),
    "SWEEP_INTERVAL": "1",
    "MAX_FAILURES": "5",
    # Of market time: some minutes of the wall.
    "HORIZON": "43200",
    "SIGNAL_MAX_AGE": "36000",
}
STRIKE_AFTER = 12
"""Signals at the API before anything happens."""

PATIENCE_S = 240.0
POLL_S = 0.25
"""Several deployments are looked at side by side, from the process that also is their API."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of everything.

    Attributes:
        candles, signals: how many ended how.
        posts: of the signal with the most.
        effects: of the signal with the most.
        remembered: how signals ended whose candle closed after the store's memory began.
        reasons: of signals that are held.
        recovery_s: from the fault's end until everything was settled that had closed by then; 0 where it was before.
    """

    candles: Counter[str]
    signals: Counter[str]
    posts: int
    effects: int
    remembered: Counter[str]
    reasons: frozenset[str]
    recovery_s: float


@dataclass
class Load:
    """A deployment under load.

    Attributes:
        deployment: with its workers and its beat in `processes`.
        struck_s: when the fault was over, `time.monotonic()`.
    """

    deployment: Deployment
    struck_s: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)

    def start(self, workers: int = 1, **env: str) -> None:
        """Start workers and a beat; `ready` waits for them."""
        for number in range(1, workers + 1):
            self.deployment.worker(f"worker{number}", processes=2, wait=False, **env)
        self.deployment.beat(wait=False)

    def ready(self) -> None:
        """Wait until all processes work."""
        for process in self.deployment.processes.values():
            process.ready()

    def under_way(self, signals: int = STRIKE_AFTER) -> None:
        """Wait until so many signals have reached the API."""
        self.until(lambda: len(self.deployment.receiver.read().ids) >= signals, f"{signals} signals at the API")

    def strike(self, fault: Callable[[Load], None]) -> None:
        """Let something happen."""
        fault(self)
        self.struck_s = time.monotonic()

    def settle(self) -> Tally:
        """Wait until every candle and every signal is settled, and say how."""
        closed = [candle for candle in self.candles() if candle.close <= self.deployment.clock.now()]
        recovered_s = 0.0

        def settled() -> bool:
            nonlocal recovered_s
            if not recovered_s and not self._open(closed):
                recovered_s = time.monotonic()
            return bool(recovered_s) and not self._open(self.candles())

        self.until(settled, "everything to be settled")
        return self._count(max(0.0, recovered_s - self.struck_s))

    def until(self, holds: Callable[[], Any], what: str) -> None:
        """Wait, and start again what has exited."""

        def tended() -> Any:
            time.sleep(POLL_S)
            for process in self.deployment.processes.values():
                if process.status != "running":
                    process.start()
            try:
                return holds()
            except StoreError:
                return False

        self.deployment.until(tended, what, PATIENCE_S)

    def candles(self) -> list[Candle]:
        """All candles that close in the whole run."""
        return self.deployment.closed(INSTRUMENTS, "1m", ORIGIN, UNTIL)

    def restarts(self) -> int:
        """How often a process was started again."""
        return sum(process.starts - 1 for process in self.deployment.processes.values())

    def _open(self, candles: list[Candle]) -> int:
        line = self.deployment.line
        cache = line.recorded_candles()
        found = cache.peek_many([cache.key(one.instrument, one.timeframe, one.start) for one in candles])
        found += line.signals.peek_many([self.deployment.signal_key(one) for one in candles])
        return sum(1 for peeked in found if peeked.record is None or not peeked.record.settled)

    def _count(self, recovery_s: float) -> Tally:
        deployment, candles = self.deployment, self.candles()
        log = deployment.receiver.read()
        names = [signal_id("always_buy", one.instrument, one.timeframe, one.start) for one in candles]
        posts = Counter(post.key for post in log.posts)
        effects = Counter(post.key for post in log.posts if post.effect)
        records = [deployment.signal_record(one) for one in candles]
        since_ms = deployment.line.signals.begin()
        return Tally(
            Counter(map(deployment.candle_outcome, candles)),
            Counter(map(deployment.signal_outcome, candles)),
            max(posts[name] for name in names),
            max(effects[name] for name in names),
            Counter(deployment.signal_outcome(one) for one in candles if self._wall_ms(one) > since_ms),
            frozenset(record.reason for record in records if record and record.held),
            recovery_s,
        )

    def _wall_ms(self, candle: Candle) -> float:
        return self.deployment.clock.wall(candle.close).timestamp() * 1000


@contextmanager
def loaded(
    home: Path,
    preloaded: Preloaded,
    *,
    config: Mapping[str, str] | None = None,
    engine: Engine | None = None,
    **env: Any,
) -> Iterator[Load]:
    """A deployment whose candles are going to close, and no process yet."""
    options: dict[str, Any] = {} if config is None else {"config": config}
    settings = SETTINGS | env
    watches = [watch(*INSTRUMENTS, timeframe="1m")]
    with deploy(home, watches, speed=SPEED, lead_s=LEAD_S, engine=engine, **options, **settings) as deployment:
        deployment.launch = preloaded.launch
        for instrument in INSTRUMENTS:
            deployment.feed(instrument, [ORIGIN + timedelta(minutes=n) for n in range(MINUTES + 1)], "1m")
        yield Load(deployment)
