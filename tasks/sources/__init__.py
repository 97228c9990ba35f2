"""Sources of bars: the shipped ones by name, others by their dotted path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from dedup.errors import InvalidSetting
from tasks import plugins
from tasks.sources.clock import Clock, utc_now
from tasks.sources.csv_file import CsvSource
from tasks.sources.http_json import HttpSource
from tasks.sources.protocol import Source
from tasks.sources.replay import ReplaySource
from tasks.sources.window import Window, WindowState, window_of

__all__ = [
    "CsvSource",
    "HttpSource",
    "ReplaySource",
    "Source",
    "Window",
    "WindowState",
    "make_source",
    "window_of",
]

_SHIPPED: Mapping[str, Callable[..., Source]] = {"replay": ReplaySource, "csv": CsvSource, "http": HttpSource}


def make_source(name: str, options: Mapping[str, Any] | None = None, now: Clock = utc_now) -> Source:
    """Make the source that a watchlist names.

    Args:
        name: `replay`, `csv` or `http`, or the path of a class or function that makes a source:
            `package.module:Name` or `package.module.Name`.
        options: its keyword arguments, as the watchlist has them.
        now: the pipeline's clock, passed as `now` to what has a parameter of that name.

    Raises:
        InvalidInput: no such source, an option that it does not take, or a value that it refuses.
    """
    what = f"source {name}"
    if isinstance(name, str) and name in _SHIPPED:
        factory: Callable[..., Any] = _SHIPPED[name]
    elif isinstance(name, str) and plugins.is_dotted(name):
        factory = plugins.load(name, "source")
    else:
        raise InvalidSetting("source", name, f"write one of {', '.join(_SHIPPED)}, or package.module:Name")
    made = plugins.make(what, factory, options or {}, {"now": now})
    if not callable(getattr(made, "bars", None)):
        raise InvalidSetting(what, type(made).__name__, "has no method bars(candle, count); see tasks.sources.protocol")
    return cast("Source", made)
