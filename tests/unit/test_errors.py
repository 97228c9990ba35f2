"""The tree of errors: as drawn, and fit to travel between processes."""

from __future__ import annotations

import copy
import importlib
import pickle
import pkgutil
import re
from collections.abc import Iterator

import click
import pytest

import dedup
import dedup.errors
import tasks
from dedup.errors import DedupError, InvalidInput

# The HTTP client knows a time-out by its class, and the `celery` command a message for its user.
OTHERS_EXPECT = (TimeoutError, click.ClickException)


def _import_everything() -> None:
    for package in (dedup, tasks):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def _descendants(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


def _ours(kind: type[BaseException]) -> bool:
    return kind.__module__.partition(".")[0] in ("dedup", "tasks")


_import_everything()
ERRORS = sorted(
    {DedupError, *(kind for kind in _descendants(DedupError) if _ours(kind))}, key=lambda kind: kind.__name__
)


def _drawn() -> dict[str, str | None]:
    """Each name in the docstring's drawing with the name above it."""
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in (dedup.errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"    (?P<branches>(?:│   |    )*(?:[├└]── )?)(?P<name>[A-Z]\w+)\b.*", line)
        if match:
            depth = len(match["branches"]) // 4
            del path[depth:]
            parents[match["name"]] = path[-1] if path else None
            path.append(match["name"])
    return parents


def test_tree_is_as_drawn() -> None:
    """The tree in the module's docstring is the real one: no class is missing in it, and none is under another."""
    real = {kind.__name__: kind.__bases__[0].__name__ for kind in ERRORS if kind is not DedupError}
    assert _drawn() == {"DedupError": None, **real}


def test_every_error_of_ours_is_in_the_tree() -> None:
    """Whoever catches `DedupError` catches all that is ours; besides there is only what others' code expects."""
    # A name with an underscore says that the module which raises it also catches it.
    outside = {kind for kind in _descendants(Exception) if _ours(kind) and kind.__name__[0] != "_"} - set(ERRORS)
    assert [kind for kind in outside if not issubclass(kind, OTHERS_EXPECT)] == []


def _made(kind: type[BaseException]) -> BaseException:
    if issubclass(kind, InvalidInput):
        return kind("CANDLE_TTL", "-1", "give a number of seconds above zero, as in 3600 ✓")
    return kind("the feed said 503 ✓")


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_errors_survive_pickling(kind: type[BaseException], protocol: int) -> None:
    """Every error comes out of a pickle with its class, message, arguments and attributes."""
    error = _made(kind)
    again = pickle.loads(pickle.dumps(error, protocol))
    assert (type(again), str(again), again.args) == (kind, str(error), error.args)
    assert vars(again) == vars(error)
    assert str(copy.copy(error)) == str(error)


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_can_be_made_from_their_arguments(kind: type[BaseException]) -> None:
    """Celery's JSON results make an error anew from its class and `args`: it says the same."""
    error = _made(kind)
    assert str(kind(*error.args)) == str(error)


@pytest.mark.parametrize("kind", [kind for kind in ERRORS if issubclass(kind, InvalidInput)])
def test_invalid_input_names_value_and_remedy(kind: type[InvalidInput]) -> None:
    """A refused value is a ValueError that names what was wrong, the value, and what to write instead."""
    error = kind("CANDLE_TTL", -1, "give a number of seconds above zero")
    assert isinstance(error, ValueError)
    assert str(error) == "CANDLE_TTL = '-1': give a number of seconds above zero"
    assert (error.what, error.value, error.remedy) == ("CANDLE_TTL", "-1", "give a number of seconds above zero")


def test_value_that_cannot_be_pickled_is_kept_as_text() -> None:
    """Whatever was given as the value, the error can be sent to another process."""
    error = InvalidInput("strategy", lambda bars: bars, "give a dotted path")
    assert "lambda" in pickle.loads(pickle.dumps(error)).value
