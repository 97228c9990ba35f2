"""Independent evidence: what should have happened, from the bars alone, against what reached the API.

The expectation runs the strategies straight over the same bars, in this process, without Celery or Redis. What happened
is read from the API's own log, which it writes before it does anything else. The records in Redis only say why a signal
was not posted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from dedup.alignment import closed_between
from dedup.records import State
from dedup.signals import Signal
from dedup.timeframe import Candle
from tasks.evaluation import evaluate_bars
from tasks.runtime import Pipeline
from tasks.watchlist import Watchlist


@dataclass(frozen=True, slots=True)
class Expected:
    """What the bars ask for between two moments.

    Attributes:
        candles: closed candles in which the market traded.
        signals: by id.
    """

    candles: tuple[Candle, ...]
    signals: Mapping[str, Signal]


def expect(watchlist: Watchlist, after: datetime, until: datetime, max_age_s: float) -> Expected:
    """Run every strategy over every candle with `after < close <= until`."""
    candles: list[Candle] = []
    signals: dict[str, Signal] = {}
    for watch in watchlist:
        for candle in closed_between(watch.alignment, watch.instrument, watch.timeframe, after, until):
            if not watch.calendar.is_open(candle.start, candle.close):
                continue
            candles.append(candle)
            found = evaluate_bars(watch, candle, watch.source.bars(candle, watch.warmup), max_age_s)
            signals |= {signal.id: signal for signal in found.signals}
    return Expected(tuple(candles), signals)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of what was expected.

    Attributes:
        evaluated, missing: candles.
        posted: ids with exactly one effect at the API.
        doubled: ids with more than one.
        unexpected: ids that the bars do not ask for.
        held, expired, rejected: ids without an effect, and why, from the records.
        lost: ids without an effect and without a reason.
        posts: POSTs that reached the API, of expected signals or not.
    """

    expected: Expected
    evaluated: int
    missing: tuple[Candle, ...]
    posted: tuple[str, ...]
    doubled: tuple[str, ...]
    unexpected: tuple[str, ...]
    held: tuple[str, ...]
    expired: tuple[str, ...]
    rejected: tuple[str, ...]
    lost: tuple[str, ...]
    posts: int

    @property
    def good(self) -> bool:
        """Nothing twice, nothing lost, nothing missing, nothing that nobody asked for."""
        return not (self.missing or self.doubled or self.unexpected or self.lost)

    @property
    def settled(self) -> bool:
        """Whether nothing is left to wait for."""
        return not (self.missing or self.lost)


def unsettled(line: Pipeline, expected: Expected) -> int:
    """How many of the expected candles and signals are still open in the store."""
    keys = [line.candles(one.timeframe).key(one.instrument, one.timeframe, one.start) for one in expected.candles]
    keys += [_signal_key(line, signal) for signal in expected.signals.values()]
    return sum(1 for peeked in line.signals.peek_many(keys) if peeked.record is None or not peeked.record.settled)


def judge(line: Pipeline, expected: Expected, effects: Mapping[str, int], posts: int) -> Verdict:
    """Hold the API's effects by signal id against what was expected."""
    missing = [candle for candle in expected.candles if not _evaluated(line, candle)]
    without = [signal for signal in expected.signals.values() if not effects.get(signal.id)]
    why = {signal.id: _why(line, signal) for signal in without}
    return Verdict(
        expected,
        evaluated=len(expected.candles) - len(missing),
        missing=tuple(missing),
        posted=tuple(name for name in expected.signals if effects.get(name) == 1),
        doubled=tuple(name for name, count in effects.items() if count > 1),
        unexpected=tuple(name for name in effects if name not in expected.signals),
        held=tuple(name for name, reason in why.items() if reason == "held"),
        expired=tuple(name for name, reason in why.items() if reason == "expired"),
        rejected=tuple(name for name, reason in why.items() if reason == "rejected"),
        lost=tuple(name for name, reason in why.items() if reason == ""),
        posts=posts,
    )


def _evaluated(line: Pipeline, candle: Candle) -> bool:
    cache = line.candles(candle.timeframe)
    record = cache.record(cache.key(candle.instrument, candle.timeframe, candle.start))
    return record is not None and record.state is State.DONE and record.outcome == "evaluated"


def _why(line: Pipeline, signal: Signal) -> str:
    record = line.signals.record(_signal_key(line, signal))
    if record is None or not record.settled:
        return ""
    return "held" if record.state is State.UNKNOWN else record.outcome


def _signal_key(line: Pipeline, signal: Signal) -> str:
    return line.signals.key(signal.instrument, signal.candle_start, signal.timeframe, signal.strategy)
