"""`celery -A tasks backfill`: evaluate candles that nobody has evaluated."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from tasks.commands.ending import Command, Exit, as_json, echo_json, finish, open_line, refuse
from tasks.commands.given import MOMENT, Moment, iso

if TYPE_CHECKING:
    from rich.progress import Progress

    from tasks.backfill import Ended, Planned
    from tasks.runtime import Pipeline

BATCH = 100
POLL_S = 0.25


@click.command(cls=Command)
@click.option(
    "--from", "first", type=MOMENT, required=True, help="Candles that close after: 2025-01-01T00:00:00Z, or 6h."
)
@click.option("--to", "last", type=MOMENT, default="now", show_default=True, help="Candles that close by then.")
@click.option("--instrument", "instruments", multiple=True, help="Only this one; may be given again.")
@click.option("--timeframe", default=None, help="Only this one, such as 15m.")
@click.option("--force", is_flag=True, help="Also what ended failed, missing or with too few bars.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--wait", is_flag=True, help="Wait for the outcomes, and report them.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Of --wait, s."
)
@as_json
def backfill(
    first: Moment,
    last: Moment,
    instruments: tuple[str, ...],
    timeframe: str | None,
    force: bool,
    dry_run: bool,
    wait: bool,
    timeout_s: float,
    machine: bool,
) -> None:
    """Enqueue the closed candles of a span that nobody has evaluated.

    Nothing is posted twice, and nothing stale is posted: a signal that has expired is evaluated and recorded, and
    that is all. Candles older than the horizon are refused, because nobody can know any more whether they were
    worked. What is done stays done; --force tries again what ended failed, missing or with too few bars.
    """
    from tasks.backfill import GOES, Verdict, plan
    from tasks.watchlist import chosen

    line = open_line(sends=not dry_run)
    now = line.clock.now()
    start, end = first.by(now), last.by(now)
    if start >= end:
        raise click.UsageError(f"--from {iso(start)} does not lie before --to {iso(end)}")
    planned = plan(line, chosen(line.watchlist, instruments, timeframe), start, end, force)
    goes = [one for one in planned if one.verdict in GOES]
    refused = [one for one in planned if one.verdict is Verdict.TOO_OLD]
    if refused and not goes and not machine:
        refuse(Exit.FOUND, _refusal(line, refused))
    ended: list[Ended] = []
    if not dry_run:
        ended = _enqueue(line, goes, wait, timeout_s, machine)
    if machine:
        echo_json(_document(planned, ended, dry_run))
    else:
        _tell(line, planned, ended, dry_run)
    finish(bool(refused) or any(one.wrong for one in ended))


def _enqueue(line: Pipeline, goes: list[Planned], wait: bool, timeout_s: float, machine: bool) -> list[Ended]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from tasks.backfill import forget
    from tasks.candles import enqueue_evaluations

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=machine or not sys.stderr.isatty()) as progress:
        bar = progress.add_task("enqueued", total=len(goes))
        for at in range(0, len(goes), BATCH):
            batch = goes[at : at + BATCH]
            forget(line, batch)
            enqueue_evaluations(line, [one.candle for one in batch])
            progress.advance(bar, len(batch))
        return _outcomes(line, goes, timeout_s, progress) if wait else []


def _outcomes(line: Pipeline, goes: list[Planned], timeout_s: float, progress: Progress) -> list[Ended]:
    from tasks.backfill import endings

    until = time.monotonic() + timeout_s
    bar = progress.add_task("settled", total=len(goes))
    while True:
        ended = list(endings(line, goes))
        settled = sum(one.settled for one in ended)
        progress.update(bar, completed=settled)
        if settled == len(ended) or time.monotonic() > until:
            return ended
        time.sleep(POLL_S)


def _refusal(line: Pipeline, refused: list[Planned]) -> str:
    oldest = iso(line.horizon_start(line.clock.now()).replace(microsecond=0))
    return (
        f"{_counted(len(refused))} closed at {oldest} or before, and older than HORIZON = {line.settings.horizon:g} s: "
        "nobody can know any more whether they were worked, as their records may have run out. "
        "Raise HORIZON to reach them"
    )


def _counted(count: int) -> str:
    return f"{count} candle{'s' * (count != 1)}"


def _document(planned: list[Planned], ended: list[Ended], dry_run: bool) -> dict[str, Any]:
    from tasks.backfill import counts

    listed = [
        {
            "instrument": one.candle.instrument,
            "timeframe": str(one.candle.timeframe),
            "start": iso(one.candle.start),
            "close": iso(one.candle.close),
            "verdict": one.verdict.value,
            "why": one.why,
        }
        for one in planned
    ]
    became = [
        {
            "instrument": one.cell.candle.instrument,
            "timeframe": str(one.cell.candle.timeframe),
            "start": iso(one.cell.candle.start),
            "mark": one.cell.mark.value,
            "settled": one.settled,
            "why": one.cell.why,
            "signals": {seen.signal.id: seen.mark.value for seen in one.cell.signals},
        }
        for one in ended
    ]
    return {"dry_run": dry_run, "counts": counts(planned), "candles": listed, "outcomes": became}


def _tell(line: Pipeline, planned: list[Planned], ended: list[Ended], dry_run: bool) -> None:
    from collections import Counter

    from tasks.backfill import GOES, Verdict, counts

    found = counts(planned)
    going = sum(found[verdict.value] for verdict in GOES)
    click.echo(f"{_counted(going)} {'would be enqueued' if dry_run else 'enqueued'}")
    if dry_run:
        for one in planned:
            if one.verdict in GOES:
                click.echo(
                    f"  {one.candle.instrument} {one.candle.timeframe} {one.candle}  {one.verdict.value}: {one.why}"
                )
    for verdict in Verdict:
        if verdict not in GOES and found[verdict.value]:
            click.echo(f"{found[verdict.value]} left alone: {verdict.value}")
    refused = [one for one in planned if one.verdict is Verdict.TOO_OLD]
    if refused:
        click.echo(f"refused: {_refusal(line, refused)}", err=True)
    marks = Counter(one.cell.mark.value if one.settled else "not settled in time" for one in ended)
    for mark, count in marks.items():
        click.echo(f"{count} ended: {mark}")
