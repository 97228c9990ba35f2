"""`dedup` and `dedup.aio` have the same names with the same signatures; what differs is whether one waits."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import dedup
import dedup.aio
from dedup import cache, candles, publisher
from dedup.aio import cache as aio_cache
from dedup.aio import candles as aio_candles
from dedup.aio import publisher as aio_publisher

MODULES = [(cache, aio_cache), (candles, aio_candles), (publisher, aio_publisher), (dedup, dedup.aio)]

NOT_AWAITED = {
    *("CandleCache.key", "SignalPublishCache.key", "SignalPublishCache.key_of", "connect"),
    "CandleDetector.should_process_candle",
}
"""What waits for nothing in either flavour."""

AWAITED_IN_BOTH = {"CandleDetector.should_process_candle_async"}

OWN_PARAMETERS = {"SignalPublisher.__init__": {"concurrency"}}
"""What only awaited code can be told."""

OWN_CLASSES = {"MemoryStore"}
"""The awaited one stands before the blocking one."""

FUNCTION = Callable[..., Any]


def pairs() -> dict[str, tuple[FUNCTION, FUNCTION]]:
    """Every public function and method of both flavours."""
    found: dict[str, tuple[FUNCTION, FUNCTION]] = {}
    for name in dedup.aio.__all__:
        blocking, awaited = getattr(dedup, name), getattr(dedup.aio, name)
        if not inspect.isclass(blocking):
            found[name] = blocking, awaited
        elif name not in OWN_CLASSES:
            for method in methods(blocking):
                found[f"{name}.{method}"] = getattr(blocking, method), getattr(awaited, method)
    return found


def methods(kind: type) -> list[str]:
    return [name for name, _ in inspect.getmembers(kind, inspect.isfunction) if shown(name)]


def members(kind: type) -> set[str]:
    return {name for name in dir(kind) if shown(name)}


def shown(name: str) -> bool:
    return not name.startswith("_") or name == "__init__"


def parameters(name: str, function: FUNCTION) -> list[tuple[Any, ...]]:
    """Names, kinds, types and defaults, without what differs by the flavour alone."""
    found = inspect.signature(function).parameters.values()
    own = OWN_PARAMETERS.get(name, set())
    return [(each.name, each.kind, plain(each.annotation), default(each)) for each in found if each.name not in own]


def default(parameter: inspect.Parameter) -> Any:
    value = parameter.default
    return value.__name__.lstrip("_") if inspect.isroutine(value) else value


def plain(annotation: Any) -> str:
    """A type as the blocking flavour writes it."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", repr(annotation))
    text = text.replace("redis.asyncio.", "redis.").replace("AsyncIterator", "Iterator").replace("Async", "")
    return text.replace("Awaitable[None]", "None")


@pytest.mark.parametrize(("blocking", "awaited"), MODULES, ids=lambda module: module.__name__)
def test_modules_have_the_same_names(blocking: ModuleType, awaited: ModuleType) -> None:
    """Whatever `dedup.aio` offers has a blocking counterpart, and modules of one name offer the same names."""
    if blocking is dedup:
        assert set(awaited.__all__) <= set(blocking.__all__)
    else:
        assert awaited.__all__ == blocking.__all__


@pytest.mark.parametrize("name", [name for name in dedup.aio.__all__ if inspect.isclass(getattr(dedup, name))])
def test_classes_have_the_same_members(name: str) -> None:
    """Every public method and property is in both."""
    blocking, awaited = members(getattr(dedup, name)), members(getattr(dedup.aio, name))
    if name in OWN_CLASSES:
        assert members(dedup.Store) <= blocking & awaited
    else:
        assert blocking == awaited


@pytest.mark.parametrize("name", pairs())
def test_signatures_are_the_same(name: str) -> None:
    """Parameters have the same names, kinds, types and defaults in both, and what is returned has the same type."""
    blocking, awaited = pairs()[name]
    assert parameters(name, awaited) == parameters(name, blocking)
    assert plain(inspect.signature(awaited).return_annotation) == plain(inspect.signature(blocking).return_annotation)


@pytest.mark.parametrize("name", [name for name in pairs() if not name.endswith(".__init__")])
def test_what_waits_is_awaited(name: str) -> None:
    """Whatever may wait is awaited in `dedup.aio`, and blocks in `dedup`."""
    blocking, awaited = pairs()[name]
    asynchronous = inspect.iscoroutinefunction(awaited) or inspect.isasyncgenfunction(awaited)
    # A protocol declares an asynchronous generator as a plain function.
    assert asynchronous == (name not in NOT_AWAITED and name != "Store.scan")
    assert inspect.iscoroutinefunction(blocking) == (name in AWAITED_IN_BOTH)
