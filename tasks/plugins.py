"""Importing what a watchlist names, and making it from the options written there."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from dedup.errors import DedupError, InvalidSetting


def is_dotted(name: str) -> bool:
    """Whether `name` is a path to import, `package.module.attribute` or `package.module:attribute`."""
    return "." in name or ":" in name


def load(path: str, what: str) -> Any:
    """Import the object at `path`, either `package.module.attribute` or `package.module:attribute`.

    Args:
        path: the path as the watchlist has it.
        what: the setting it comes from, for the message.

    Raises:
        InvalidSetting: there is no such module or attribute, or the module raises while it is imported.
    """
    module_name, _, attribute = path.partition(":") if ":" in path else path.rpartition(".")
    if not module_name or not attribute:
        raise InvalidSetting(what, path, "write package.module:name or package.module.name")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InvalidSetting(what, path, _missing_module(module_name, error)) from error
    except Exception as error:
        remedy = f"importing {module_name} raised {type(error).__name__}: {error}"
        raise InvalidSetting(what, path, remedy) from error
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise InvalidSetting(what, path, f"{module_name} has no {attribute}") from error
    return found


def _missing_module(module_name: str, error: ModuleNotFoundError) -> str:
    if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
        return f"there is no module {error.name} on the import path of this process"
    return f"{module_name} needs the module {error.name}, which is not installed"


def make(what: str, factory: Callable[..., Any], options: Mapping[str, Any], extras: Mapping[str, Any]) -> Any:
    """Call `factory` with the options of a watchlist table.

    Args:
        what: the setting that names the factory, for messages.
        factory: a class or function.
        options: keyword arguments as the user wrote them.
        extras: keyword arguments that the pipeline offers; each is passed only where `factory` names it.

    Raises:
        InvalidSetting: an option that `factory` does not take, one that it needs and did not get, or `factory` raised.
    """
    if not callable(factory):
        raise InvalidSetting(what, factory, "is not callable; name a class or a function")
    taken = parameters(factory)
    offered = {name: value for name, value in extras.items() if taken is not None and name in taken}
    if taken is not None:
        check_arguments(what, taken, options, given=tuple(extras))
    try:
        return factory(**options, **offered)
    except DedupError:
        raise
    except Exception as error:
        raise InvalidSetting(
            what, f"{type(error).__name__}: {error}", "could not be made from these options"
        ) from error


def check_arguments(
    what: str, taken: Mapping[str, inspect.Parameter], options: Mapping[str, Any], given: tuple[str, ...] = ()
) -> None:
    """Refuse options that a call would not take, and a call that lacks one.

    Args:
        what: the setting that names the callable, for messages.
        taken: the parameters of the callable.
        options: keyword arguments as the user wrote them.
        given: parameters that someone else fills, so that `options` may not.

    Raises:
        InvalidSetting: an unknown option, or a missing one.
    """
    named = [name for name, p in taken.items() if p.kind in _BY_NAME and name not in given]
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken.values()):
        for name, value in options.items():
            if name not in named:
                raise InvalidSetting(f"{what}: {name}", value, f"is no option; there are {', '.join(named) or 'none'}")
    for name in given:
        if name in options:
            raise InvalidSetting(f"{what}: {name}", options[name], "is filled by the pipeline; leave it out")
    for name in named:
        if taken[name].default is inspect.Parameter.empty and name not in options:
            raise InvalidSetting(f"{what}: {name}", "missing", "this option is needed")


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def parameters(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    """What a callable takes, or None where it does not tell."""
    try:
        return inspect.signature(factory).parameters
    except (TypeError, ValueError):  # some callables written in C do not tell
        return None
