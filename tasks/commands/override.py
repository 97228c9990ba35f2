"""`status` is this pipeline's for this pipeline's app, and Celery's own for any other in the same environment.

Celery adds its own commands after those of plugins, under the names that they have in `celery.bin.celery`. While it
loads plugins, which is when it imports this module, its `status` can still be replaced there.
"""

from __future__ import annotations

from typing import Any

import celery.bin.celery as celery_commands
import click
from celery.bin.control import status as celerys

from tasks.commands.status import status as ours


class _ByApp(click.Command):
    """Whichever `status` belongs to the app that ``-A`` names."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse for the one of the two that is meant."""
        app = getattr(parent.obj if parent else None, "app", None)
        meant = ours if app is None or app.main == "candlelatch" else celerys
        return meant.make_context(info_name, args, parent, **extra)


status = _ByApp("status", help=ours.help, params=[], short_help="Show what has become of the last candles.")
vars(celery_commands)["status"] = status
