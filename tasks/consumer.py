"""Celery's consumer, which outlives every message that its broker may hand it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery.signals import task_rejected
from celery.worker.consumer import Consumer as CeleryConsumer

from tasks.envelope import problem_with_headers

log = logging.getLogger("candlelatch.consumer")


class Consumer(CeleryConsumer):
    """Refuses a message whose headers Celery stumbles over.

    Celery itself would end, leave the message unacknowledged, and stumble again when it is delivered again.
    """

    connection_errors: tuple[type[Exception], ...]
    channel_errors: tuple[type[Exception], ...]

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """What is called with every message of a task queue."""
        handle = super().create_task_handler(*args, **kwargs)
        # To kombu a KeyError is a lost connection, so that it would come again and again.
        passing = tuple(kind for kind in (*self.connection_errors, *self.channel_errors) if kind is not KeyError)

        def on_task_received(message: Any) -> None:
            problem = problem_with_headers(message.headers)
            if problem:
                self._refuse(message, problem)
                return
            try:
                handle(message)
            except passing:
                raise
            except Exception as error:
                self._refuse(message, f"it raised {type(error).__name__}")

        return on_task_received

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """A body that cannot be read, or that nobody should read."""
        super().on_decode_error(message, exc)
        task_rejected.send(sender=self, message=message, exc=exc)

    def _refuse(self, message: Any, problem: str) -> None:
        # Not the message itself, which may hold anything.
        log.error("refused a message that is no task: %s", problem)
        task_rejected.send(sender=self, message=message, exc=None)
        if not message.acknowledged:
            message.reject_log_error(log, self.connection_errors)
