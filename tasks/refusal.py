"""How a process refuses to start: one line that says why, and an exit code that says that a restart does not help."""

from __future__ import annotations

import logging
from typing import NoReturn

import click

from dedup.errors import DedupError

log = logging.getLogger("candlelatch.refusal")

EX_CONFIG = 78
"""Exit code: someone has to change the configuration (`sysexits.h`; systemd: ``RestartPreventExitStatus=78``)."""


class Refusal(click.ClickException):
    """What the `celery` command prints in one line before it exits with `EX_CONFIG`."""

    exit_code = EX_CONFIG


def as_seen_by_caller(error: DedupError) -> Exception:
    """The error itself for code that uses the app, a `Refusal` for someone at the `celery` command."""
    context = click.get_current_context(silent=True)
    if context is None:
        return error
    from celery.bin.celery import celery

    return Refusal(str(error)) if context.find_root().command is celery else error


def refuse_to_start(error: DedupError) -> NoReturn:
    """End a worker or beat from within a Celery signal, which lets no other exception through."""
    log.critical("refusing to start: %s", error)
    raise SystemExit(EX_CONFIG)
