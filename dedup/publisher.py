"""SignalPublisher: claim, send, settle. Blocking; `dedup.aio.publisher` awaits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from dedup.cache import SignalPublishCache
from dedup.delivery import Attempted, HttpDelivery, Message
from dedup.flows import run
from dedup.observer import Observer
from dedup.ops import Op
from dedup.options import configured
from dedup.publication import publication_of
from dedup.publish_flow import Publication, Published, Surroundings, publishing
from dedup.publishing import SETTLE_WAITS_S, Delivery, performing, settling
from dedup.rules import new_token
from dedup.signals import Signal
from dedup.stores.circuit import monotonic_ms
from dedup.stores.memory import MemoryStore

__all__ = ["SETTLE_WAITS_S", "Delivery", "Publication", "Published", "SignalPublisher"]


def wall_ms() -> int:
    """The wall clock in ms since the epoch."""
    return time.time_ns() // 1_000_000


def surroundings(now_ms: Callable[[], int] = wall_ms) -> Surroundings:
    """What the flow looks at in a real process."""
    return Surroundings(now_ms, monotonic_ms, random.random)


class SignalPublisher:
    """Publishes signals, each once; safe in threads.

    Args:
        signal_publish_cache: the records. Every publisher of a deployment must share one store. By default a memory of
            this publisher's own, which a restart empties.
        delivery: how one attempt is made; by default over HTTP, to the configured address.
        around: clocks and chance, for tests and replays.
        sleep: waits between tries to settle.
        observer: is told of HTTP attempts; by default the configured one.

    Raises:
        InvalidSetting: neither a delivery nor an address to post to.
    """

    def __init__(
        self,
        signal_publish_cache: SignalPublishCache | None = None,
        delivery: Delivery | None = None,
        around: Surroundings | None = None,
        sleep: Callable[[float], None] = time.sleep,
        observer: Observer | None = None,
    ) -> None:
        options = configured()
        self._delivery = HttpDelivery(options.delivery()) if delivery is None else delivery
        if signal_publish_cache is None:
            memory = MemoryStore(options.memory_entries)
            signal_publish_cache = SignalPublishCache(memory, options.signal_rules(), options.key_prefix)
        self._cache = signal_publish_cache
        self._around = around or surroundings()
        self._sleep = sleep
        self._observer = options.observer if observer is None else observer

    def publish(self, signal_data: Mapping[str, Any] | Signal, candle_start: datetime) -> Published:
        """Publish one signal, once.

        Args:
            signal_data: a `Signal`, or fields of your own; see `dedup.publication.publication_of` for those that are
                read.
            candle_start: of its candle, tz-aware.

        Raises:
            InvalidInput: refused before anything was claimed.
            StoreError: the store gave no usable answer; see `dedup.publish_flow.publishing`.
        """
        return self.publish_job(publication_of(signal_data, candle_start, self._cache.prefix))

    def publish_job(self, job: Publication) -> Published:
        """Publish what is built already: its key, bytes and times.

        Raises:
            StoreError: the store gave no usable answer; see `dedup.publish_flow.publishing`.
        """
        flow = publishing(job, self._cache.rules, new_token(), self._cache.since_key, self._around)
        return run(performing(flow, _Calls(self._cache, self._delivery, self._sleep), self._observer))


class _Calls:
    """The flow's requests as blocking calls."""

    def __init__(self, cache: SignalPublishCache, delivery: Delivery, sleep: Callable[[float], None]) -> None:
        self._cache, self._delivery, self._sleep = cache, delivery, sleep

    def ask(self, ops: Sequence[Op[Any]]) -> list[Any]:
        return self._cache.ask(ops)

    def settle(self, ops: Sequence[Op[Any]]) -> list[Any]:
        return run(settling(self._cache.ask, self._sleep, ops))

    def send(self, message: Message, attempt: int) -> Attempted:
        return self._delivery.send(message, attempt)

    def look_up(self, signal_id: str) -> Attempted:
        return self._delivery.look_up(signal_id)
