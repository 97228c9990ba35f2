"""The sweep: the one recovery path, whatever was lost. Level-triggered, over the whole horizon.

It reads the records of every candle of the watchlist within the horizon, and of their signals, in pipelined batches,
and enqueues what nobody is at. It never feeds a backlog: it enqueues no more than is due beyond what waits in the queue
already, and nothing while more waits there than one close brings. What is enqueued twice costs one claim.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from dedup.alignment import closed_between
from dedup.errors import InvalidSignal, StoreUnavailable
from dedup.keys import swept_key
from dedup.ops import Peeked
from dedup.records import State
from dedup.signals import Signal
from dedup.timeframe import Candle
from tasks.app import CANDLES, PUBLISH, app
from tasks.candles import BATCH, enqueue_evaluations
from tasks.progress import held as held_signals
from tasks.progress import progress
from tasks.publish import enqueue_publish
from tasks.results import Result
from tasks.runtime import Pipeline, pipeline, wall_now_ms

log = logging.getLogger("candlelatch.sweep")

SWEPT_KEPT_MS = 86_400_000
"""How long it is remembered that a sweep went through."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What the sweep saw.

    Attributes:
        candles: how many it looked at.
        due: candles that nobody is at.
        unpublished: signals that nobody is at.
        held: signals that wait for a person.
        settled: the newest candle of each watch that is DONE, by instrument and timeframe.
    """

    candles: int
    due: tuple[Candle, ...]
    unpublished: tuple[Signal, ...]
    held: int
    settled: Mapping[tuple[str, str], Candle] = field(default_factory=dict)


@app.task(name="sweep", Request="tasks.request:OutcomeRequest")
def sweep() -> Result:
    """Enqueue again what was lost. While the store is away there is nothing to look at: the next sweep does."""
    try:
        return sweep_once(pipeline())
    except StoreUnavailable as error:
        log.warning("the sweep sees nothing while the store is away: %s", error)
        return {"outcome": "store_away", "reason": str(error)}


def sweep_once(line: Pipeline) -> Result:
    """Look, and enqueue what is due as far as the queues bear it.

    Raises:
        StoreError: what Redis knows cannot be seen.
    """
    found = look(line)
    close = len(line.watchlist)
    candles = _take(found.due, close, CANDLES)
    signals = _take(found.unpublished, close, PUBLISH)
    enqueue_evaluations(line, candles)
    _publish(signals)
    if line.observer.counts:
        line.observer.swept(progress(line, found.settled), held_signals(line))
    if found.held:
        log.error("%d signals are held: settle them with `celery -A tasks signals`", found.held)
    line.store.put(swept_key(line.settings.key_prefix), str(wall_now_ms()), SWEPT_KEPT_MS)
    return {
        "outcome": "swept",
        "candles": found.candles,
        "due": len(found.due),
        "enqueued": len(candles),
        "unpublished": len(found.unpublished),
        "republished": len(signals),
        "held": found.held,
    }


def look(line: Pipeline) -> Findings:
    """Read the records of the horizon and say what nobody is at. Changes nothing.

    Raises:
        StoreError: Redis is away: what it knows cannot be seen, and counts for nothing.
    """
    candles = closed_candles(line)
    due: list[Candle] = []
    signals: list[Signal] = []
    settled: dict[tuple[str, str], Candle] = {}
    for candle, peeked in zip(candles, _peek_candles(line, candles), strict=True):
        if is_due(peeked):
            due.append(candle)
        elif peeked.record is not None and peeked.record.state is State.DONE:
            settled[candle.instrument, str(candle.timeframe)] = candle
            signals += signals_of(peeked, _ms(line.settings.sweep_grace))
    keys = [line.signals.key(s.instrument, s.candle_start, s.timeframe, s.strategy) for s in signals]
    records = line.signals.peek_many(keys)
    unpublished = [signal for signal, peeked in zip(signals, records, strict=True) if is_due(peeked)]
    held = sum(1 for peeked in records if peeked.record and peeked.record.waits)
    return Findings(len(candles), tuple(due), tuple(unpublished), held, settled)


def closed_candles(line: Pipeline) -> list[Candle]:
    """Every watched candle that closed within the horizon and longer ago than the grace, oldest first."""
    now = line.clock.now()
    since = line.horizon_start(now)
    until = line.clock.market(line.clock.wall(now) - timedelta(seconds=line.settings.sweep_grace))
    found: list[Candle] = []
    for watch in line.watchlist:
        found += closed_between(watch.alignment, watch.instrument, watch.timeframe, since, until)
    return sorted(filter(line.watched, found), key=lambda candle: candle.close)


def is_due(peeked: Peeked) -> bool:
    """Whether nobody is at it: no record, a lease that ran out, or a next try that is overdue."""
    record = peeked.record
    if record is None:
        return True
    if record.settled:
        return False
    return record.until_ms <= peeked.now_ms


def signals_of(peeked: Peeked, grace_ms: int) -> Iterable[Signal]:
    """The signals that a DONE candle carries, once their own tasks have had `grace_ms`."""
    record = peeked.record
    if record is None or peeked.now_ms - record.at_ms < grace_ms or not isinstance(record.value, dict):
        return ()
    carried = record.value.get("signals", [])
    if not isinstance(carried, list):
        log.error("a candle's record carries no readable signals: %.80r", carried)
        return ()
    return [signal for fields in carried for signal in _read(fields)]


def _read(fields: Any) -> Sequence[Signal]:
    try:
        return (Signal.parse(fields),)
    except (InvalidSignal, TypeError, AttributeError) as error:
        log.error("a candle's record carries no readable signal: %s", error)  # noqa: TRY400 the message says it all
        return ()


def _peek_candles(line: Pipeline, candles: Sequence[Candle]) -> list[Peeked]:
    if not candles:
        return []
    cache = line.recorded_candles()
    return cache.peek_many([cache.key(candle.instrument, candle.timeframe, candle.start) for candle in candles])


def _take(due: Sequence[Any], one_close: int, queue: str) -> Sequence[Any]:
    """The oldest of what is due, beyond what waits already."""
    if not due:
        return ()
    waiting = queue_length(queue)
    if waiting > one_close:
        log.warning("%d messages wait in %s: the sweep adds none", waiting, queue)
        return ()
    return due[: max(0, min(len(due) - waiting, max(one_close, BATCH)))]


def queue_length(queue: str) -> int:
    """How many messages wait in a queue (``queue_declare(passive=True)``; 0 where it does not exist yet)."""
    # A channel of its own: RabbitMQ closes the one on which it was asked for a queue that does not exist.
    with app.connection_or_acquire() as connection:
        # One that was lost comes out of the pool closed, and a channel alone would not open it again.
        connection.ensure_connection(max_retries=1)
        with connection.channel() as channel:
            try:
                return int(channel.queue_declare(queue=queue, passive=True).message_count)
            except connection.channel_errors:
                return 0


def _publish(signals: Sequence[Signal]) -> None:
    with app.producer_or_acquire() as producer, producer.batch(BATCH):
        for signal in signals:
            enqueue_publish(signal, producer)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
