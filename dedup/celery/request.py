"""How a worker's main process sees a delivery: it outlives the child, and ends the claim of one that was killed."""

from __future__ import annotations

import logging
from typing import Any

from billiard.exceptions import Terminated, WorkerLostError
from celery.worker.request import Request

from dedup.celery.delivery import TOKEN
from dedup.ops import Peek
from dedup.records import State
from dedup.rules import new_token

log = logging.getLogger("dedup.celery")


class OnceRequest(Request):
    """The request of an `OnceTask`.

    It gives each delivery its token, so that when a child is killed (out of memory, ``kill -9``, a revoke) the claim
    ends with it, at once, and not with the lease.
    """

    def __init__(self, message: Any, *args: Any, **options: Any) -> None:
        super().__init__(message, *args, **options)
        # In the properties, because headers are copied to a task's retries.
        self.request_dict["properties"] = {**(self.request_dict.get("properties") or {}), TOKEN: new_token()}

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """As Celery's. The claim ends first, because this may put the message back into the queue."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        # A hard time limit comes here before the child is killed: its claim is left to the child and the lease.
        if isinstance(error, (Terminated, WorkerLostError)):
            self._end_claim(error)
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def _end_claim(self, error: Exception) -> None:
        try:
            self._settle(error)
        except Exception:
            # Whatever it is, the worker goes on, and the lease runs out.
            log.exception("%s[%s]: its claim is left to its lease", self.task.name, self.id)

    def _settle(self, error: Exception) -> None:
        task: Any = self.task
        token = self.request_dict["properties"][TOKEN]
        key = task.once_key(self.args, self.kwargs)
        record = task.once_store().run(Peek(key)).record
        # Its child is gone, so what is not its own by now never will be.
        if record is None or record.token != token or record.state is not State.CLAIMED:
            return
        reason = f"killed: {error}"
        died = not isinstance(error, Terminated)
        rules = task.once
        op = rules.doubt(key, token, reason) if rules.effect else rules.release(key, token, reason, died=died)
        task.once_store().run(op)
        log.warning("%s: %s", key, reason)
