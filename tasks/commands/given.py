"""Arguments of commands that are more than text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment as it was given: fixed, or so long ago. Market time."""

    at: datetime | None = None
    ago: timedelta = timedelta()

    def by(self, now: datetime) -> datetime:
        """The moment, where it is `now`."""
        return self.at or now - self.ago


class MomentType(click.ParamType[Moment]):
    """ISO-8601 with a zone, ``now``, or how long ago: ``90m``, ``2h``, ``3d``."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Moment:
        """Read it, or fail with what to write instead."""
        from dedup.errors import InvalidInput
        from dedup.timeframe import Timeframe, as_utc

        if isinstance(value, Moment):
            return value
        if value == "now":
            return Moment()
        try:
            return Moment(ago=Timeframe.parse(value).length)
        except InvalidInput:
            pass
        try:
            return Moment(at=as_utc(datetime.fromisoformat(value), "moment"))
        except ValueError:
            self.fail(f"{value!r}: write 2025-01-01T10:15:00Z, now, or how long ago, as in 2h", param, ctx)


MOMENT = MomentType()


def iso(moment: datetime) -> str:
    """ISO-8601 with Z."""
    return moment.isoformat().replace("+00:00", "Z")


def iso_ms(ms: int) -> str:
    """Milliseconds since the epoch as ISO-8601 with Z, to the second; empty for 0."""
    from datetime import UTC

    return iso(datetime.fromtimestamp(ms // 1000, UTC)) if ms else ""
