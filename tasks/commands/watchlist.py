"""`celery -A tasks watchlist check`: before it is deployed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tasks.commands.ending import Group, about_settings, as_json, echo_json, finish
from tasks.commands.given import iso
from tasks.commands.showing import print_table

if TYPE_CHECKING:
    from datetime import datetime

    from tasks.settings import Settings
    from tasks.watchlist import Watch


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found out about one instrument and timeframe.

    Attributes:
        bar: of the source, where it was asked: the last closed candle's, or why there is none.
        good: nothing is wrong.
    """

    instrument: str
    timeframe: str
    alignment: str
    calendar: str
    source: str
    strategies: str
    next_close: str
    bar: str
    good: bool


@click.group(cls=Group)
def watchlist() -> None:
    """Check the watchlist."""


@watchlist.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--online", is_flag=True, help="Ask every source for its last closed candle.")
@as_json
def check(file: Path | None, online: bool, machine: bool) -> None:
    """Read a watchlist, import its strategies, and show when each candle closes next.

    FILE is WATCHLIST where it is left out. A wrong one ends with 78, a source that does not answer with 1.
    """
    from tasks.settings import load_settings
    from tasks.watchlist import load_watchlist

    with about_settings():
        settings = load_settings(**({"watchlist": file} if file else {}))
        loaded = load_watchlist(settings.watchlist, settings.clock.now)
    now = settings.clock.now()
    rows = [_checked(watch, now, settings, online) for watch in loaded]
    good = all(row.good for row in rows)
    if machine:
        echo_json({"watchlist": str(settings.watchlist), "good": good, "watches": [asdict(row) for row in rows]})
    else:
        _print(settings.watchlist, rows, online)
    finish(found=not good)


def _checked(watch: Watch, now: datetime, settings: Settings, online: bool) -> Checked:
    from dedup.alignment import next_close
    from dedup.errors import InvalidCandle

    good, bar = True, ""
    try:
        closes = iso(next_close(watch.alignment, watch.timeframe, now))
    except InvalidCandle as error:
        closes, good = str(error), False
    if online:
        answered, bar = _asked(watch, now, settings)
        good = good and answered
    return Checked(
        watch.instrument,
        str(watch.timeframe),
        watch.alignment.name,
        watch.calendar.name,
        watch.source_name,
        ", ".join(named.label for named in watch.strategies),
        closes,
        bar,
        good,
    )


def _asked(watch: Watch, now: datetime, settings: Settings) -> tuple[bool, str]:
    """Whether the source answers for the last candle in which the market traded, and what."""
    from dedup.errors import InvalidInput, SourceError
    from tasks.coverage import last_candles
    from tasks.evaluation import ask_source, evaluate_bars
    from tasks.sources.window import WindowState

    try:
        candles = last_candles(watch, now, 500)
        traded = [one for one in candles if watch.calendar.is_open(one.start, one.close)]
        if not traded:
            return False, "the market did not trade in any of the last 500 candles"
        candle = traded[-1]
        found = evaluate_bars(watch, candle, ask_source(watch, candle), settings.max_age_s(candle.timeframe))
    except (SourceError, InvalidInput) as error:
        return False, str(error)
    wrong = found.errors or found.too_few
    if found.state is WindowState.FINAL and not wrong:
        return True, f"{candle}: final"
    return False, f"{candle}: {'; '.join(wrong) or found.reason}"


def _print(path: Path, rows: list[Checked], online: bool) -> None:
    from rich.text import Text

    names = ["instrument", "timeframe", "alignment", "calendar", "source", "strategies", "next_close"]
    shown = [
        [getattr(row, name) for name in names] + [Text(row.bar, style="" if row.good else "bold red")] * online
        for row in rows
    ]
    titles = [name.replace("_", " ") for name in names] + ["bar"] * online
    print_table(titles, shown, title=f"{path}: {len(rows)} watched")
