"""From closed bars to signals: every strategy of a watch looks at a candle. Nothing is claimed or sent here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from celery.exceptions import SoftTimeLimitExceeded

from dedup.errors import InvalidBars, InvalidSignal, SourceError, StrategyError
from dedup.signals import Signal, signal_id
from dedup.timeframe import Candle
from tasks.bars import Bar, as_bars
from tasks.sources.window import WindowState, window_of
from tasks.strategies import evaluate
from tasks.strategies.protocol import Order
from tasks.watchlist import NamedStrategy, Watch


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a watch's strategies made of a candle.

    Attributes:
        state: FINAL where at least one strategy looked; otherwise why none could.
        reason: the state in words.
        signals: what is to be posted.
        too_few: strategies whose warm-up is not reached, with the numbers.
        errors: strategies that raised or returned rubbish, with why.
    """

    state: WindowState
    reason: str
    signals: tuple[Signal, ...] = ()
    too_few: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


def ask_source(watch: Watch, candle: Candle, count: int | None = None) -> tuple[Bar, ...]:
    """What the watch's source answers for a candle: `count` bars, or as many as its hungriest strategy looks at.

    Celery's `SoftTimeLimitExceeded` passes through: it is about the task.

    Raises:
        SourceError: the source failed, in whatever way; the message names it.
        InvalidBars: it answered something that is no bars.
    """
    try:
        return as_bars(watch.source.bars(candle, watch.warmup if count is None else count))
    except (SoftTimeLimitExceeded, InvalidBars):
        raise
    except SourceError as error:
        raise SourceError(f"source {watch.source_name}: {error}") from error
    except Exception as error:
        raise SourceError(f"source {watch.source_name} raised {type(error).__name__}: {error}") from error


def evaluate_bars(watch: Watch, candle: Candle, answer: Sequence[Bar], max_age_s: float) -> Evaluation:
    """Let every strategy of the watch look at its bars.

    Raises:
        InvalidBars: the source gave bars that no strategy should see.
    """
    signals: list[Signal] = []
    too_few: list[str] = []
    errors: list[str] = []
    reason = ""
    for named in watch.strategies:
        window = window_of(answer, candle, named.strategy.warmup)
        if window.state in (WindowState.NOT_FINAL, WindowState.GAP):
            return Evaluation(window.state, window.reason)
        reason = window.reason
        if window.state is WindowState.TOO_FEW:
            too_few.append(f"{named.label}: {window.reason}")
            continue
        try:
            order = evaluate(named.strategy, window.bars)
            if order is not None:
                signals.append(make_signal(named, candle, order, max_age_s))
        except (StrategyError, InvalidSignal) as error:
            errors.append(f"{named.label}: {error}")
    looked = len(too_few) < len(watch.strategies)
    state = WindowState.FINAL if looked else WindowState.TOO_FEW
    return Evaluation(state, reason, tuple(signals), tuple(too_few), tuple(errors))


def make_signal(named: NamedStrategy, candle: Candle, order: Order, max_age_s: float) -> Signal:
    """An order with its id, times and expiry.

    Raises:
        InvalidSignal: the order's fields do not fit together.
    """
    return Signal.parse(
        {
            "id": signal_id(named.label, candle.instrument, candle.timeframe, candle.start),
            "instrument": candle.instrument,
            "timeframe": str(candle.timeframe),
            "candle_start": candle.start,
            "candle_close": candle.close,
            "strategy": named.label,
            "strategy_version": named.strategy.version,
            "side": order.side,
            "price": order.price,
            "stop_loss": order.stop_loss,
            "take_profit": order.take_profit,
            "confidence": order.confidence,
            "expires_at": candle.close + timedelta(seconds=max_age_s),
            "payload": order.payload,
        }
    )
