"""CandleDetector: whether a trigger is for a candle that nobody has worked yet. `dedup.aio.candles` awaits.

::

    detector = CandleDetector(redis_cache=get_candle_cache())
    if detector.should_process_candle("GOLD", "15m", datetime.now(timezone.utc)):
        ...  # this caller, and no other in any process, works the candle that has just closed
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from dedup.alignment import UTC_ALIGNMENT, Alignment
from dedup.cache import CandleCache
from dedup.check import BaseDetector, CandleCheck, taken_as_utc, utc_now
from dedup.flows import run
from dedup.ops import Settled
from dedup.options import configured
from dedup.stores.memory import MemoryStore
from dedup.stores.protocol import Store
from dedup.timeframe import Timeframe

__all__ = ["CandleCheck", "CandleDetector"]


class CandleDetector(BaseDetector[Store]):
    """Finds out which candle a trigger is for, and whether this caller is the one to work it.

    A trigger is for the last candle that was closed by its timestamp. The claim is atomic: of any number of callers, in
    any number of processes, one is told True.

    A claim without `lease_s` stands for as long as the record is kept, and nobody has to say that the work is done: so
    a candle is worked once, and not again after a crash or a restart. With `lease_s` a candle whose worker died, or did
    not call `complete`, may be had by another caller after the lease: choose it longer than the work ever takes.

    A record is kept for the cache's TTL and at least two timeframes: longer than the candle is the last one closed.

    Args:
        redis_cache: where claims are kept; by default this detector's own memory, which a restart empties.
        check_window_s: for how long after the close a trigger counts as on time; by default the configured one. A later
            trigger is worked as catch-up, and says so in the log and in `CandleCheck`.
        lease_s: see above.
        horizon_s: a candle that closed longer ago than this, by the wall clock, is `expired` and not worked; by default
            there is no such bound, and a candle whose record has run out may be worked again.
        alignment: where candles' boundaries lie.
        now: the wall clock, tz-aware.

    Raises:
        InvalidInput: a duration that is not positive.
    """

    def __init__(
        self,
        redis_cache: CandleCache | None = None,
        *,
        check_window_s: float | None = None,
        lease_s: float | None = None,
        horizon_s: float | None = None,
        alignment: Alignment = UTC_ALIGNMENT,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        if redis_cache is None:
            redis_cache = in_memory(MemoryStore(configured().memory_entries))
        super().__init__(redis_cache, check_window_s, lease_s, horizon_s, alignment, now)

    def should_process_candle(self, instrument: str, timeframe: Timeframe | str, timestamp: datetime) -> bool:
        """Whether this caller is to work the candle. True claims it.

        Args:
            timestamp: when the trigger came. A naive one is UTC, here and in `should_process_candle_async` only.
        """
        return self.check(instrument, timeframe, taken_as_utc(timestamp)).process

    async def should_process_candle_async(
        self, instrument: str, timeframe: Timeframe | str, timestamp: datetime
    ) -> bool:
        """The same without holding up the event loop: it waits in a thread. See `dedup.aio` for one that needs none."""
        return await asyncio.to_thread(self.should_process_candle, instrument, timeframe, timestamp)

    def check(self, instrument: str, timeframe: Timeframe | str, timestamp: datetime) -> CandleCheck:
        """Claim the candle that a trigger is for, and say all about it.

        Args:
            timestamp: when the trigger came, tz-aware.

        Raises:
            InvalidInput: a malformed instrument or timeframe, a naive timestamp, or one of a candle that closes later
                than a check window from now.
            StoreError: the store gave no usable answer.
        """
        return run(self._checking(instrument, timeframe, timestamp))

    def complete(self, check: CandleCheck, outcome: str = "evaluated", value: Any = None, reason: str = "") -> Settled:
        """The candle was worked: it is DONE, and not worked again even where a lease runs out.

        Args:
            check: what `check` said, when it said to work the candle.
            value: kept with the record, JSON.
        """
        return self._cache.store.run(self._completion(check, outcome, value, reason))

    def release(self, check: CandleCheck, reason: str = "", failed: bool = False) -> Settled:
        """Give the candle back, so that the next caller is told to work it; `failed` counts towards the cap."""
        return self._cache.store.run(self._release(check, reason, failed))


def in_memory(memory: MemoryStore) -> CandleCache:
    """A cache in memory alone, by the configured rules."""
    return CandleCache(memory, configured().candle_rules(), configured().key_prefix)
