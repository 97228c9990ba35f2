"""What drives `dedup.publish_flow`, blocking or awaited: each request of the flow becomes a call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from dedup.delivery import Attempted, Message
from dedup.errors import StoreUnavailable
from dedup.flows import Flow
from dedup.observer import Observer
from dedup.ops import Op
from dedup.publish_flow import Ask, LookUp, Published, Request, Send

log = logging.getLogger("dedup.publisher")

SETTLE_WAITS_S = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Waits between tries to write down what has happened already."""


class Delivery(Protocol):
    """One HTTP attempt, and one look-up; see `dedup.delivery.HttpDelivery`."""

    def send(self, message: Message, attempt: int) -> Attempted:
        """POST the message once."""
        ...

    def look_up(self, signal_id: str) -> Attempted:
        """Ask whether the API has the id."""
        ...


class AsyncDelivery(Protocol):
    """A `Delivery` whose methods are awaited; see `dedup.aio.delivery.HttpDelivery`."""

    async def send(self, message: Message, attempt: int) -> Attempted:
        """POST the message once."""
        ...

    async def look_up(self, signal_id: str) -> Attempted:
        """Ask whether the API has the id."""
        ...


class Calls(Protocol):
    """What the flow's requests become: calls that block, or that are awaited."""

    def ask(self, ops: Sequence[Op[Any]]) -> Any:
        """Run operations in one round trip."""
        ...

    def settle(self, ops: Sequence[Op[Any]]) -> Any:
        """Write down what has happened, whatever it takes; see `settling`."""
        ...

    def send(self, message: Message, attempt: int) -> Any:
        """One HTTP attempt."""
        ...

    def look_up(self, signal_id: str) -> Any:
        """One look-up."""
        ...


def performing(flow: Flow[Published], calls: Calls, observer: Observer | None = None) -> Flow[Published]:
    """The flow, with its requests made by `calls`; `observer` is told of each HTTP attempt."""
    try:
        request: Request = next(flow)
        while True:
            try:
                answer = yield _call(request, calls)
            except BaseException as error:
                request = flow.throw(error)
            else:
                if observer is not None and isinstance(answer, Attempted):
                    observer.attempted(answer.verdict, answer.duration_s)
                request = flow.send(answer)
    except StopIteration as stop:
        published: Published = stop.value
        return published


def _call(request: Request, calls: Calls) -> Any:
    match request:
        case Ask(ops, settling):
            return calls.settle(ops) if settling else calls.ask(ops)
        case Send(message, attempt):
            return calls.send(message, attempt)
        case LookUp(signal_id):
            return calls.look_up(signal_id)


def settling(
    ask: Callable[[Sequence[Op[Any]]], Any], sleep: Callable[[float], Any], ops: Sequence[Op[Any]]
) -> Flow[list[Any]]:
    """What has happened cannot be unwritten, so a store that is away for a moment is asked again."""
    for wait_s in SETTLE_WAITS_S:
        try:
            replies: list[Any] = yield ask(ops)
        except StoreUnavailable as error:
            log.warning("could not settle %s yet: %s", ops[0].keys()[0], error)
            yield sleep(wait_s)
        else:
            return replies
    replies = yield ask(ops)
    return replies
