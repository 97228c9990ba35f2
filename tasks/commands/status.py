"""`celery -A tasks status`: instruments by the last candles, one glyph each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from tasks.commands.ending import Command, as_json, echo_json, finish, open_line
from tasks.commands.showing import console

if TYPE_CHECKING:
    from tasks.coverage_view import Picture
    from tasks.runtime import Pipeline


@click.command(cls=Command)
@as_json
@click.option("--watch", is_flag=True, help="Go on looking until Ctrl-C.")
@click.option("--every", "every_s", type=click.FloatRange(min=0.2), default=2.0, help="Seconds between looks.")
@click.option("--timeframe", default=None, help="Only this one, such as 15m.")
@click.option("--instrument", "instruments", multiple=True, help="Only this one; may be given again.")
@click.option("--last", type=click.IntRange(1, 500), default=24, show_default=True, help="How many closed candles.")
def status(
    machine: bool, watch: bool, every_s: float, timeframe: str | None, instruments: tuple[str, ...], last: int
) -> None:
    """Show what has become of the last candles: posted, no signal, working, held, missing, market closed.

    Reads Redis and the queues, and changes nothing. Candles older than the horizon whose record has run out are `~`.
    Celery's own `status`, which lists workers, is `celery -A tasks inspect ping`.
    """
    line = open_line()
    if machine:
        from tasks.coverage_view import as_document

        picture = _look(line, timeframe, instruments, last)
        echo_json(as_document(picture))
        finish(picture.found)
    _show(line, timeframe, instruments, last, every_s if watch else None)


def _show(
    line: Pipeline, timeframe: str | None, instruments: tuple[str, ...], last: int, every_s: float | None
) -> None:
    from rich.live import Live
    from rich.text import Text

    from dedup.errors import StoreError
    from tasks.coverage_view import as_view

    terminal = console()
    picture = _look(line, timeframe, instruments, last)
    if every_s is None:
        terminal.print(as_view(picture))
        finish(picture.found)
    try:
        with Live(as_view(picture), console=terminal, auto_refresh=False, screen=terminal.is_terminal) as live:
            while True:
                time.sleep(every_s)
                try:
                    shown = as_view(_look(line, timeframe, instruments, last))
                except StoreError as error:
                    # Whoever watches an outage wants to see its end.
                    shown = Text(f"Redis: {error}", style="bold red")
                live.update(shown, refresh=True)
    except KeyboardInterrupt:
        finish(found=False)


def _look(line: Pipeline, timeframe: str | None, instruments: tuple[str, ...], last: int) -> Picture:
    from tasks.coverage import look_at
    from tasks.coverage_view import Picture
    from tasks.progress import held
    from tasks.queues import queue_lengths
    from tasks.watchlist import chosen

    rows = look_at(line, chosen(line.watchlist, instruments, timeframe), last)
    try:
        queues, broker_error = queue_lengths(line.settings), ""
    except Exception as error:
        # Each transport raises its own; what the records say is worth showing all the same.
        queues, broker_error = None, f"{type(error).__name__}: {error}"
    return Picture(line.clock.now(), rows, queues, broker_error, held(line), _swept_s(line))


def _swept_s(line: Pipeline) -> float | None:
    from dedup.keys import swept_key
    from tasks.runtime import wall_now_ms

    text = line.store.get(swept_key(line.settings.key_prefix))
    # Another machine's clock may be ahead of this one's.
    return max(0, wall_now_ms() - int(text)) / 1000 if text and text.isdigit() else None
