"""What monitors show of a task: its candle with start and close, its arguments by name, its result in words.

The options for `apply_async` and `retry` change what is shown, never what is sent. Our tasks take named arguments only,
so that the place of the positional ones is free for what fits into a column of Flower's list.
"""

from __future__ import annotations

import ast
from typing import Any

from celery import Task

from dedup.signals import Signal
from dedup.timeframe import Candle, Timeframe


def showing_candle(candle: Candle) -> dict[str, Any]:
    """Show a candle."""
    return _shown(f"{candle.instrument} {candle.timeframe} {candle}", _named(candle))


def showing_signal(signal: Signal) -> dict[str, Any]:
    """Show a signal and its candle."""
    candle = Candle(signal.instrument, Timeframe.parse(signal.timeframe), signal.candle_start, signal.candle_close)
    more = f"strategy={signal.strategy} side={signal.side} price={signal.price}"
    return _shown(f"{candle.instrument} {candle.timeframe} {candle} {signal.side}", f"{_named(candle)} {more}")


def showing_again(task: Task[..., Any]) -> dict[str, Any]:
    """Show a retry as its delivery is shown: Celery itself would write the arguments anew."""
    return _shown(task.request.get("argsrepr"), task.request.get("kwargsrepr"))


def showing_tick(timeframe: Timeframe, alignment: str) -> dict[str, Any]:
    """Show whose candles close."""
    return _shown(f"{timeframe} {alignment}", f"timeframe={timeframe} alignment={alignment}")


def read_result(text: Any) -> dict[str, Any] | None:
    """A result as Celery writes it into an event, read back; None where it is none of ours, or cut off."""
    try:
        found = ast.literal_eval(text) if isinstance(text, str) else None
    except (ValueError, SyntaxError):
        return None
    return found if isinstance(found, dict) and "outcome" in found else None


def in_words(result: dict[str, Any], shown: str = "") -> str:
    """A result in words: outcome, source and reason first, then the rest by name.

    Args:
        result: of one of our tasks.
        shown: fields that stand there are left out.
    """
    rest = {name: value for name, value in result.items() if name not in ("outcome", "source", "reason")}
    source, reason = (str(result.get(name, "")) for name in ("source", "reason"))
    head = f"{result['outcome']} ({source})" if source else str(result["outcome"])
    known = shown.split()
    more = " ".join(word for word in map(_word, rest.items()) if word not in known)
    return " · ".join(part for part in (f"{head}: {reason}" if reason else head, more) if part)


def _word(field: tuple[str, Any]) -> str:
    name, value = field
    return f"{name}={', '.join(map(str, value)) if isinstance(value, list) else value}"


def _named(candle: Candle) -> str:
    return f"instrument={candle.instrument} timeframe={candle.timeframe} candle={candle}"


def _shown(glance: str | None, named: str | None) -> dict[str, Any]:
    return {"argsrepr": glance, "kwargsrepr": named}
