"""Being told what happens: for counting it, or for whatever else.

An observer is handed in: in `DedupOptions.observer`, or to `dedup.stores.observed.ObservedStore`, `SignalPublisher` and
`Circuit` one by one. Nothing is told to anybody by default. `dedup.metrics.Metrics` is an observer that counts for
Prometheus; it alone needs the extra ``metrics``.
"""

from __future__ import annotations

from enum import StrEnum

from dedup.breaker import CircuitState
from dedup.replies import Answer, Claimed, Settled


class Kind(StrEnum):
    """What a record is of."""

    CANDLE = "candle"
    SIGNAL = "signal"


class Observer:
    """What can be told. Every method does nothing: override those that you care about.

    They are called in the middle of the work, from any thread: be quick, and raise nothing.
    """

    def claimed(self, kind: Kind, claimed: Claimed) -> None:
        """A claim was answered."""

    def doubted(self, kind: Kind, reason: str, settled: Settled) -> None:
        """A delivery said that nobody knows whether its effect happened; `settled` tells whether that was written."""

    def store_failed(self, kind: Kind, error: Exception) -> None:
        """The store gave no usable answer: a `StoreError`."""

    def attempted(self, verdict: str, duration_s: float) -> None:
        """One HTTP attempt, or one look-up, ended; the verdict is one of `dedup.delivery.Verdict`."""

    def circuit_changed(self, state: CircuitState, wait_s: float) -> None:
        """Calls go to Redis (again), or do not. Told with the circuit's lock held.

        Args:
            wait_s: for so long at most Redis is not asked; 0 where it is.
        """


class Cause(StrEnum):
    """Why nobody knows whether a signal was posted."""

    FORGOTTEN = "forgotten"
    """The store may have forgotten an earlier attempt."""
    LEASE = "lease"
    """A delivery claimed it and was not heard of again: its worker was killed or cut off."""
    INTERRUPTED = "interrupted"
    """A time limit or a shutdown came in the middle of the POST."""
    DEADLINE = "deadline"
    CLOSED = "closed"
    TRUNCATED = "truncated"
    RESET = "reset"
    NO_HTTP = "no_http"
    TLS = "tls"
    IN_FLIGHT = "in_flight"
    """The API said that it is at it (409 with Retry-After)."""
    STATUS = "status"
    """An answer that says neither yes nor no: 5xx as a rule."""
    OTHER = "other"


# In the words of `dedup.publish_flow` and `dedup.http_failure`; what was first in doubt comes before what followed.
_WORDS = (
    ("the store's memory began", Cause.FORGOTTEN),
    ("lease ran out", Cause.LEASE),
    ("interrupted by", Cause.INTERRUPTED),
    ("no complete reply before the deadline", Cause.DEADLINE),
    ("closed without a reply", Cause.CLOSED),
    ("the reply was cut short", Cause.TRUNCATED),
    ("reset before the reply was complete", Cause.RESET),
    ("the reply was not HTTP", Cause.NO_HTTP),
    ("TLS failed before the reply", Cause.TLS),
    ("another request with this key is under way", Cause.IN_FLIGHT),
)


def cause_of(reason: str) -> Cause:
    """The cause of a doubt, from its reason in words."""
    found = next((cause for words, cause in _WORDS if words in reason), None)
    if found is not None:
        return found
    return Cause.STATUS if reason[:3].isdigit() else Cause.OTHER


def taken_over(claimed: Claimed) -> bool:
    """Whether a claim found that the lease of the attempt before it had run out, and left the outcome in doubt."""
    record = claimed.record
    before = record.attempt - (claimed.answer is Answer.ACQUIRED)
    asked = claimed.answer is Answer.UNKNOWN or (claimed.answer is Answer.ACQUIRED and record.in_doubt)
    return asked and record.reason == f"the lease ran out under attempt {before}"
