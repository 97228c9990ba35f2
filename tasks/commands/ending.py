"""How commands end: one table of exit codes, and errors as a sentence instead of a trace."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from tasks.runtime import Pipeline


class Exit(IntEnum):
    """Exit codes of every command, as ``docs/cli.md`` lists them. The last ones are those of ``sysexits.h``."""

    FINE = 0
    FOUND = 1
    """It worked, and found something that somebody should look at; or it was refused."""
    USAGE = 2
    UNAVAILABLE = 69
    SETTINGS = 78


EPILOG = (
    "Exit codes: 0 fine; 1 found something (held, failed, missing), or refused; 2 wrong usage; "
    "69 Redis, broker or source away; 78 settings or watchlist wrong."
)


class Command(click.Command):
    """A command whose errors are sentences with the exit code of their kind."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"epilog": EPILOG, **kwargs})

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        for name in ("dedup", "candlelatch"):
            # Errors end in a sentence; what leads up to them is for workers' logs.
            logging.getLogger(name).addHandler(logging.NullHandler())
        with _ended():
            return super().invoke(ctx)


class Group(click.Group):
    """A group of such commands."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"epilog": EPILOG, **kwargs})


@contextmanager
def _ended() -> Iterator[None]:
    try:
        yield
    except (click.exceptions.Exit, click.ClickException, click.Abort):
        raise
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        refuse(code, str(error))


def exit_code(error: BaseException) -> Exit | None:
    """The exit code of an error; None for one that is a mistake in the program."""
    from kombu.exceptions import OperationalError

    from dedup.errors import InvalidInput, InvalidSetting, SourceError, StoreError

    kinds: tuple[tuple[type[BaseException], Exit], ...] = (
        (StoreError, Exit.UNAVAILABLE),
        (OperationalError, Exit.UNAVAILABLE),
        (SourceError, Exit.UNAVAILABLE),
        (InvalidSetting, Exit.SETTINGS),
        (InvalidInput, Exit.USAGE),
    )
    return next((code for kind, code in kinds if isinstance(error, kind)), None)


def refuse(code: Exit, message: str) -> NoReturn:
    """Say why, and end."""
    click.echo(f"Error: {message}", err=True)
    sys.exit(code)


def finish(found: bool) -> NoReturn:
    """End: 1 where something was found that somebody should look at."""
    sys.exit(Exit.FOUND if found else Exit.FINE)


def as_json(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--json``, which comes as `machine`."""
    return click.option("--json", "machine", is_flag=True, help="One JSON document instead of tables.")(function)


def echo_json(document: Any) -> None:
    """Print a document."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


@contextmanager
def about_settings() -> Iterator[None]:
    """Whatever is wrong here is a matter of settings and watchlist, not of how the command was called."""
    from dedup.errors import InvalidInput, InvalidSetting

    try:
        yield
    except InvalidSetting:
        raise
    except InvalidInput as error:
        raise InvalidSetting(error.what, error.value, error.remedy) from None


def open_line(sends: bool = False) -> Pipeline:
    """This command's own view of the pipeline, from the environment. Nothing connects yet.

    Args:
        sends: it will send tasks, with the configuration that the workers have.

    Raises:
        InvalidSetting: settings or watchlist are wrong, or no other process can know the records.
    """
    from dedup.errors import InvalidSetting
    from tasks.runtime import make_pipeline, pipeline
    from tasks.settings import load_settings

    with about_settings():
        line = pipeline() if sends else make_pipeline(load_settings())
    if not line.settings.redis_enabled:
        remedy = "records are in the workers' own memory, which no other process can see; set it to true"
        raise InvalidSetting("REDIS_ENABLED", "false", remedy)
    return line
