"""Celery on RabbitMQ: replicated queues, confirmed messages, delays that the broker keeps. Pure: nothing connects."""

from __future__ import annotations

from typing import Any

HEARTBEAT_S = 20
"""After two of them without a sign RabbitMQ gives what a worker holds to another one."""

QUEUE: dict[str, Any] = {"queue_arguments": {"x-queue-type": "quorum"}}
"""Options of each queue: on every node's disk before a message counts as sent, and redelivered after a lost node.

Queues that exist with another type are refused by RabbitMQ; delete those of an earlier deployment first.
"""

EXCHANGE: dict[str, Any] = {"type": "topic"}
"""Options of each exchange: Celery's native delayed delivery reaches no queue behind a direct one."""

TRANSPORT: dict[str, Any] = {
    # A candle is complete when its signals are in the broker: only a confirmed message is.
    "confirm_publish": True,
    "connect_timeout": 5.0,
}
"""Options of kombu's transport."""

CONFIG: dict[str, Any] = {
    "broker_heartbeat": HEARTBEAT_S,
    # No prefetch count is shared by the consumers of a channel there, and no worker can hold a task until its time.
    "worker_detect_quorum_queues": True,
    "broker_native_delayed_delivery_queue_type": "quorum",
}
"""Celery's settings over those for any broker."""
