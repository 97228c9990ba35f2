"""SignalPublisher: claim, send, settle. The blocking driver of `dedup.publish_flow`."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any, Protocol

from dedup.cache import SignalPublishCache
from dedup.delivery import Attempted, Message
from dedup.errors import StoreUnavailable
from dedup.publish_flow import Ask, LookUp, Publication, Published, Request, Send, Surroundings, publishing
from dedup.rules import new_token

log = logging.getLogger("dedup.publisher")

SETTLE_WAITS_S = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Waits between tries to write down what has happened already."""


class Delivery(Protocol):
    """One HTTP attempt, and one look-up; see `dedup.delivery.HttpDelivery`."""

    def send(self, message: Message, attempt: int) -> Attempted:
        """POST the message once."""
        ...

    def look_up(self, signal_id: str) -> Attempted:
        """Ask whether the API has the id."""
        ...


def wall_ms() -> int:
    """The wall clock in ms since the epoch."""
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    """A clock in ms that goes on while the process is stopped, and is never set back."""
    return time.monotonic_ns() // 1_000_000


def surroundings(now_ms: Callable[[], int] = wall_ms) -> Surroundings:
    """What the flow looks at in a real process."""
    return Surroundings(now_ms, monotonic_ms, random.random)


class SignalPublisher:
    """Publishes signals, each once; safe in threads.

    Args:
        signal_publish_cache: the records. Every publisher of a deployment must share one store.
        delivery: how one attempt is made.
        around: clocks and chance, for tests and replays.
        sleep: waits between tries to settle.
    """

    def __init__(
        self,
        signal_publish_cache: SignalPublishCache,
        delivery: Delivery,
        around: Surroundings | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cache = signal_publish_cache
        self._delivery = delivery
        self._around = around or surroundings()
        self._sleep = sleep

    def publish(self, job: Publication) -> Published:
        """Publish one signal, once.

        Raises:
            StoreError: the store gave no usable answer; see `dedup.publish_flow.publishing`.
        """
        flow = publishing(job, self._cache.rules, new_token(), self._cache.since_key, self._around)
        try:
            request = next(flow)
            while True:
                request = self._step(flow, request)
        except StopIteration as stop:
            result: Published = stop.value
            return result

    def _step(self, flow: Any, request: Request) -> Request:
        try:
            answer = self._answer(request)
        except BaseException as error:
            following: Request = flow.throw(error)
        else:
            following = flow.send(answer)
        return following

    def _answer(self, request: Request) -> Any:
        match request:
            case Ask(ops, settling):
                return self._settle(ops) if settling else self._cache.ask(ops)
            case Send(message, attempt):
                return self._delivery.send(message, attempt)
            case LookUp(signal_id):
                return self._delivery.look_up(signal_id)

    def _settle(self, ops: Any) -> list[Any]:
        """What has happened cannot be unwritten, so a store that is away for a moment is asked again."""
        for wait_s in SETTLE_WAITS_S:
            try:
                return self._cache.ask(ops)
            except StoreUnavailable as error:
                log.warning("could not settle %s yet: %s", ops[0].key, error)
                self._sleep(wait_s)
        return self._cache.ask(ops)
