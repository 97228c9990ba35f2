"""What the server of the claims says of itself, asked when Prometheus asks: nothing is asked while nobody scrapes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from redis.backoff import NoBackoff
from redis.retry import Retry

from dedup.amnesia import Mark, Why
from dedup.keys import since_key
from dedup.preflight import Level, ServerFacts, findings
from dedup.stores.inspection import inspect_all
from tasks.settings import Settings

log = logging.getLogger("candlelatch.metrics")

GOOD_FOR_S = 5.0
"""Several Prometheus servers may ask at once."""

# A scrape must end before its time-out, 10 s by default, also while nobody answers.
IMPATIENT: dict[str, Any] = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0, "retry": Retry(NoBackoff(), 0)}

LEVELS = {Level.OK: 0, Level.WARN: 1, Level.FAIL: 2}


def ask(settings: Settings) -> Sequence[ServerFacts]:
    """The facts of every server that the claims are on; none where they are in memory."""
    if not settings.redis_enabled:
        return ()
    return inspect_all(settings.redis_url.get_secret_value(), since_key(settings.key_prefix), **IMPATIENT)


class StoreCollector(Collector):
    """The findings of `dedup.preflight` as metrics.

    Args:
        ask: for the facts; may raise, and then says nothing.
        durability: `DEDUP_DURABILITY`, which the server must be able to do.
        clock_s: monotonic.
    """

    def __init__(
        self, ask: Callable[[], Sequence[ServerFacts]], durability: str, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask, self._durability, self._clock_s = ask, durability, clock_s
        self._lock = threading.Lock()
        self._known: tuple[float, Sequence[ServerFacts]] = (float("-inf"), ())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The metrics."""
        facts = self._facts()
        answered = [one for one in facts if not one.error]
        yield _gauge("store_up", "1 where the store answers this worker.", facts, lambda one: float(not one.error))
        yield _gauge(
            "store_round_trip_seconds", "A round trip to the store.", answered, lambda one: one.latency_ms / 1000
        )
        yield _gauge(
            "clock_skew_seconds",
            "By how much the store's clock is ahead of this worker's.",
            answered,
            lambda one: one.skew_ms / 1000,
        )
        yield from _memory(answered)
        yield self._preflight(facts)

    def _facts(self) -> Sequence[ServerFacts]:
        with self._lock:
            asked_s, facts = self._known
            if self._clock_s() - asked_s >= GOOD_FOR_S:
                try:
                    facts = self._ask()
                except Exception:
                    # Whatever it is, the other metrics are worth having.
                    log.exception("could not look at the store")
                    facts = ()
                self._known = (self._clock_s(), facts)
            return facts

    def _preflight(self, facts: Sequence[ServerFacts]) -> GaugeMetricFamily:
        levels = GaugeMetricFamily(
            "candlelatch_preflight_level",
            "Findings of `celery -A tasks doctor` on the store: 0 ok, 1 warning, 2 failure.",
            labels=("server", "check"),
        )
        for one in facts:
            worst: dict[str, int] = {}
            for finding in findings(one, self._durability):
                worst[finding.check] = max(worst.get(finding.check, 0), LEVELS[finding.level])
            for check, level in worst.items():
                levels.add_metric((one.address, check), level)
        return levels


def _gauge(
    name: str, says: str, facts: Sequence[ServerFacts], value: Callable[[ServerFacts], float]
) -> GaugeMetricFamily:
    found = GaugeMetricFamily(f"candlelatch_{name}", says, labels=("server",))
    for one in facts:
        found.add_metric((one.address,), value(one))
    return found


def _memory(facts: Sequence[ServerFacts]) -> Iterator[GaugeMetricFamily]:
    marks = [(one.address, Mark.loads(one.mark) if one.mark is not None else None) for one in facts]
    marked = GaugeMetricFamily(
        "candlelatch_memory_marked", "1 where the store has a mark of when its memory began.", labels=("server",)
    )
    since = GaugeMetricFamily(
        "candlelatch_memory_since_timestamp_seconds",
        "When the store's memory began, by its clock. It moves when the store has forgotten.",
        labels=("server",),
    )
    why = GaugeMetricFamily(
        "candlelatch_memory_began_info", "Why the store's memory began when it did.", labels=("server", "why")
    )
    for server, mark in marks:
        marked.add_metric((server,), mark is not None)
        if mark is not None:
            since.add_metric((server,), mark.since_ms / 1000)
            why.add_metric((server, mark.why.value or Why.UNKNOWN.name.lower()), 1)
    yield from (marked, since, why)
