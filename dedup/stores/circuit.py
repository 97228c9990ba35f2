"""A circuit breaker in use: `dedup.breaker.Breaker` with a clock, a lock, and one log line per change of state."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from dedup.breaker import Breaker, BreakerRules, CircuitState
from dedup.observer import Observer

log = logging.getLogger("dedup.stores.circuit")


def monotonic_ms() -> int:
    """A clock in ms that goes on while the process is stopped, and is never set back."""
    return time.monotonic_ns() // 1_000_000


class Circuit:
    """One server's breaker: shared by every store of this process that talks to it. Safe in threads.

    Args:
        rules: how long a server that failed is left alone.
        clock_ms: monotonic, ms.
        observer: is told of each change of state.
    """

    def __init__(
        self,
        rules: BreakerRules | None = None,
        clock_ms: Callable[[], int] = monotonic_ms,
        observer: Observer | None = None,
    ) -> None:
        self.lock = threading.RLock()
        """Held while a state is acted upon that must not change meanwhile. Never across I/O."""
        self._clock_ms = clock_ms
        self._breaker = Breaker(rules or BreakerRules())
        self._away_since_ms = 0
        self._why = ""
        self._observer = observer or Observer()

    @property
    def state(self) -> CircuitState:
        """Whether calls go to the server."""
        return self._breaker.state

    @property
    def closed(self) -> bool:
        """Whether all calls go to the server."""
        return self._breaker.state is CircuitState.CLOSED

    @property
    def why(self) -> str:
        """In words, why calls do not go to the server, and when the next one may."""
        now_ms = self._clock_ms()
        away_s, left_s = (now_ms - self._away_since_ms) / 1000, max(0, self._breaker.until_ms - now_ms) / 1000
        return f"{self._why} (away for {away_s:.1f} s, asked again in {left_s:.1f} s)"

    def now_ms(self) -> int:
        """The circuit's clock."""
        return self._clock_ms()

    def ask(self) -> int | None:
        """The permit of a call that may go to the server, None where it may not. See `probing`."""
        with self.lock:
            breaker, permit = self._breaker.ask(self._clock_ms())
            if breaker is not self._breaker:
                log.info("Redis: half-open: asking it again after %.1f s", self._away_s())
                self._tell(breaker)
            self._breaker = breaker
            return permit

    def probing(self, permit: int) -> bool:
        """Whether a call with this permit is the one that finds out whether the server is back."""
        return permit == self._breaker.permit and self.state is CircuitState.HALF_OPEN

    def succeeded(self, permit: int, what: str = "") -> None:
        """The server answered; `what` is said with it where it was away."""
        with self.lock:
            was, self._breaker = self._breaker, self._breaker.succeeded(permit)
            if was is not self._breaker:
                self._tell(self._breaker)
                log.warning("Redis: closed: it is back after %.1f s%s", self._away_s(), what and f"; {what}")

    def failed(self, permit: int, error: Exception, began_ms: int) -> None:
        """The server did not answer a call that began then."""
        with self.lock:
            now_ms = self._clock_ms()
            was, self._breaker = self._breaker, self._breaker.failed(permit, now_ms, now_ms - began_ms)
            if was is self._breaker:
                return
            self._why = str(error)
            self._tell(self._breaker)
            if was.state is CircuitState.CLOSED:
                self._away_since_ms = now_ms
                log.warning("Redis: open: %s; asked again in %.1f s", error, self._breaker.wait_ms / 1000)
            else:
                log.info("Redis: open: still %s; asked again in %.1f s", error, self._breaker.wait_ms / 1000)

    def abandoned(self, permit: int) -> None:
        """A probe was interrupted: another may begin."""
        with self.lock:
            was, self._breaker = self._breaker, self._breaker.abandoned(permit, self._clock_ms())
            if was is not self._breaker:
                log.info("Redis: open: the call that asked was interrupted")

    def _tell(self, breaker: Breaker) -> None:
        self._observer.circuit_changed(breaker.state, max(0, breaker.until_ms - self._clock_ms()) / 1000)

    def _away_s(self) -> float:
        return (self._clock_ms() - self._away_since_ms) / 1000
