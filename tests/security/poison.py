"""Messages that no client of ours would send."""

from __future__ import annotations

import json
import uuid
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

WRONG = (None, 1, -1, 1e400, True, "x", [], ["a"], {}, {"a": 1})
HEADERS = (
    *("task", "id", "lang", "argsrepr", "kwargsrepr", "origin", "shadow", "meth", "root_id", "parent_id", "group"),
    *("eta", "expires", "retries", "timelimit", "group_index", "ignore_result", "stamps", "stamped_headers"),
    *("replaced_task_nesting", "redelivered"),
)
PARTS = ("body", "headers", "properties", "content-type", "content-encoding")
PROPERTIES = (
    *("delivery_tag", "delivery_info", "body_encoding", "priority", "correlation_id", "reply_to", "delivery_mode"),
)

NO_MESSAGES: tuple[bytes, ...] = (
    *(b"garbage", b"", b"\xff\xfe\x00", b"1", b"NaN", b"null", b'"text"', b"[]", b"{}", b"[" * 100_000),
    *(b'{"__type__":"decimal","__value__":"x"}', b'{"__type__":"datetime","__value__":[]}'),
)
"""Entries of a queue's list that are no message at all."""

BODIES: tuple[Any, ...] = (
    *(None, 1, "x", [], {}, [1, 2, 3], [[], {}], [1, {}, {}], [[], [], {}], [[], {}, 1], [[], {}, {"callbacks": 1}]),
    *([[], {}, {"errbacks": [1]}], [[], {}, {"chain": [1]}], [[], {}, {"chord": "x"}]),
)


def envelope(body: Any = None, task: str = "sweep") -> dict[str, Any]:
    """A message as kombu writes it to Redis: of a task without arguments, where no body is given."""
    return {
        "body": b64encode(json.dumps([[], {}, {}] if body is None else body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": task, "id": str(uuid.uuid4()), "lang": "py", "argsrepr": "()", "kwargsrepr": "{}"},
        "properties": {
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "control", "routing_key": "control"},
            "body_encoding": "base64",
            "delivery_mode": 2,
            "priority": 0,
        },
    }


def distorted() -> Iterator[bytes]:
    """A good message with one thing in it wrong, for every thing and every kind of wrong. A few are still good."""
    for wrong in WRONG:
        for part in PARTS:
            yield _text(envelope() | {part: wrong})
        for name in HEADERS:
            message = envelope()
            message["headers"][name] = wrong
            yield _text(message)
        for name in PROPERTIES:
            message = envelope()
            message["properties"][name] = wrong
            yield _text(message)
    for body in BODIES:
        yield _text(envelope() | {"body": b64encode(json.dumps(body).encode()).decode()})


def _text(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()
