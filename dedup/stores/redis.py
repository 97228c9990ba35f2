"""Records in Redis (or Valkey): one atomic script per operation, one round trip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import redis
from redis import exceptions as redis_errors

from dedup.lua import script
from dedup.ops import Op
from dedup.stores.commands import decoded, in_order, keys_and_args
from dedup.stores.translate import translated

R = TypeVar("R")


class RedisStore:
    """A store on a `redis.Redis` client, best one of `dedup.stores.connect`; it may decode responses or not.

    The client may resend a command whose reply was lost: every operation of `dedup.ops` answers its own token alike the
    second time.
    """

    source = "redis"

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def run(self, op: Op[R]) -> R:
        """Run one operation: atomic, one round trip (``EVALSHA``; ``EVAL`` where the server lost the script)."""
        with translated():
            return op.parse(decoded(self._call(op)), self.source)

    def run_many(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """Run operations in order, in one round trip."""
        if not ops:
            return []
        with translated():
            replies = self._pipelined(ops)
            if any(isinstance(reply, redis_errors.NoScriptError) for reply in replies):
                # Another node of a Cluster, or a flush in between. The whole batch again and in order: an operation
                # answers its own token alike the second time.
                for name in {op.script for op in ops}:
                    self._client.script_load(script(name).text)
                replies = self._pipelined(ops)
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        return [op.parse(decoded(reply), self.source) for op, reply in zip(ops, replies, strict=True)]

    def get(self, key: str) -> str | None:
        """The stored text (``GET``)."""
        with translated():
            text: str | None = decoded(self._client.get(key))
            return text

    def put(self, key: str, text: str, ttl_ms: int) -> None:
        """Store a text for `ttl_ms` whatever was there (``SET … PX``)."""
        with translated():
            self._client.set(key, text, px=ttl_ms)

    def delete(self, *keys: str) -> int:
        """Delete keys and say how many there were (``UNLINK``)."""
        if not keys:
            return 0
        with translated():
            return int(self._client.unlink(*keys))

    def scan(self, pattern: str) -> Iterator[str]:
        """Keys that match a glob pattern (``SCAN``, never ``KEYS``)."""
        with translated():
            for key in self._client.scan_iter(match=pattern, count=1000):
                yield decoded(key)

    def close(self) -> None:
        """Give back the connections."""
        self._client.close()

    def _call(self, op: Op[Any]) -> Any:
        lua = script(op.script)
        try:
            return self._client.evalsha(lua.sha, len(op.keys()), *keys_and_args(op))
        except redis_errors.NoScriptError:
            return self._client.eval(lua.text, len(op.keys()), *keys_and_args(op))

    def _pipelined(self, ops: Sequence[Op[Any]]) -> list[Any]:
        with self._client.pipeline(transaction=False) as pipe:
            for op, first in in_order(ops):
                lua = script(op.script)
                if first:
                    pipe.eval(lua.text, len(op.keys()), *keys_and_args(op))
                else:
                    pipe.evalsha(lua.sha, len(op.keys()), *keys_and_args(op))
            return list(pipe.execute(raise_on_error=False))
