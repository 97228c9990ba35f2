"""How many messages wait in the pipeline's queues, asked over a connection of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tasks.app import QUEUES, broker_options
from tasks.settings import Settings
from tasks.transport import Connection

PATIENCE_S = 5


def queue_lengths(settings: Settings) -> dict[str, int | None]:
    """Messages that wait, by queue; None for one that nobody has declared yet.

    Raises:
        kombu.exceptions.OperationalError: the broker is away. Some transports raise their own errors.
    """
    with _connected(settings) as connection:
        return {name: _waiting(connection, name) for name in QUEUES}


def unreadable_count(settings: Settings) -> int:
    """Messages that nobody could read, as far as they are kept: see `tasks.transport`. Redis only.

    Raises:
        Exception: as `queue_lengths`.
    """
    if not settings.broker.is_redis:
        return 0
    with _connected(settings) as connection:
        return int(connection.default_channel.unreadable_count())


@contextmanager
def _connected(settings: Settings) -> Iterator[Any]:
    broker = settings.broker
    with Connection(
        broker.url, ssl=broker.tls or False, transport_options=broker_options(settings), connect_timeout=PATIENCE_S
    ) as connection:
        connection.ensure_connection(max_retries=1, timeout=PATIENCE_S)
        yield connection


def _waiting(connection: Any, queue: str) -> int | None:
    channel = connection.channel()
    try:
        return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except connection.channel_errors:
        return None
    finally:
        channel.close()
