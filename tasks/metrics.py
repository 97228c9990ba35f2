"""What the pipeline does, counted for Prometheus. docs/metrics.md lists every metric with its labels and its unit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from dedup.metrics import Metrics
from tasks.observer import Newest, PipelineObserver

BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""From a candle's close: a good pipeline takes seconds, catching up takes minutes."""

EVALUATE, PUBLISH, SWEEP = "evaluate_candle", "publish_signal", "sweep"
CONTROL = (SWEEP, "enqueue_candles")

ENDS = ("duplicate", "busy", "expired", "retry", "gave_up", "error", "time_limit", "worker_lost")
CANDLE_ENDS = ("evaluated", "missing", "too_few_bars", "failed", "closed_market")
SIGNAL_ENDS = ("posted", "held", "rejected", "conflict")
"""Outcomes that are shown from the start."""

OTHER = "other"
"""In place of a label that a message made up."""


class PipelineMetrics(Metrics, PipelineObserver):
    """Counts outcomes, times and findings.

    Args:
        registry: where the metrics are found.
        timeframes: those of the watchlist, the only ones that become a label.
    """

    counts = True

    def __init__(self, registry: CollectorRegistry, timeframes: Collection[str]) -> None:
        super().__init__(registry)
        self._timeframes = frozenset(timeframes)
        self._make_outcomes(registry)
        self._make_times(registry)
        self._make_findings(registry)
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """What has not happened yet is 0 and not absent: an alert on an increase would miss the first time."""
        for timeframe in (*self._timeframes, OTHER):
            for outcome in (*ENDS, *CANDLE_ENDS):
                self._candles.labels(outcome, timeframe)
            for outcome in (*ENDS, *SIGNAL_ENDS):
                self._signals.labels(outcome, timeframe)

    def _make_outcomes(self, registry: CollectorRegistry) -> None:
        self._candles = Counter(
            "candlelatch_candles_total",
            "Deliveries of evaluate_candle, by how they ended.",
            ("outcome", "timeframe"),
            registry=registry,
        )
        self._signals = Counter(
            "candlelatch_signals_total",
            "Deliveries of publish_signal, by how they ended.",
            ("outcome", "timeframe"),
            registry=registry,
        )
        self._control = Counter(
            "candlelatch_control_tasks_total",
            "Deliveries of enqueue_candles and sweep, by how they ended.",
            ("task", "outcome"),
            registry=registry,
        )
        self._bad = Counter("candlelatch_bad_messages_total", "Messages that are no task of ours.", registry=registry)
        self._sent = Counter(
            "candlelatch_messages_sent_total", "Messages that the broker took.", ("task",), registry=registry
        )

    def _make_times(self, registry: CollectorRegistry) -> None:
        self._evaluated = Histogram(
            "candlelatch_close_to_evaluated_seconds",
            "From a candle's close to the end of its evaluation.",
            ("timeframe",),
            registry=registry,
            buckets=BUCKETS_S,
        )
        self._posted = Histogram(
            "candlelatch_close_to_posted_seconds",
            "From a candle's close to the API's word that it has the signal.",
            ("timeframe",),
            registry=registry,
            buckets=BUCKETS_S,
        )
        self._lag = Histogram(
            "candlelatch_feed_lag_seconds",
            "From a candle's close to an answer of its source that has the final bar.",
            ("source",),
            registry=registry,
            buckets=BUCKETS_S,
        )
        self._answers = Counter(
            "candlelatch_feed_answers_total", "Answers of sources.", ("source", "state"), registry=registry
        )

    def _make_findings(self, registry: CollectorRegistry) -> None:
        def latest(name: str, says: str, *labels: str) -> Gauge:
            return Gauge(name, says, labels, registry=registry, multiprocess_mode="mostrecent")

        self._swept = latest("candlelatch_last_sweep_timestamp_seconds", "When a sweep last went through.")
        self._looked = latest("candlelatch_sweep_candles", "Candles that the last sweep looked at.")
        self._due = latest("candlelatch_sweep_due_candles", "Candles that nobody was at.")
        self._unpublished = latest("candlelatch_sweep_unpublished_signals", "Signals that nobody was at.")
        self._held = latest("candlelatch_held_signals", "Signals that wait for a person, as the last sweep saw them.")
        self._enqueued = Counter(
            "candlelatch_sweep_enqueued_total", "What sweeps enqueued again.", ("kind",), registry=registry
        )
        self._newest = Gauge(
            "candlelatch_newest_candle_close_timestamp_seconds",
            "Close of the newest candle that is settled.",
            ("instrument", "timeframe"),
            registry=registry,
            multiprocess_mode="max",
        )
        self._next = Gauge(
            "candlelatch_next_candle_close_timestamp_seconds",
            "Close of the candle behind the newest one that is settled: the next to be evaluated.",
            ("instrument", "timeframe"),
            registry=registry,
            multiprocess_mode="max",
        )

    def ended(self, task: str, outcome: str, said: Mapping[str, Any]) -> None:
        """Count a delivery, and what it took where it did what it was for."""
        if task == EVALUATE:
            self._count(self._candles, outcome, said, self._evaluated, "evaluated")
        elif task == PUBLISH:
            self._count(self._signals, outcome, said, self._posted, "posted")
        elif task in CONTROL:
            self._control.labels(task, outcome).inc()
            if outcome == "swept":
                self._found(said)
        elif outcome == "bad_message":
            self._bad.inc()

    def _count(self, count: Counter, outcome: str, said: Mapping[str, Any], times: Histogram, good: str) -> None:
        given = said.get("timeframe")
        timeframe = given if isinstance(given, str) and given in self._timeframes else OTHER
        count.labels(outcome, timeframe).inc()
        late_s = said.get("late_s")
        if outcome == good:
            # A result leaves out what is 0.
            times.labels(timeframe).observe(late_s if isinstance(late_s, (int, float)) else 0.0)

    def _found(self, said: Mapping[str, Any]) -> None:
        self._swept.set_to_current_time()
        self._looked.set(said["candles"])
        self._due.set(said["due"])
        self._unpublished.set(said["unpublished"])
        self._enqueued.labels("candle").inc(said["enqueued"])
        self._enqueued.labels("signal").inc(said["republished"])

    def fed(self, source: str, state: str, lag_s: float | None) -> None:
        """Count an answer of a source, and its lag."""
        self._answers.labels(source, state).inc()
        if lag_s is not None and state == "final":
            self._lag.labels(source).observe(lag_s)

    def swept(self, newest: Iterable[Newest], held: int) -> None:
        """Note how far each watch is, and what is held."""
        self._held.set(held)
        for one in newest:
            labels = (one.instrument, str(one.timeframe))
            self._newest.labels(*labels).set(one.close_s)
            self._next.labels(*labels).set(one.next_close_s)

    def sent(self, task: str) -> None:
        """Count a message."""
        self._sent.labels(task).inc()
