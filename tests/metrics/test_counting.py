"""What the library tells an observer, blocking and awaited, and what `dedup.metrics` makes of it."""

from __future__ import annotations

import http.client
import ssl
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import dedup.aio.backend
from dedup import DedupOptions, Message, SignalPublishCache, SignalPublisher, Verdict, backend
from dedup.breaker import CircuitState
from dedup.delivery import Attempted
from dedup.errors import StoreUnavailable
from dedup.http_deadline import Flight
from dedup.http_failure import classify_failure
from dedup.http_outcome import classify
from dedup.metrics import Metrics
from dedup.observer import Cause, Kind, Observer, cause_of, taken_over
from dedup.publish_flow import Publication
from dedup.records import Record, State
from dedup.replies import Answer, Claimed, Settled
from dedup.rules import CandleRules, OnUnknown, SignalRules, new_token
from dedup.stores.memory import MemoryStore
from dedup.stores.observed import ObservedStore
from tests.engines import Engine


class Told(Observer):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def claimed(self, kind: Kind, claimed: Claimed) -> None:
        self.said.append((kind, claimed.answer, claimed.source))

    def doubted(self, kind: Kind, reason: str, settled: Settled) -> None:
        self.said.append((kind, "doubt", reason, settled.acted))

    def store_failed(self, kind: Kind, error: Exception) -> None:
        self.said.append((kind, type(error)))

    def attempted(self, verdict: str, duration_s: float) -> None:
        self.said.append((verdict, duration_s))

    def circuit_changed(self, state: CircuitState, wait_s: float) -> None:
        self.said.append((state, wait_s > 0))


RULES = CandleRules()


def test_claims_of_blocking_stores_are_told(empty_valkey: Engine) -> None:
    """Each claim is told with its answer and its source, alone or in a batch; peeks and completions are not."""
    told = Told()
    stores = backend.make_stores(DedupOptions(redis_url=empty_valkey.url, observer=told))
    token = new_token()
    stores.candles.run(RULES.claim("candle:A", token))
    stores.candles.run(RULES.complete("candle:A", token, "evaluated"))
    stores.candles.run_many([RULES.claim("candle:A", new_token()), RULES.claim("candle:B", new_token())])
    stores.close()
    acquired = (Kind.CANDLE, "acquired", "redis")
    assert told.said == [acquired, (Kind.CANDLE, "duplicate", "local"), acquired]


async def test_claims_of_awaited_stores_are_told(empty_valkey: Engine) -> None:
    """The awaited stores tell the same."""
    told = Told()
    stores = dedup.aio.backend.make_stores(DedupOptions(redis_url=empty_valkey.url, observer=told, done_entries=0))
    await stores.signals.run(SignalRules().claim("signal:A", new_token(), "d1"))
    await stores.signals.run_many([SignalRules().claim("signal:A", new_token(), "d1")])
    await stores.close()
    assert told.said == [(Kind.SIGNAL, "acquired", "redis"), (Kind.SIGNAL, "busy", "redis")]


@pytest.mark.parametrize("observer", [None, Told()])
def test_store_in_memory_is_observed_where_somebody_wants_it(observer: Told | None) -> None:
    """Where nobody observes there is nothing in between; in memory claims are told as well."""
    stores = backend.make_stores(DedupOptions(redis_enabled=False, observer=observer))
    stores.candles.run(RULES.claim("candle:A", new_token()))
    assert isinstance(stores.candles, MemoryStore if observer is None else ObservedStore)
    assert observer is None or observer.said == [(Kind.CANDLE, "acquired", "memory")]


def test_outage_is_told() -> None:
    """A Redis that is away is told as a change of the circuit, and a signal that nobody can claim as a failure."""
    told = Told()
    stores = backend.make_stores(DedupOptions(redis_url="redis://127.0.0.1:1/0", observer=told))
    with pytest.raises(StoreUnavailable):
        stores.signals.run(SignalRules().claim("signal:A", new_token(), "d1"))
    assert told.said == [(CircuitState.OPEN, True), (Kind.SIGNAL, StoreUnavailable)]


class Answers:
    """A delivery that answers as it is told."""

    def __init__(self, attempted: Attempted) -> None:
        self.attempted = attempted

    def send(self, message: Message, attempt: int) -> Attempted:
        return self.attempted

    look_up = send  # type: ignore[assignment]


def test_attempts_and_doubts_of_a_publisher_are_told() -> None:
    """An HTTP attempt is told with its verdict and duration, and the doubt that it leaves with its reason."""
    told = Told()
    cache = SignalPublishCache(ObservedStore(MemoryStore(), told, Kind.SIGNAL))
    delivery = Answers(Attempted(Verdict.UNKNOWN, "the reply was cut short", duration_s=0.25))
    publisher = SignalPublisher(cache, delivery, observer=told)
    assert publisher.publish_job(Publication("signal:publish:A", Message("sig", b"{}"), "d1")).outcome == "held"
    claim = (Kind.SIGNAL, "acquired", "memory")
    assert told.said == [claim, ("unknown", 0.25), (Kind.SIGNAL, "doubt", "the reply was cut short", True)]


def after_sending(error: Exception) -> str:
    flight = Flight.start(1, 1)
    flight.sent = True
    return classify_failure(error, flight).reason


