"""What goes over the wire for an operation, and what comes back: shared by the sync and the async store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dedup.ops import Op


def keys_and_args(op: Op[Any]) -> tuple[str | int, ...]:
    """What ``EVAL`` and ``EVALSHA`` take behind the number of keys."""
    return (*op.keys(), *op.args())


def in_order(ops: Sequence[Op[Any]]) -> Iterator[tuple[Op[Any], bool]]:
    """Each operation, and whether it is the first of its script: that one goes as ``EVAL``, with the script's text.

    A server that has lost some of the scripts would otherwise run the rest of the batch out of order.
    """
    known: set[str] = set()
    for op in ops:
        yield op, op.script not in known
        known.add(op.script)


def decoded(reply: Any) -> Any:
    """The reply with bytes as text, whether or not the client decodes responses.

    A foreign value may be binary: what is not UTF-8 is written as ``\\xff``.
    """
    if isinstance(reply, bytes):
        return reply.decode("utf-8", "backslashreplace")
    if isinstance(reply, list):
        return [decoded(part) for part in reply]
    return reply
