"""When to ask a server that may be away: a circuit breaker as a value, without I/O, clock or lock.

::

    CLOSED ──a call failed──▶ OPEN ──its wait is over──▶ HALF_OPEN: one call probes
      ▲                        ▲                              │
      │                        └────────── it failed ─────────┤   the wait doubles
      └─────────────────────────────────── it succeeded ──────┘

Every event gives the next value. A call that was let through holds a `permit`; what becomes of a call that was let
through before the last change of state says nothing about the state now, and is ignored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from dedup.errors import InvalidSetting


class CircuitState(StrEnum):
    """Whether calls go to the server."""

    CLOSED = "closed"
    """All of them."""
    OPEN = "open"
    """None."""
    HALF_OPEN = "half-open"
    """One, which finds out."""


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """How long a server that failed is left alone. One failed call is enough: the client has tried again by itself.

    Attributes:
        first_wait_s: until the first probe.
        max_wait_s: to this the wait doubles. It is longer only where a probe itself takes longer to fail: so no more
            than half of the time is spent on waiting for a server that does not answer.
        probe_s: a probe that is not heard of for so long is given up, and another call may probe.

    Raises:
        InvalidSetting: not finite, not positive, or out of order.
    """

    first_wait_s: float = 1.0
    max_wait_s: float = 30.0
    probe_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("first_wait_s", "max_wait_s", "probe_s"):
            seconds = getattr(self, name)
            if not (math.isfinite(seconds) and seconds > 0):
                raise InvalidSetting(f"breaker.{name}", str(seconds), "give a positive number of seconds")
        if self.first_wait_s > self.max_wait_s:
            remedy = f"must not be above breaker.max_wait_s = {self.max_wait_s:g}"
            raise InvalidSetting("breaker.first_wait_s", f"{self.first_wait_s:g}", remedy)


@dataclass(frozen=True, slots=True)
class Breaker:
    """One state of the breaker. All times are ms of one monotonic clock.

    Attributes:
        rules: how long to wait.
        state: whether calls go through.
        wait_ms: the wait of this OPEN, 0 where there was none.
        until_ms: when the next probe may begin (OPEN, HALF_OPEN).
        permit: counts the changes of state.
    """

    rules: BreakerRules = BreakerRules()
    state: CircuitState = CircuitState.CLOSED
    wait_ms: int = 0
    until_ms: int = 0
    permit: int = 0

    def ask(self, now_ms: int) -> tuple[Breaker, int | None]:
        """Whether a call may go through: the next value, and the call's permit, None where it may not."""
        if self.state is CircuitState.CLOSED:
            return self, self.permit
        if now_ms < self.until_ms:
            return self, None
        probing = self._change(CircuitState.HALF_OPEN, self.wait_ms, now_ms + _ms(self.rules.probe_s))
        return probing, probing.permit

    def succeeded(self, permit: int) -> Breaker:
        """The server answered a call."""
        if permit != self.permit or self.state is CircuitState.CLOSED:
            return self
        return self._change(CircuitState.CLOSED, 0, 0)

    def failed(self, permit: int, now_ms: int, took_ms: int = 0) -> Breaker:
        """The server did not answer a call, which found out after `took_ms`."""
        if permit != self.permit or self.state is CircuitState.OPEN:
            return self
        wait_ms = 2 * self.wait_ms if self.wait_ms else _ms(self.rules.first_wait_s)
        wait_ms = max(min(wait_ms, _ms(self.rules.max_wait_s)), took_ms)
        return self._change(CircuitState.OPEN, wait_ms, now_ms + wait_ms)

    def abandoned(self, permit: int, now_ms: int) -> Breaker:
        """A call ended without a word about the server: it was interrupted. A probe's place is free again."""
        if permit != self.permit or self.state is not CircuitState.HALF_OPEN:
            return self
        return self._change(CircuitState.OPEN, self.wait_ms, now_ms)

    def _change(self, state: CircuitState, wait_ms: int, until_ms: int) -> Breaker:
        return Breaker(self.rules, state, wait_ms, until_ms, self.permit + 1)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
