"""The key of a delivery, made from the arguments that it carries.

=====================================  ==========================================================================
key                                    of
=====================================  ==========================================================================
``task:{name}:{arguments}``            a task, by all its arguments: ``task:shop.ship:order_id=17,note=``
``task:{name}:{rendered}``             by a template or function: ``task:shop.ship:17``
``task:{name}:sha256:{digest}``        either, where it would be longer than `MAX_CHARS`
``task:{name}``                        a task without arguments
=====================================  ==========================================================================

Arguments are bound to the task's signature first, so that ``ship(17)``, ``ship(order_id=17)`` and a default that is
given are the same work. They are percent-encoded, so no argument can forge another key, match as a pattern, or move a
key to another Cluster slot. Text and numbers differ: ``17`` and ``"17"`` are two keys, except in a template.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from string import Formatter
from typing import Any
from urllib.parse import quote
from uuid import UUID

from dedup.errors import InvalidInput, InvalidSetting

MAX_CHARS = 200
_SAFE = "@+"
_SCALARS = (str, int, float, bool, type(None), datetime, date, time, Decimal, UUID, Enum)
_COLLECTIONS = (list, tuple, dict)


def template_names(template: str) -> set[str]:
    """The arguments that a template names.

    Raises:
        InvalidSetting: it cannot be read.
    """
    try:
        fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise InvalidSetting("once.key", template, f"is no template: {error}") from None
    return {field.partition(".")[0].partition("[")[0] for field in fields}


def check_names(task: str, names: set[str], signature: inspect.Signature) -> None:
    """Refuse a key that names what is no argument of its task.

    Raises:
        InvalidSetting: names the argument that there is not, and those that there are.
    """
    missing = sorted(names - set(signature.parameters))
    takes_any = any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())
    if missing and not takes_any:
        remedy = f"is no argument of the task; there are: {', '.join(signature.parameters) or 'none'}"
        raise InvalidSetting(f"once.key of {task}", ", ".join(missing), remedy)


def bound(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by name, in the signature's order, with defaults.

    Raises:
        TypeError: they do not fit the signature.
    """
    there = signature.bind(*args, **kwargs)
    there.apply_defaults()
    return dict(there.arguments)


def key_of(
    prefix: str,
    task: str,
    key: str | Callable[..., object] | None,
    key_args: Sequence[str] | None,
    call: tuple[inspect.Signature, Sequence[Any], Mapping[str, Any]],
) -> str:
    """The key of one delivery.

    Args:
        prefix: separates deployments that share a server.
        task: its name.
        key, key_args: see `dedup.celery.Once`.
        call: the task's signature, and the arguments.

    Raises:
        InvalidInput: an argument in the key is nothing plain, or the key comes out empty.
        TypeError: the arguments do not fit the signature.
    """
    signature, args, kwargs = call
    arguments = bound(signature, args, kwargs)
    stem = f"{prefix}task:{quote(task, safe='')}"
    if key is None and key_args is None:
        rest = _by_name(task, _given(signature, arguments))
    elif key_args is not None:
        rest = _by_name(task, {name: _named(task, name, signature, arguments) for name in key_args})
    elif isinstance(key, str):
        rest = _rendered(task, key, signature, arguments)
    else:
        rest = _computed(task, key, args, kwargs)
    if not rest:
        return stem
    return f"{stem}:{rest if len(rest) <= MAX_CHARS else f'sha256:{hashlib.sha256(rest.encode()).hexdigest()}'}"


def _given(signature: inspect.Signature, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Without ``*args`` and ``**kwargs`` that are empty."""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        name: value for name, value in arguments.items() if signature.parameters[name].kind not in variable or value
    }


def _named(task: str, name: str, signature: inspect.Signature, arguments: Mapping[str, Any]) -> Any:
    if name in arguments:
        return arguments[name]
    for more in (name for name, each in signature.parameters.items() if each.kind is each.VAR_KEYWORD):
        if name in arguments[more]:
            return arguments[more][name]
    raise InvalidInput(f"key of {task}", name, "the delivery has no such argument")


def _by_name(task: str, arguments: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={_encoded(task, value)}" for name, value in arguments.items())


def _rendered(task: str, template: str, signature: inspect.Signature, arguments: Mapping[str, Any]) -> str:
    fields = {name: _named(task, name, signature, arguments) for name in template_names(template)}
    try:
        rest = _Encoding(task).vformat(template, (), fields)
    except (LookupError, AttributeError, ValueError) as error:
        raise InvalidInput(f"key of {task}", template, f"cannot be filled in: {error!r}") from None
    # The template's own characters come from the program, and stay as they are as far as they cannot do harm.
    return quote(rest, safe="%:,=@+/|;")


def _computed(task: str, key: Callable[..., object] | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    value = None if key is None else key(*args, **kwargs)
    if value is None or value == "":
        raise InvalidInput(f"key of {task}", repr(value), "the function must give something plain that is not empty")
    return quote(value, safe=":,=@+/|;") if isinstance(value, str) else _encoded(task, value)


class _Encoding(Formatter):
    """Fills a template in with percent-encoded arguments."""

    def __init__(self, task: str) -> None:
        self._task = task

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, _COLLECTIONS) and not format_spec:
            return _encoded(self._task, value)
        if not isinstance(value, _SCALARS):
            raise _not_plain(self._task, value)
        return quote(format(value, format_spec), safe=_SAFE)


def _encoded(task: str, value: Any) -> str:
    text = value if isinstance(value, str) and not _reads_as_json(value) else _json(task, value)
    return quote(text, safe=_SAFE)


def _reads_as_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _json(task: str, value: Any) -> str:
    def plain(other: object) -> Any:
        if isinstance(other, datetime) and other.utcoffset() is not None:
            return other.astimezone(UTC).isoformat()
        if isinstance(other, (date, time)):
            return other.isoformat()
        if isinstance(other, (Decimal, UUID)):
            return str(other)
        if isinstance(other, Enum):
            return other.value
        raise TypeError(type(other).__name__)

    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=plain)
    except (TypeError, ValueError, RecursionError):
        raise _not_plain(task, value) from None


def _not_plain(task: str, value: object) -> InvalidInput:
    # Not the value itself: an object's repr may hold anything, and differs from process to process.
    remedy = "is nothing plain (text, numbers, times, lists, dicts): choose other arguments with once=Once(key=…)"
    return InvalidInput(f"key of {task}", type(value).__name__, remedy)
