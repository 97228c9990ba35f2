"""What the API can answer, and what the store answered, in words."""

from __future__ import annotations

from typing import Any

from dedup.delivery import Attempted, Verdict
from dedup.ops import Answer, Claimed, Op, Peeked, Settled

CONNECT_REFUSED = Attempted(Verdict.NOT_SENT, "connect refused")
ASKED_TO_WAIT = Attempted(Verdict.REFUSED, "429 Too Many Requests", 429, 1.0)
REJECTED = Attempted(Verdict.REJECTED, "422 Unprocessable Content", 422)
POSTED = Attempted(Verdict.POSTED, "201 Created", 201)
NO_ANSWER = Attempted(Verdict.UNKNOWN, "read timeout")
FOUND = Attempted(Verdict.POSTED, "200 OK: the API has it", 200)
NOT_FOUND = Attempted(Verdict.UNKNOWN, "404 Not Found: the API does not have it", 404)


def named(op: Op[Any]) -> str:
    """An operation's name."""
    return f"`{op.script}`"


def told(op: Op[Any], reply: Any) -> str:
    """What an operation did, in words that follow the name of the delivery."""
    if isinstance(reply, Claimed):
        doubt = ", in doubt" if reply.answer is Answer.ACQUIRED and reply.record.in_doubt else ""
        return f"claims: {reply.answer.value}{doubt}"
    if isinstance(reply, Settled):
        outcome = getattr(op, "outcome", "")
        hold = " and hold" if getattr(op, "hold", False) else ""
        said = f"completes as {outcome}" if outcome else f"{op.script}s{hold}"
        return said if reply.acted else f"{said}: to no effect"
    if isinstance(reply, Peeked):
        return f"looks: {'nothing there' if reply.record is None else reply.record.state.value}"
    return "reads the mark"


def turned_away(reply: Any) -> bool:
    """Whether it is a claim's, and nothing was acquired."""
    return isinstance(reply, Claimed) and reply.answer is not Answer.ACQUIRED
