"""kombu's Redis transport, for brokers to which more people can write than one would like.

What cannot be read is moved to the list `UNREADABLE`, is told, and the worker goes on; kombu itself would end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import redis
from celery.app import amqp
from kombu import Connection as KombuConnection
from kombu.connection import ConnectionPool, PooledConnection
from kombu.transport import redis as kombu_redis

from tasks.envelope import problem_with_text

log = logging.getLogger("candlelatch.transport")

UNREADABLE = "candlelatch:unreadable"
"""A list of what could not be read, newest first; behind `KEY_PREFIX` where one is set."""

REPLIES = ".reply.celery.pidbox"
"""How the queues end in which replies to control commands arrive."""

UNREADABLE_ENTRIES = 1000
UNREADABLE_BYTES = 65_536


class _QoS(kombu_redis.QoS):
    channel: Any

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Bring back what was not acknowledged in time, in those who work.

        Flower and the commands, which consume replies and events, need no right to any queue for it.
        """
        if any(not queue.endswith(REPLIES) for queue in self.channel.active_queues):
            super().restore_visible(*args, **kwargs)

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """As the inherited one, which lets one unreadable entry keep all others from coming back."""
        try:
            super().restore_by_tag(tag, client=client, leftmost=leftmost)
        except (redis.RedisError, OSError):
            raise
        except Exception as error:
            self.channel.give_up_unacked(tag, f"no message ({type(error).__name__})")


class _Reading:
    """What a channel does about messages that cannot be read."""

    def _create_client(self, asynchronous: bool = False) -> Any:
        client = super()._create_client(asynchronous=asynchronous)  # type: ignore[misc]
        pops = client.response_callbacks["BRPOP"]

        def readable(reply: Any, **options: Any) -> Any:
            popped = pops(reply, **options)
            if not popped:
                return popped
            queue, item = popped
            problem = problem_with_text(item)
            if not problem:
                return popped
            self.set_aside([item], _text(queue), problem)
            return None

        client.set_response_callback("BRPOP", readable)
        return client

    def _has_queue(self: Any, queue: str, **_: Any) -> bool:
        """kombu's own leaves the prefix out of this one question, and never finds a queue behind one."""
        keys = [self.global_keyprefix + self._q_for_pri(queue, priority) for priority in self.priority_steps]
        return bool(self._plain_client().exists(*keys))

    def _handle_message(self, client: Any, reply: Any) -> Any:
        payload = super()._handle_message(client, reply)  # type: ignore[misc]
        if not _text(payload["type"]).endswith("message"):
            return payload
        problem = problem_with_text(payload["data"])
        if not problem:
            return payload
        # Not kept: it went to everybody, and what it asked for is over.
        log.error("unreadable message to all at %s dropped: %s", _text(payload["channel"]), problem)
        return payload | {"type": "dropped"}

    def give_up_unacked(self: Any, tag: Any, problem: str) -> None:
        """Move an entry that was not acknowledged, and cannot be delivered again, to `UNREADABLE`."""
        client = self._plain_client()
        prefix = self.global_keyprefix
        item = client.hget(prefix + self.unacked_key, tag)
        self.set_aside([item] if item else [], self.unacked_key, problem)
        client.zrem(prefix + self.unacked_index_key, tag)
        client.hdel(prefix + self.unacked_key, tag)

    def set_aside(self: Any, items: Iterable[Any], where: str, problem: str) -> None:
        """Keep what cannot be read, bounded, and say so. What it holds is not shown: it may be anything."""
        for item in items:
            log.error(
                "unreadable message in %s: %s; its %d bytes are kept in %s", where, problem, len(item), UNREADABLE
            )
            key = self.global_keyprefix + UNREADABLE
            try:
                pipe = self._plain_client().pipeline(transaction=False)
                pipe.lpush(key, item[:UNREADABLE_BYTES])
                pipe.ltrim(key, 0, UNREADABLE_ENTRIES - 1)
                pipe.execute()
            except redis.RedisError as error:
                # It is rubbish, and reading goes on.
                log.error("could not keep it: %s", error)  # noqa: TRY400 the message says it all

    def unreadable_count(self: Any) -> int:
        """How many messages are set aside."""
        return int(self._plain_client().llen(self.global_keyprefix + UNREADABLE))

    def _plain_client(self: Any) -> Any:
        """kombu's own client would put the prefix before some commands' keys and not before others'."""
        return redis.Redis(connection_pool=self.pool)


class Channel(_Reading, kombu_redis.Channel):
    """A channel of one server."""

    QoS = _QoS


class SentinelChannel(_Reading, kombu_redis.SentinelChannel):
    """A channel of the primary behind Sentinels."""

    QoS = _QoS


class Transport(kombu_redis.Transport):
    """One server."""

    Channel = Channel


class SentinelTransport(kombu_redis.SentinelTransport):
    """The primary behind Sentinels."""

    Channel = SentinelChannel


READING: dict[Any, Any] = {kombu_redis.Transport: Transport, kombu_redis.SentinelTransport: SentinelTransport}


class _Careful:
    """A connection that reads with care where the broker is Redis."""

    def get_transport_cls(self) -> Any:
        """kombu's transport, or its careful twin."""
        found = super().get_transport_cls()  # type: ignore[misc]
        return READING.get(found, found)


class _Pooled(_Careful, PooledConnection):
    """One of a pool, as commands and their replies use."""


class _Pool(ConnectionPool):
    def new(self) -> Any:
        return _Pooled(self, **dict(self.connection._info(resolve=False)))


class Connection(_Careful, KombuConnection):
    """A connection that reads with care, and whose pools do."""

    def Pool(self, limit: int | None = None, **kwargs: Any) -> Any:  # noqa: N802 kombu's name
        """A pool of connections like this one."""
        return _Pool(self, limit, **kwargs)


class AMQP(amqp.AMQP):
    """Makes the app's connections."""

    Connection = Connection
    BrokerConnection = Connection


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
