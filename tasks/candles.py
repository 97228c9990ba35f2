"""The candle tasks: `enqueue_candles` fans a close out, `evaluate_candle` works one candle.

===============  =================================================================================================
outcome          meaning
===============  =================================================================================================
evaluated        every strategy looked; its signals are in the broker
duplicate        it was worked before
busy             another delivery is at it; the sweep comes back if that one dies
retry            the bar is not final yet, or a strategy failed: due again
missing          the source had no bar in time; the sweep asks again. Or it never will: the market had none
too_few_bars     the warm-up of no strategy is reached
failed           a strategy raised, or workers died under it, as often as `MAX_FAILURES`
closed_market    the market did not trade in this candle
expired          it is older than the horizon
unwatched        the watchlist has no such entry any more
===============  =================================================================================================
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from celery import Task

from dedup.alignment import candle as candle_of
from dedup.alignment import last_closed
from dedup.cache import CandleCache
from dedup.errors import InvalidBars, InvalidCandle, SourceError, StoreError, TryAgain
from dedup.ops import Answer, Claimed
from dedup.rules import new_token, token_start
from dedup.signals import Signal
from dedup.timeframe import Candle, Timeframe, as_utc
from tasks.app import app
from tasks.evaluation import Evaluation, ask_source, evaluate_bars
from tasks.publish import enqueue_publish
from tasks.results import Result, candle_result
from tasks.runtime import Pipeline, pipeline
from tasks.shown import showing_again, showing_candle
from tasks.sources.window import WindowState
from tasks.watchlist import Watch

log = logging.getLogger("candlelatch.candles")

PATIENCE_S = (1, 2, 3, 5, 8, 13)
"""Waits for a bar that is not final yet; the last one repeats."""

MISSING_RETRY_S = 60.0
STORE_RETRY_S = 5.0
BATCH = 500


@app.task(name="enqueue_candles", Request="tasks.request:OutcomeRequest")
def enqueue_candles(timeframe: str, alignment: str) -> Result:
    """Enqueue `evaluate_candle` for every instrument whose candle has just closed."""
    line = pipeline()
    now = line.clock.now()
    # A tick may be worked by a machine whose clock is a little behind beat's.
    ahead = now + timedelta(seconds=_skew_s(line, Timeframe.parse(timeframe)))
    watches = line.watchlist.closing(timeframe, alignment)
    candles = [last_closed(watch.alignment, watch.instrument, watch.timeframe, ahead) for watch in watches]
    sent = enqueue_evaluations(line, [candle for candle in candles if line.watched(candle)])
    if not candles:
        return {"outcome": "unwatched", "timeframe": timeframe, "alignment": alignment}
    return {"outcome": "enqueued", "candles": sent, "timeframe": timeframe, "close": _iso(candles[0].close)}


def enqueue_evaluations(line: Pipeline, candles: Iterable[Candle]) -> int:
    """Send `evaluate_candle` for candles, in batches, and say how many."""
    sent = 0
    with app.producer_or_acquire() as producer, producer.batch(BATCH):
        for candle in candles:
            left_s = line.clock.seconds_until(candle.close)
            evaluate_candle.apply_async(
                kwargs={
                    "instrument": candle.instrument,
                    "timeframe": str(candle.timeframe),
                    "candle_start": _iso(candle.start),
                },
                **showing_candle(candle),
                producer=producer,
                countdown=min(max(0.0, left_s), line.settings.longest_wait_s),
                expires=line.clock.wall(candle.close + timedelta(seconds=line.settings.horizon)),
            )
            sent += 1
    return sent


@app.task(name="evaluate_candle", bind=True, max_retries=100, Request="tasks.request:OutcomeRequest")
def evaluate_candle(self: Task[..., Result], instrument: str, timeframe: str, candle_start: str) -> Result:
    """Evaluate one candle: claim, bars, strategies, hand the signals on, complete."""
    line = pipeline()
    watch = line.watchlist.find(instrument, timeframe)
    if watch is None:
        return {"outcome": "unwatched", "instrument": instrument, "timeframe": timeframe, "candle": candle_start}
    candle = candle_of(watch.alignment, watch.instrument, watch.timeframe, _parse_start(candle_start))
    _await_close(self, line, candle)
    if candle.close <= line.horizon_start(line.clock.now()):
        return candle_result("expired", candle, reason="older than the horizon")
    try:
        return _Work(self, line, watch, candle).run()
    except StoreError as error:
        _tell(logging.ERROR, candle, f"waits for the store: {error}")
        raise _retry(self, line, STORE_RETRY_S, str(error)) from error


class _Work:
    """One delivery of one candle."""

    def __init__(self, task: Task[..., Result], line: Pipeline, watch: Watch, candle: Candle) -> None:
        self.task, self.line, self.watch, self.candle = task, line, watch, candle
        self.cache: CandleCache = line.candles(candle.timeframe)
        self.key = self.cache.key(candle.instrument, candle.timeframe, candle.start)
        self.token = new_token()

    def run(self) -> Result:
        claimed = self.cache.claim(self.key, self.token)
        if claimed.answer is not Answer.ACQUIRED:
            return self._not_acquired(claimed)
        try:
            return self._work(claimed)
        except (SourceError, InvalidBars) as error:
            self.line.observer.fed(self.watch.source_name, "error", None)
            _tell(logging.ERROR if isinstance(error, InvalidBars) else logging.WARNING, self.candle, str(error))
            return self._not_yet(claimed, str(error))

    def _work(self, claimed: Claimed) -> Result:
        if not self.watch.calendar.is_open(self.candle.start, self.candle.close):
            return self._done("closed_market", claimed)
        answer = ask_source(self.watch, self.candle)
        found = evaluate_bars(self.watch, self.candle, answer, self.line.settings.max_age_s(self.candle.timeframe))
        self._tell_lag(found)
        match found.state:
            case WindowState.NOT_FINAL:
                return self._not_yet(claimed, found.reason)
            case WindowState.GAP:
                return self._done("missing", claimed, reason=found.reason)
            case WindowState.TOO_FEW:
                return self._done("too_few_bars", claimed, reason="; ".join(found.too_few))
            case WindowState.FINAL:
                return self._hand_on(claimed, found)

    def _tell_lag(self, found: Evaluation) -> None:
        late_s = -self.line.clock.seconds_until(self.candle.close)
        # A delivery that was late itself says nothing about the feed.
        on_time = late_s <= self.line.settings.candle_check_window
        self.line.observer.fed(self.watch.source_name, found.state, late_s if on_time else None)

    def _hand_on(self, claimed: Claimed, found: Evaluation) -> Result:
        """The signals go to the broker first; only then is the candle complete."""
        for signal in found.signals:
            enqueue_publish(signal)
        if not found.errors:
            return self._done("evaluated", claimed, found.signals, "; ".join(found.too_few))
        reason = "; ".join(found.errors)
        _tell(logging.ERROR, self.candle, reason)
        if claimed.record.failures + 1 >= self.cache.rules.max_failures:
            return self._done("failed", claimed, found.signals, reason)
        wait_s = _wait_s(claimed.record.failures)
        self.cache.release(self.key, self.token, reason, wait_s, failed=True)
        raise _retry(self.task, self.line, wait_s, reason)

    def _not_yet(self, claimed: Claimed, reason: str) -> Result:
        wait_s = _wait_s(self.task.request.retries)
        patience_s = min(self.candle.timeframe.seconds / 3, 120.0)
        late_s = -self.line.clock.seconds_until(self.candle.close)
        if late_s + wait_s <= self.line.clock.wall_seconds(patience_s):
            self.cache.release(self.key, self.token, reason, wait_s)
            raise _retry(self.task, self.line, wait_s, reason)
        # RELEASED, not DONE: within the horizon the sweep asks the source again.
        self.cache.release(self.key, self.token, f"missing: {reason}", MISSING_RETRY_S)
        return self._result("missing", claimed, reason=reason)

    def _done(self, outcome: str, claimed: Claimed, signals: tuple[Signal, ...] = (), reason: str = "") -> Result:
        value = {"signals": [signal.fields() for signal in signals]} if signals else None
        settled = self.cache.complete(self.key, self.token, outcome, value, reason)
        stands = settled.record.outcome if settled.record and not settled.acted else ""
        return self._result(
            outcome, claimed, reason=reason, signals=[f"{s.strategy} {s.side}" for s in signals], first=stands
        )

    def _not_acquired(self, claimed: Claimed) -> Result:
        record = claimed.record
        if claimed.answer is Answer.DUPLICATE:
            return self._result("duplicate", claimed, first=record.outcome, reason=record.reason)
        return self._result("busy", claimed, reason=f"held by another delivery for {claimed.left_ms} ms more")

    def _result(self, outcome: str, claimed: Claimed, **more: Any) -> Result:
        late_s = -self.line.clock.seconds_until(self.candle.close)
        on_time = late_s <= self.line.settings.candle_check_window
        more |= {"source": claimed.source, "attempt": claimed.record.attempt, "token": token_start(self.token)}
        more["late_s"] = round(late_s, 3)
        return candle_result(outcome, self.candle, catch_up=not on_time, **more)


def _await_close(task: Task[..., Result], line: Pipeline, candle: Candle) -> None:
    """A candle that closes within the check window, by a clock that is behind, is waited for; any other is refused."""
    left_s = line.clock.seconds_until(candle.close)
    if left_s <= 0:
        return
    if left_s <= line.settings.candle_check_window:
        raise _retry(task, line, left_s, f"the candle closes in {left_s:.3f} s")
    # Refused by a clock that is wrong, it would be taken from those whose clocks are right.
    if not line.past_by_store(candle.close):
        raise InvalidCandle("candle_start", _iso(candle.start), f"has not closed: it closes in {left_s:.0f} s")


def _tell(level: int, candle: Candle, what: str) -> None:
    log.log(level, "%s %s %s: %s", candle.instrument, candle.timeframe, candle, what)


def _retry(task: Task[..., Result], line: Pipeline, wait_s: float, reason: str) -> Exception:
    countdown_s = min(wait_s, line.settings.longest_wait_s)
    again = TryAgain(reason)
    retry: Exception = task.retry(countdown=countdown_s, exc=again, throw=False, **showing_again(task))
    return retry


def _wait_s(tries: int) -> float:
    return PATIENCE_S[min(tries, len(PATIENCE_S) - 1)] * random.uniform(0.8, 1.2)


def _skew_s(line: Pipeline, timeframe: Timeframe) -> float:
    """How far a clock may be behind beat's, market seconds: never so far that the next candle would be taken."""
    return min(min(2.0, line.settings.candle_check_window) * line.clock.speed, timeframe.seconds / 2)


def _parse_start(text: str) -> datetime:
    try:
        return as_utc(datetime.fromisoformat(text), "candle_start")
    except InvalidCandle:
        raise
    except (ValueError, TypeError):
        raise InvalidCandle("candle_start", text, "give ISO-8601 with a zone, as in 2025-01-01T10:15:00Z") from None


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
