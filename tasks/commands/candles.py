"""`celery -A tasks candles show`: one candle, its bar, its signals and their records."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from tasks.commands.ending import Group, as_json, echo_json, finish, open_line
from tasks.commands.given import iso
from tasks.commands.showing import print_fields

if TYPE_CHECKING:
    from dedup.timeframe import Candle
    from tasks.watchlist import Watch


@click.group(cls=Group)
def candles() -> None:
    """Look at candles' records."""


@candles.command()
@click.argument("instrument")
@click.argument("timeframe")
@click.argument("start")
@click.option("--bars", default=3, show_default=True, type=click.IntRange(0, 500), help="How many of its bars.")
@as_json
def show(instrument: str, timeframe: str, start: str, bars: int, machine: bool) -> None:
    """Show one candle: its record, the source's bars, its signals and their records.

    START is when it opens, as in 2025-01-01T10:15:00Z; `last` is the last closed one.
    """
    from dedup.errors import InvalidInput
    from tasks.coverage import FOUND, cells_of

    line = open_line()
    watch = line.watchlist.find(instrument, timeframe)
    if watch is None:
        there = ", ".join(f"{one.instrument} {one.timeframe}" for one in line.watchlist)
        raise InvalidInput("candle", f"{instrument} {timeframe}", f"is not watched; there are {there}")
    now = line.clock.now()
    candle = _candle(watch, start, now)
    cell = cells_of(line, watch, [candle], now)[0]
    cache = line.recorded_candles()
    key = cache.key(candle.instrument, candle.timeframe, candle.start)
    document = {
        "instrument": candle.instrument,
        "timeframe": str(candle.timeframe),
        "start": iso(candle.start),
        "close": iso(candle.close),
        "closed": candle.closed(now),
        "mark": cell.mark.value if candle.closed(now) else "not closed yet",
        "why": cell.why,
        "key": key,
        "record": _record(cache.record(key)),
        "signals": [
            {"payload": one.signal.fields(), "mark": one.mark.value, "record": _record(one.record)}
            for one in cell.signals
        ],
        "bars": _bars(watch, candle, bars) if bars else [],
    }
    if machine:
        echo_json(document)
    else:
        print_fields(_flat(document))
    finish(cell.mark in FOUND)


def _candle(watch: Watch, start: str, now: datetime) -> Candle:
    from dedup.alignment import candle, last_closed
    from dedup.errors import InvalidCandle

    if start == "last":
        return last_closed(watch.alignment, watch.instrument, watch.timeframe, now)
    try:
        moment = datetime.fromisoformat(start)
    except ValueError:
        raise InvalidCandle("START", start, "write 2025-01-01T10:15:00Z, or last") from None
    return candle(watch.alignment, watch.instrument, watch.timeframe, moment)


def _record(record: Any) -> dict[str, Any] | None:
    from tasks.held import told

    return None if record is None else told(record)


def _bars(watch: Watch, candle: Candle, count: int) -> list[dict[str, Any]] | str:
    from dedup.errors import InvalidBars, SourceError
    from tasks.evaluation import ask_source

    try:
        answered = ask_source(watch, candle, count)
    except (SourceError, InvalidBars) as error:
        # The records are worth a look all the same.
        return str(error)
    past = [bar for bar in answered if bar.start <= candle.start][-count:]
    prices = ("open", "high", "low", "close", "volume", "final")
    return [{"start": iso(bar.start), **{name: getattr(bar, name) for name in prices}} for bar in past]


def _flat(document: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in document.items():
        at = f"{above}{name}"
        if isinstance(value, dict):
            rows += _flat(value, f"{at}.")
        elif isinstance(value, list) and at == "bars":
            rows += [("bar", _bar(one)) for one in value]
        elif isinstance(value, list):
            for number, one in enumerate(value, 1):
                rows += _flat(one, f"{at.removesuffix('s')} {number} ")
        elif value not in ("", None, False, 0):
            rows.append((at, str(value)))
    return rows


def _bar(bar: dict[str, Any]) -> str:
    prices = " ".join(f"{name[0].upper()} {bar[name]:g}" for name in ("open", "high", "low", "close"))
    return f"{bar['start']}  {prices}{'' if bar['final'] else '  (not final)'}"