def answered(status: int, **headers: str) -> str:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify(status, fields, "busy", datetime(2025, 1, 1, tzinfo=UTC)).reason


REASONS = {
    after_sending(TimeoutError()): Cause.DEADLINE,
    after_sending(http.client.RemoteDisconnected()): Cause.CLOSED,
    after_sending(http.client.IncompleteRead(b"")): Cause.TRUNCATED,
    after_sending(ConnectionResetError()): Cause.RESET,
    after_sending(http.client.BadStatusLine("x")): Cause.NO_HTTP,
    after_sending(ssl.SSLError()): Cause.TLS,
    after_sending(ValueError()): Cause.OTHER,
    answered(500): Cause.STATUS,
    answered(504): Cause.STATUS,
    answered(409, Retry_After="5"): Cause.IN_FLIGHT,
    "interrupted by SoftTimeLimitExceeded": Cause.INTERRUPTED,
}


@pytest.mark.parametrize(("reason", "cause"), REASONS.items())
def test_reason_has_its_cause(reason: str, cause: Cause) -> None:
    """Each reason for which a delivery leaves a doubt, in its own words, has the cause that it is counted under."""
    assert cause_of(reason) is cause


def test_forgotten_signal_has_its_cause() -> None:
    """A signal that is held because the store's memory began after its candle closed counts as forgotten."""
    told = Told()
    cache = SignalPublishCache(ObservedStore(MemoryStore(), told, Kind.SIGNAL))
    publisher = SignalPublisher(cache, Answers(Attempted(Verdict.POSTED, "201")), observer=told)
    publisher.publish_job(Publication("signal:publish:A", Message("sig", b"{}"), "d1", closed_at_ms=1))
    (doubt,) = [one for one in told.said if one[1] == "doubt"]
    assert cause_of(doubt[2]) is Cause.FORGOTTEN


@pytest.mark.parametrize("policy", OnUnknown)
def test_lease_that_ran_out_is_told_apart(empty_valkey: Engine, policy: OnUnknown) -> None:
    """The claim that finds another one's lease run out tells so under every policy; the first claim does not."""
    rules = SignalRules(lease_ms=1, on_unknown=policy)
    store = backend.make_stores(DedupOptions(redis_url=empty_valkey.url)).signals
    first = store.run(rules.claim("signal:A", new_token(), "d1"))
    time.sleep(0.01)
    second = store.run(rules.claim("signal:A", new_token(), "d1"))
    assert (taken_over(first), taken_over(second)) == (False, True)
    store.close()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_what_is_told_is_counted(registry: CollectorRegistry) -> None:
    """Claims, suppressed duplicates, doubts by cause, store errors, attempts and an outage become metrics."""
    metrics = Metrics(registry)
    store = ObservedStore(MemoryStore(), metrics, Kind.CANDLE)
    for _ in range(3):
        store.run(RULES.claim("candle:A", "one" if _ == 0 else new_token()))
    cache = SignalPublishCache(ObservedStore(MemoryStore(), metrics, Kind.SIGNAL))
    delivery = Answers(Attempted(Verdict.UNKNOWN, "502 Bad Gateway", 502, duration_s=0.25))
    SignalPublisher(cache, delivery, observer=metrics).publish_job(
        Publication("signal:publish:A", Message("sig", b"{}"), "d1")
    )
    metrics.store_failed(Kind.SIGNAL, StoreUnavailable("away"))
    metrics.circuit_changed(CircuitState.OPEN, 5.0)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"candlelatch_{name}", labels)

    assert value("claims_total", kind="candle", answer="acquired", source="memory") == 1
    assert value("claims_total", kind="candle", answer="busy", source="memory") == 2
    assert value("duplicates_suppressed_total", kind="candle") == 2
    assert value("unknowns_total", cause="status") == 1
    assert value("unknowns_total", cause="reset") == 0
    assert value("store_errors_total", kind="signal", error="StoreUnavailable") == 1
    assert value("http_attempt_duration_seconds_sum", verdict="unknown") == 0.25
    assert value("fallback_until_timestamp_seconds") == pytest.approx(time.time() + 5, abs=2)
    metrics.circuit_changed(CircuitState.CLOSED, 0.0)
    assert value("fallback_until_timestamp_seconds") == 0


def test_lease_that_ran_out_is_counted(registry: CollectorRegistry) -> None:
    """A signal whose delivery was not heard of again is an unknown; a candle is simply done again."""
    metrics = Metrics(registry)
    reason = "the lease ran out under attempt 1"
    record = Record(State.CLAIMED, attempt=2, in_doubt=True, reason=reason)
    for kind in Kind:
        metrics.claimed(kind, Claimed(Answer.ACQUIRED, record, 1000, "redis"))
    assert registry.get_sample_value("candlelatch_unknowns_total", {"cause": "lease"}) == 1


def test_doubt_that_was_not_written_is_not_counted(registry: CollectorRegistry) -> None:
    """Where the record had moved on, a doubt changes nothing and counts for nothing."""
    metrics = Metrics(registry)
    metrics.doubted(Kind.SIGNAL, "502 Bad Gateway", Settled(False, None, "redis"))
    assert registry.get_sample_value("candlelatch_unknowns_total", {"cause": "status"}) == 0
