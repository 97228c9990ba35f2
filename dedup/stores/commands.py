"""What goes over the wire for an operation, and what comes back: shared by the sync and the async store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from redis import exceptions as redis_errors

from dedup.flows import Flow
from dedup.lua import script
from dedup.ops import Claim, Claimed, Op

R = TypeVar("R")
SOURCE = "redis"

Command = tuple[str | int, ...]
_UNDECIDED = object()


@dataclass(frozen=True, slots=True)
class Replies:
    """Raw replies to a batch, each of which may be an error, and the reply to what was waited for behind it."""

    of: list[Any]
    waited: Any = None


def running(client: Any, op: Op[R]) -> Flow[R]:
    """Run one operation on a blocking or an asynchronous client (``EVALSHA``; ``EVAL`` where the script is lost).

    A claim first tries a plain ``SET … NX GET``, which is the whole claim where nothing is there: the common case, for
    the price of a bare lock.
    """
    if isinstance(op, Claim):
        try:
            found = yield client.execute_command(*_opening(op), get=True)
        except redis_errors.ResponseError as error:
            if not _foreign_type(error):
                raise
        else:
            claimed = op.opened(decoded(found), SOURCE)
            if claimed is not None:
                return claimed
    lua = script(op.script)
    try:
        reply = yield client.evalsha(lua.sha, len(op.keys()), *keys_and_args(op))
    except redis_errors.NoScriptError:
        reply = yield client.eval(lua.text, len(op.keys()), *keys_and_args(op))
    return op.parse(decoded(reply), SOURCE)


def _opening(op: Claim) -> Command:
    text, ttl_ms = op.opening()
    return ("SET", op.key, text, "NX", "GET", "PX", ttl_ms)


def _foreign_type(error: object) -> bool:
    return isinstance(error, redis_errors.ResponseError) and str(error).startswith("WRONGTYPE")


def replying(client: Any, ops: Sequence[Op[Any]], behind: Command = ()) -> Flow[Replies]:
    """Run operations in order, in one round trip to one server. Errors are among the replies.

    A batch of nothing but claims of different keys goes as plain ``SET … NX GET``. Where one of them finds what only
    its script can judge, the batch goes again by scripts: a claim answers its own token alike the second time.

    Args:
        client: of one server.
        ops: at least one.
        behind: a command that is sent behind them.
    """
    opening = all(isinstance(op, Claim) for op in ops) and len({op.keys() for op in ops}) == len(ops)
    replies = yield from _pipelined(client, ops, behind, opening)
    if opening:
        replies = _opened(ops, replies)
    if any(reply is _UNDECIDED for reply in replies.of):
        replies = yield from _pipelined(client, ops, behind)
    if any(isinstance(reply, redis_errors.NoScriptError) for reply in replies.of):
        # A flush in between, or a server that is new here. The whole batch again and in order: an operation answers
        # its own token alike the second time.
        for name in {op.script for op in ops}:
            yield client.script_load(script(name).text)
        replies = yield from _pipelined(client, ops, behind)
    return replies


def _opened(ops: Sequence[Op[Any]], replies: Replies) -> Replies:
    """The replies with what each plain ``SET`` of a claim came to."""
    return Replies([_judged(op, reply) for op, reply in zip(ops, replies.of, strict=True)], replies.waited)


def _judged(op: Op[Any], reply: Any) -> Any:
    if not isinstance(op, Claim):
        return reply
    if isinstance(reply, Exception):
        return _UNDECIDED if _foreign_type(reply) else reply
    return op.opened(decoded(reply), SOURCE) or _UNDECIDED


def _pipelined(client: Any, ops: Sequence[Op[Any]], behind: Command, opening: bool = False) -> Flow[Replies]:
    pipe = client.pipeline(transaction=False)
    for op, first in in_order(ops):
        if opening and isinstance(op, Claim):
            pipe.execute_command(*_opening(op), get=True)
            continue
        lua = script(op.script)
        if first:
            pipe.eval(lua.text, len(op.keys()), *keys_and_args(op))
        else:
            pipe.evalsha(lua.sha, len(op.keys()), *keys_and_args(op))
    if behind:
        pipe.execute_command(*behind)
    # It gives its connection back by itself, whatever happens.
    found: list[Any] = yield pipe.execute(raise_on_error=False)
    return Replies(found[: len(ops)], found[len(ops)] if behind else None)


def asking(client: Any, op: Op[Any], behind: Command = ()) -> Flow[Replies]:
    """Run one operation on the server to which its slot is being moved (``ASKING``)."""
    pipe = client.pipeline(transaction=False)
    pipe.execute_command("ASKING")
    pipe.eval(script(op.script).text, len(op.keys()), *keys_and_args(op))
    if behind:
        pipe.execute_command(*behind)
    found: list[Any] = yield pipe.execute(raise_on_error=False)
    return Replies([found[1]], found[2] if behind else None)


def parsed(ops: Sequence[Op[Any]], replies: Sequence[Any]) -> list[Any]:
    """The meaning of raw replies.

    Raises:
        RedisError: the first of them that is one.
    """
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return [
        reply if isinstance(reply, Claimed) else op.parse(decoded(reply), SOURCE)
        for op, reply in zip(ops, replies, strict=True)
    ]


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
