"""How a worker tells monitors (Flower, `celery events`) what became of a delivery.

Results come in words. An outcome that asks for a look is no ``task-succeeded`` event but one of its own, so that its
state is not the green SUCCESS of the others and can be searched for: ``state:HELD``. All this is about events alone:
the message is acknowledged, and the result kept, as ever.

========  ========  ====================================================
outcome   state     of
========  ========  ====================================================
held      HELD      a signal that waits for a person or a look-up
rejected  REFUSED   a signal that the API does not want
conflict  CONFLICT  a signal whose key another payload has
expired   EXPIRED   a signal, or a candle, that came too late
missing   MISSING   a candle without a bar
failed    FAILED    a candle that was given up
========  ========  ====================================================
"""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request

from tasks.shown import in_words, read_result

# REJECTED would be Celery's own: a message that no worker takes.
STATES = {
    "held": "HELD",
    "rejected": "REFUSED",
    "conflict": "CONFLICT",
    "expired": "EXPIRED",
    "missing": "MISSING",
    "failed": "FAILED",
}
"""The state that a monitor shows, by outcome. Any other outcome is a SUCCESS."""

_SUCCEEDED = "task-succeeded"


class OutcomeRequest(Request):
    """A worker's request whose events tell outcomes."""

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 Celery's name
        """Send an event about this task."""
        if type == _SUCCEEDED:
            type, fields["result"] = told(fields.get("result"), self.kwargsrepr)  # noqa: A001
        super().send_event(type, **fields)


def told(result: Any, shown: str) -> tuple[str, Any]:
    """The event for a task that ended well, and its result in words.

    Args:
        result: as Celery writes it into the event. What is no result of ours stays as it is.
        shown: the task's arguments as monitors show them: what stands there is left out.
    """
    fields = read_result(result)
    if fields is None:
        return _SUCCEEDED, result
    state = STATES.get(str(fields.get("outcome")))
    return f"task-{state.lower()}" if state else _SUCCEEDED, in_words(fields, shown)
