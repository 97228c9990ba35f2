"""What a message of the broker has to look like to be readable. Pure: no I/O.

Anyone who may write to the broker's lists may put anything there, and kombu takes what it pops for what it once wrote:
a list entry that is no JSON, or JSON of another shape, ends the worker that popped it.
"""

from __future__ import annotations

import binascii
import math
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any

from kombu.utils.json import loads

_ENCODINGS = (None, "", "base64")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_seconds_or_none(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf)


def _are_limits(value: object) -> bool:
    return value is None or (
        isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_seconds_or_none, value))
    )


_HEADERS: dict[str, Callable[[object], bool]] = {
    **dict.fromkeys(("task", "id"), _is_text),
    **dict.fromkeys(("lang", "argsrepr", "kwargsrepr", "origin", "shadow", "meth"), _is_text_or_none),
    **dict.fromkeys(("root_id", "parent_id", "group", "eta", "expires"), _is_text_or_none),
    **dict.fromkeys(("retries", "replaced_task_nesting"), lambda value: value is None or _is_count(value)),
    "group_index": lambda value: value is None or _is_count(value),
    "timelimit": _are_limits,
    "ignore_result": lambda value: value is None or isinstance(value, bool),
    "stamps": lambda value: value is None or isinstance(value, dict),
    "stamped_headers": lambda value: value is None or (isinstance(value, list) and all(map(_is_text, value))),
}
"""Headers of Celery's message protocol, version 2, and what each may hold."""


def problem_with_text(item: str | bytes) -> str:
    """What is wrong with an entry of a queue, empty where it can be delivered.

    Args:
        item: bytes or text, as Redis gives it.
    """
    try:
        message = loads(item)
    except Exception as error:
        # kombu's decoder also makes dates, numbers and ids, each with errors of its own.
        return f"no JSON ({type(error).__name__})"
    if not isinstance(message, dict):
        return f"a {type(message).__name__}, not an object"
    for name, holds in _CHECKS.items():
        if not holds(message):
            return f"its {name} cannot be used"
    return ""


def problem_with_headers(headers: object) -> str:
    """What is wrong with the headers of a task's message, empty where Celery can work with them.

    Celery reads some of them long after it has accepted the message: one that is wrong then costs a place in the pool.
    """
    if not isinstance(headers, Mapping):
        return f"its headers are a {type(headers).__name__}"
    for name, holds in _HEADERS.items():
        if (name in headers or name in ("task", "id")) and not holds(headers.get(name)):
            return f"its header {name} cannot be used"
    return ""


def _is_delivery(properties: Any) -> bool:
    if not isinstance(properties, dict) or not _is_text(properties.get("delivery_tag")):
        return False
    if not all(_is_text_or_none(properties.get(name)) for name in ("correlation_id", "reply_to")):
        return False
    delivery = properties.get("delivery_info")
    return isinstance(delivery, dict) and all(_is_text(delivery.get(name)) for name in ("exchange", "routing_key"))


def _is_body(message: dict[str, Any]) -> bool:
    body, encoding = message.get("body"), (message.get("properties") or {}).get("body_encoding")
    if encoding not in _ENCODINGS or not isinstance(body, str):
        return False
    try:
        b64decode(body if encoding else "")
    except (binascii.Error, ValueError):
        return False
    return True


_CHECKS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "properties": lambda message: _is_delivery(message.get("properties")),
    "headers": lambda message: isinstance(message.get("headers"), dict),
    "content type": lambda message: isinstance(message.get("content-type"), str),
    "content encoding": lambda message: isinstance(message.get("content-encoding"), str),
    "body": _is_body,
}
