"""`celery -A tasks doctor`."""

from __future__ import annotations

import click
from rich.console import Console

from tasks.commands.ending import Command, as_json, echo_json, finish


@click.command(cls=Command)
@as_json
@click.option("--strict", is_flag=True, help="Let warnings count as failures.")
def doctor(machine: bool, strict: bool) -> None:
    """Look at settings, watchlist, Redis, broker and signal API. Reads only; posts nothing.

    Exit code: 0 when nothing failed, 1 when something that the pipeline promises does not hold, or with --strict when
    anything is worth a warning.
    """
    from dedup.preflight import Level
    from tasks.doctor import as_json as as_document
    from tasks.doctor import as_table, examine, verdict

    sections = examine()
    if machine:
        echo_json(as_document(sections))
    else:
        Console().print(as_table(sections))
    level = verdict(sections)
    finish(found=level is Level.FAIL or (strict and level is Level.WARN))
