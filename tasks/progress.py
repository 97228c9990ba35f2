"""How far each watch is, and how many signals wait for a person: what sweeps tell the observer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from dedup.alignment import last_closed, next_close
from dedup.records import State
from dedup.timeframe import Candle
from tasks.observer import Newest
from tasks.runtime import Pipeline
from tasks.watchlist import Watch


def progress(line: Pipeline, settled: Mapping[tuple[str, str], Candle]) -> Iterator[Newest]:
    """The newest settled candle of each watch that has one.

    Args:
        settled: the newest ones within the horizon, by instrument and timeframe. A day's candle may be older than that
            and still the newest there is.

    Raises:
        StoreError: Redis is away.
    """
    found = dict(settled)
    elsewhere = [watch for watch in line.watchlist if _key(watch) not in found]
    last = [last_closed(watch.alignment, watch.instrument, watch.timeframe, line.clock.now()) for watch in elsewhere]
    cache = line.recorded_candles()
    keys = [cache.key(candle.instrument, candle.timeframe, candle.start) for candle in last]
    for candle, peeked in zip(last, cache.peek_many(keys), strict=True):
        if peeked.record is not None and peeked.record.state is State.DONE:
            found[candle.instrument, str(candle.timeframe)] = candle
    for watch in line.watchlist:
        if _key(watch) in found:
            yield _newest(line, watch, found[_key(watch)])


def held(line: Pipeline) -> int:
    """How many signals are held, within the horizon and beyond it.

    Raises:
        StoreError: Redis is away.
    """
    unknown = line.recorded_signals().list_records(State.UNKNOWN)
    return sum(1 for stored in unknown if stored.record.waits)


def _key(watch: Watch) -> tuple[str, str]:
    return (watch.instrument, str(watch.timeframe))


def _newest(line: Pipeline, watch: Watch, candle: Candle) -> Newest:
    follows = next_close(watch.alignment, watch.timeframe, candle.close)
    until = line.settings.watch_until
    ended = until is not None and follows > until
    next_s = math.inf if ended else line.clock.wall(follows).timestamp()
    return Newest(watch.instrument, watch.timeframe, line.clock.wall(candle.close).timestamp(), next_s)
