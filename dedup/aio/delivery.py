"""HttpDelivery: `dedup.delivery.HttpDelivery`, awaited.

Each attempt runs in a thread: its deadline covers name resolution and every byte, which blocking sockets do well and
which holds up no event loop there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from dedup.check import utc_now
from dedup.delivery import Attempted, DeliveryOptions, Message
from dedup.delivery import HttpDelivery as BlockingDelivery

MAX_THREADS = 1000
"""Beyond what callers have under way at once: an attempt that waited for a thread would outlive its claim."""


class HttpDelivery:
    """Posts messages to the API. Holds no connection; safe to share between event loops and threads.

    Args:
        options: checked already.
        now: the wall clock, tz-aware, for `webhook-timestamp` and dates in `Retry-After`.

    Raises:
        InvalidSetting: the certificates to trust cannot be read.
    """

    def __init__(self, options: DeliveryOptions, now: Callable[[], datetime] = utc_now) -> None:
        self._blocking = BlockingDelivery(options, now)
        # It starts a thread only where none is idle.
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="dedup-delivery")

    def __repr__(self) -> str:
        return repr(self._blocking)

    async def send(self, message: Message, attempt: int) -> Attempted:
        """POST the message once. Never raises for anything that the network or the API does.

        A cancelled attempt goes on in its thread until its deadline; nobody hears how it ended.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._blocking.send, message, attempt)

    async def look_up(self, signal_id: str) -> Attempted:
        """GET the id from `lookup_url`: whether the API has the signal. Never raises, as `send`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._blocking.look_up, signal_id)
