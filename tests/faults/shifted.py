"""Celery on a machine whose clock is wrong: `python -m tests.faults.shifted celery -A tasks worker`. For tests only.

`FAULT_CLOCK_S` says by how many seconds it is ahead. Every clock of the wall that Python has is shifted before anything
of ours or of Celery's is imported; monotonic ones are right, as they are on such a machine.
"""

from __future__ import annotations

import datetime
import os
import runpy
import sys
import time
from typing import Any

import talib  # noqa: F401 what is compiled against `datetime` has to find the real one

SHIFT_S = float(os.environ["FAULT_CLOCK_S"])

_Datetime, _time, _time_ns = datetime.datetime, time.time, time.time_ns


class _AlsoTheRealOne(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _Datetime)


class Datetime(_Datetime, metaclass=_AlsoTheRealOne):
    """`datetime.datetime` by the wrong clock."""

    __slots__ = ()

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        """The wrong time."""
        return super().now(tz) + datetime.timedelta(seconds=SHIFT_S)

    @classmethod
    def utcnow(cls) -> Any:
        """The wrong time, naive."""
        return cls.now(datetime.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> Any:
        """The wrong time, naive."""
        return cls.now()


def main() -> None:
    """Shift the clocks and be what is named."""
    time.time = lambda: _time() + SHIFT_S
    time.time_ns = lambda: _time_ns() + int(SHIFT_S * 1_000_000_000)
    datetime.datetime = Datetime  # type: ignore[misc]
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
