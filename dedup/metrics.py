"""What the library does, counted for Prometheus: an observer (`dedup.observer`). Needs the extra ``metrics``.

::

    dedup.configure(redis_url="redis://cache:6379/0", observer=Metrics())

docs/metrics.md lists every metric with its labels.
"""

from __future__ import annotations

import time

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from dedup.breaker import CircuitState
from dedup.observer import Cause, Kind, Observer, cause_of, taken_over
from dedup.replies import Answer, Claimed, Settled

HTTP_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

SUPPRESSED = (Answer.DUPLICATE, Answer.BUSY)


class Metrics(Observer):
    """Counts claims, doubts, HTTP attempts, and whether Redis is asked at all.

    Args:
        registry: where the metrics are found; by default the process's own. One `Metrics` to a registry.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._claims = Counter(
            "candlelatch_claims_total",
            "Claims, by what the store answered and where the answer came from.",
            ("kind", "answer", "source"),
            registry=registry,
        )
        self._suppressed = Counter(
            "candlelatch_duplicates_suppressed_total",
            "Deliveries that found their work done, or in other hands.",
            ("kind",),
            registry=registry,
        )
        self._unknowns = Counter(
            "candlelatch_unknowns_total",
            "Signals of which nobody knew whether they were posted, by why.",
            ("cause",),
            registry=registry,
        )
        self._store_errors = Counter(
            "candlelatch_store_errors_total",
            "Operations to which the store gave no usable answer.",
            ("kind", "error"),
            registry=registry,
        )
        # A moment, and no state: a process that has nothing to do does not find out that Redis is back.
        self._fallback = Gauge(
            "candlelatch_fallback_until_timestamp_seconds",
            "Until when a process does without Redis, which did not answer it; 0 while it asks.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._attempts = Histogram(
            "candlelatch_http_attempt_duration_seconds",
            "HTTP attempts and look-ups at the signal API, by verdict.",
            ("verdict",),
            registry=registry,
            buckets=HTTP_BUCKETS_S,
        )
        for kind in Kind:
            self._suppressed.labels(kind)
        for cause in Cause:
            self._unknowns.labels(cause)

    def claimed(self, kind: Kind, claimed: Claimed) -> None:
        """Count a claim."""
        self._claims.labels(kind, claimed.answer, claimed.source).inc()
        if claimed.answer in SUPPRESSED:
            self._suppressed.labels(kind).inc()
        if kind is Kind.SIGNAL and taken_over(claimed):
            self._unknowns.labels(Cause.LEASE).inc()

    def doubted(self, kind: Kind, reason: str, settled: Settled) -> None:
        """Count a doubt that was written."""
        if settled.acted:
            self._unknowns.labels(cause_of(reason)).inc()

    def store_failed(self, kind: Kind, error: Exception) -> None:
        """Count a store that gave no answer."""
        self._store_errors.labels(kind, type(error).__name__).inc()

    def attempted(self, verdict: str, duration_s: float) -> None:
        """Count an attempt and what it took."""
        self._attempts.labels(verdict).observe(duration_s)

    def circuit_changed(self, state: CircuitState, wait_s: float) -> None:
        """Note until when Redis is not asked."""
        self._fallback.set(0.0 if state is CircuitState.CLOSED else time.time() + wait_s)
