"""SignalPublisher: claim, send, settle. `dedup.publisher`, awaited."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from dedup.aio.cache import SignalPublishCache
from dedup.aio.delivery import HttpDelivery
from dedup.delivery import Attempted, Message
from dedup.flows import run_async
from dedup.observer import Observer
from dedup.ops import Op
from dedup.options import configured
from dedup.publication import publication_of
from dedup.publish_flow import Publication, Published, Surroundings, publishing
from dedup.publisher import surroundings
from dedup.publishing import SETTLE_WAITS_S, performing, settling
from dedup.publishing import AsyncDelivery as Delivery
from dedup.rules import new_token
from dedup.signals import Signal
from dedup.stores.async_memory import AsyncMemoryStore
from dedup.stores.memory import MemoryStore

__all__ = ["SETTLE_WAITS_S", "Delivery", "Publication", "Published", "SignalPublisher"]

R = TypeVar("R")

CONCURRENCY = 32

log = logging.getLogger("dedup.publisher")


class SignalPublisher:
    """Publishes signals, each once; for one event loop.

    At most `concurrency` signals are under way at once. The others wait before they are claimed: what is claimed is
    sent at once, while its lease is fresh.

    A publish that is cancelled while its request is under way leaves a doubt: nobody knows whether it was posted. It is
    written down before the cancellation goes on, and settled as `on_unknown` says.

    Args:
        signal_publish_cache: the records. Every publisher of a deployment must share one store. By default a memory of
            this publisher's own, which a restart empties.
        delivery: how one attempt is made; by default over HTTP, to the configured address.
        around: clocks and chance, for tests and replays.
        sleep: waits between tries to settle.
        concurrency: see above.
        observer: is told of HTTP attempts; by default the configured one.

    Raises:
        InvalidSetting: neither a delivery nor an address to post to.
    """

    def __init__(
        self,
        signal_publish_cache: SignalPublishCache | None = None,
        delivery: Delivery | None = None,
        around: Surroundings | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        concurrency: int = CONCURRENCY,
        observer: Observer | None = None,
    ) -> None:
        options = configured()
        self._delivery = HttpDelivery(options.delivery()) if delivery is None else delivery
        if signal_publish_cache is None:
            memory = AsyncMemoryStore(MemoryStore(options.memory_entries))
            signal_publish_cache = SignalPublishCache(memory, options.signal_rules(), options.key_prefix)
        self._cache = signal_publish_cache
        self._around = around or surroundings()
        self._sleep = sleep
        self._observer = options.observer if observer is None else observer
        self._room = asyncio.Semaphore(concurrency)

    async def publish(self, signal_data: Mapping[str, Any] | Signal, candle_start: datetime) -> Published:
        """Publish one signal, once.

        Args:
            signal_data: a `Signal`, or fields of your own; see `dedup.publication.publication_of` for those that are
                read.
            candle_start: of its candle, tz-aware.

        Raises:
            InvalidInput: refused before anything was claimed.
            StoreError: the store gave no usable answer; see `dedup.publish_flow.publishing`.
        """
        return await self.publish_job(publication_of(signal_data, candle_start, self._cache.prefix))

    async def publish_job(self, job: Publication) -> Published:
        """Publish what is built already: its key, bytes and times.

        Raises:
            StoreError: the store gave no usable answer; see `dedup.publish_flow.publishing`.
        """
        async with self._room:
            flow = publishing(job, self._cache.rules, new_token(), self._cache.since_key, self._around)
            calls = _Calls(self._cache, self._delivery, self._sleep)
            return await run_async(performing(flow, calls, self._observer))


class _Calls:
    """The flow's requests as awaited calls."""

    def __init__(
        self, cache: SignalPublishCache, delivery: Delivery, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._cache, self._delivery, self._sleep = cache, delivery, sleep

    async def ask(self, ops: Sequence[Op[Any]]) -> list[Any]:
        return await self._cache.ask(ops)

    async def settle(self, ops: Sequence[Op[Any]]) -> list[Any]:
        return await _to_the_end(run_async(settling(self._cache.ask, self._sleep, ops)))

    async def send(self, message: Message, attempt: int) -> Attempted:
        return await self._delivery.send(message, attempt)

    async def look_up(self, signal_id: str) -> Attempted:
        return await self._delivery.look_up(signal_id)


_going_on: set[asyncio.Task[Any]] = set()


async def _to_the_end(work: Coroutine[Any, Any, R]) -> R:
    """Await work that a cancellation must not stop: the cancellation goes on when the work is done."""
    task = asyncio.ensure_future(work)
    # The loop itself would not keep it.
    _going_on.add(task)
    task.add_done_callback(_going_on.discard)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()):
            log.warning("could not settle: %s", error)
        raise
