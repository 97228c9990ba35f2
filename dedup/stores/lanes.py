"""Connections that stay with a store between its commands.

A pool checks each connection that it hands out and takes back: a third of what a command costs over loopback, in six
system calls. A lane is a client that has its connection already. A few of them are kept; any number may be under way.
Batches, where that matters little, go over the pool's.
"""

from __future__ import annotations

import os
from typing import Any

import redis
from redis import exceptions as redis_errors
from redis.sentinel import SentinelConnectionPool

KEPT = 8
"""How many idle lanes are kept. Each is a connection that the pool does not have."""

ROOM = 4 * KEPT
"""A pool with room for fewer connections is left all that it has."""


class Lanes:
    """Runs single commands of one client. Safe in threads, greenlets and after forks.

    A lane that was interrupted between a command and its reply (a time limit, Ctrl-C) is not used again: the reply
    would be taken for that of the next command.

    Args:
        client: the commands go over connections of its pool.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._pid = os.getpid()
        # A list's pop and append are atomic: no lock.
        self._idle: list[redis.Redis] = []

    def execute_command(self, *words: str | int, **options: Any) -> Any:
        """Any command."""
        lane: Any = self._taken()
        try:
            reply = lane.execute_command(*words, **options)
        except redis_errors.ResponseError:
            self._give_back(lane)
            raise
        except BaseException:
            _end(lane)
            raise
        self._give_back(lane)
        return reply

    def evalsha(self, sha: str, count: int, *keys_and_args: str | int) -> Any:
        """``EVALSHA``."""
        return self.execute_command("EVALSHA", sha, count, *keys_and_args)

    def eval(self, text: str, count: int, *keys_and_args: str | int) -> Any:
        """``EVAL``."""
        return self.execute_command("EVAL", text, count, *keys_and_args)

    def close(self) -> None:
        """Give the connections back to the pool. The lanes may be used again."""
        idle, self._idle = self._idle, []
        for lane in idle:
            lane.close()

    def _taken(self) -> redis.Redis:
        if self._pid != os.getpid():
            # The connections are the parent's.
            self._idle, self._pid = [], os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return redis.Redis(connection_pool=self._pool, single_connection_client=True)

    def _give_back(self, lane: redis.Redis) -> None:
        if len(self._idle) < KEPT:
            self._idle.append(lane)
        else:
            lane.close()


def _end(lane: redis.Redis) -> None:
    connection: Any = lane.connection
    if connection is not None:
        connection.disconnect()
    lane.close()


def lanes_of(client: Any) -> Lanes | None:
    """Lanes of a client, None where its pool has no connections to spare, or is of a kind of its own."""
    if not isinstance(client, redis.Redis) or client.connection is not None:
        return None
    pool = client.connection_pool
    plain = type(pool) in (redis.ConnectionPool, SentinelConnectionPool)
    return Lanes(client) if plain and pool.max_connections >= ROOM else None
