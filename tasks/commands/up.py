"""`celery -A tasks up`."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from rich.console import Console
from rich.live import Live

if TYPE_CHECKING:
    from tasks.stack import Stack


@click.command()
@click.option("--demo", is_flag=True, help="Hurt the pipeline while it runs, judge it at the end, and exit.")
@click.option("--day", "day_s", type=float, default=None, help="Wall seconds that a day of the replay takes.")
@click.option("--home", type=click.Path(path_type=Path), default=None, help="Where to write; a new folder by default.")
def up(demo: bool, day_s: float | None, home: Path | None) -> None:
    """Run the whole pipeline on this machine: engine, reference API, workers, beats, Flower.

    Exit code: 0 when all is well, 1 when the demonstration found something posted twice, lost or missing, 2 when
    something did not start.
    """
    from tasks.demo import run_demo

    for number in (signal.SIGINT, signal.SIGTERM):
        # A shell that starts it in the background has it ignore SIGINT; SIGTERM would leave its children behind.
        signal.signal(number, _interrupted)
    console = Console()
    folder = home or Path(tempfile.mkdtemp(prefix="candlelatch-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if demo:
            good = run_demo(console, folder, day_s or 1.0)
            if good and home is None:
                shutil.rmtree(folder, ignore_errors=True)
            elif not good:
                console.print(f"logs and data are kept in {folder}")
            sys.exit(0 if good else 1)
        _look_around(console, folder, day_s or 5.0)
    except KeyboardInterrupt:
        console.print("stopped")
        sys.exit(130 if demo else 0)
    except TimeoutError as error:
        console.print(f"[red]{error}[/]; logs are in {folder}")
        sys.exit(2)


def _interrupted(*_: object) -> NoReturn:
    # A second Ctrl-C must not interrupt the stopping: it would leave processes behind.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _write_env(stack: Stack) -> None:
    """The run's settings, where every command that is called in its folder reads them."""
    from tasks.settings import Settings

    own = [f"{name}={value}" for name, value in stack.env.items() if name.lower() in Settings.model_fields]
    path = stack.home / ".env"
    path.touch(mode=0o600)
    path.write_text("\n".join(own) + "\n")


def _look_around(console: Console, folder: Path, day_s: float) -> None:
    from tasks.demo import END_OF_BARS, replay, running
    from tasks.live import addresses, view
    from tasks.outcomes import LogTail, Tally
    from tasks.stack import WORKERS, make_stack

    stack = make_stack(folder, replay(day_s, END_OF_BARS))
    tally, tail = Tally(), LogTail([stack.home / f"{name}.log" for name in WORKERS])
    with running(stack):
        console.print(addresses(stack))
        _write_env(stack)
        console.print(f"Commands: cd {stack.home} && celery -A tasks status", soft_wrap=True)
        with Live(console=console, refresh_per_second=4) as live:
            while True:
                for outcome in tail.read():
                    tally.add(outcome)
                live.update(view(stack, tally, ["Ctrl-C stops everything that this started."]))
                time.sleep(0.5)
