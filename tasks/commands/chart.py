"""`celery -A tasks chart`: candles and signals as a picture."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tasks.commands.ending import Command, as_json, echo_json, finish, open_line
from tasks.commands.given import MOMENT, Moment

if TYPE_CHECKING:
    from datetime import datetime

    from tasks.runtime import Pipeline
    from tasks.watchlist import Watch


@click.command(cls=Command)
@click.argument("instrument")
@click.argument("timeframe")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The PNG to write.")
@click.option("--last", default=100, show_default=True, type=click.IntRange(2, 1000), help="How many candles.")
@click.option("--until", type=MOMENT, default="now", show_default=True, help="The last one closes by then.")
@as_json
def chart(instrument: str, timeframe: str, out: Path, last: int, until: Moment, machine: bool) -> None:
    """Draw an instrument's last candles, with its signals in the colour of their outcome.

    Signals are shown for as long as their candles' records are kept. Needs the extra `chart`.
    """
    from dedup.errors import InvalidInput

    line = open_line()
    watch = line.watchlist.find(instrument, timeframe)
    if watch is None:
        there = ", ".join(f"{one.instrument} {one.timeframe}" for one in line.watchlist)
        raise InvalidInput("chart", f"{instrument} {timeframe}", f"is not watched; there are {there}")
    marks = _draw(line, watch, min(until.by(line.clock.now()), line.clock.now()), last, out)
    if machine:
        echo_json({"out": str(out), "bytes": out.stat().st_size, "signals": marks})
    else:
        told = ", ".join(f"{count} {name}" for name, count in marks.items()) or "no signals"
        click.echo(f"{out}: {told}")
    finish(found=False)


def _draw(line: Pipeline, watch: Watch, until: datetime, last: int, out: Path) -> dict[str, int]:
    from dedup.alignment import candle as candle_of
    from dedup.alignment import last_closed
    from dedup.errors import SourceError
    from tasks.charting import draw, markers, save
    from tasks.coverage import cells_of
    from tasks.evaluation import ask_source

    newest = last_closed(watch.alignment, watch.instrument, watch.timeframe, until)
    bars = [bar for bar in ask_source(watch, newest, last) if bar.start <= newest.start][-last:]
    if not bars:
        raise SourceError(f"source {watch.source_name} has no bar of {watch.instrument} up to {newest}")
    candles = [candle_of(watch.alignment, watch.instrument, watch.timeframe, bar.start) for bar in bars]
    found = markers(bars, cells_of(line, watch, candles, line.clock.now()))
    span = f"{bars[0].start:%Y-%m-%d %H:%M} to {newest.close:%Y-%m-%d %H:%M} UTC"
    save(draw(bars, found, f"{watch.instrument} {watch.timeframe}   {span}"), out)
    return dict(Counter(one.mark.value for one in found))
