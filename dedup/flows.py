"""One body for blocking and awaited code: a generator that yields what has to be waited for.

A flow is written once, over a client that is either blocking or asynchronous::

    def reading(client, key) -> Flow[str]:
        text = yield client.get(key)
        return text.strip()

`run` drives it over a blocking client: what it yields is the answer already. `run_async` drives it over an asynchronous
one: what it yields is awaited first. Errors come out of the `yield` either way, so `try` around it works in both.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

R = TypeVar("R")
Flow = Generator[Any, Any, R]


def run(flow: Flow[R]) -> R:
    """Drive a flow whose calls block."""
    answer = None
    try:
        while True:
            answer = flow.send(answer)
    except StopIteration as stop:
        result: R = stop.value
        return result


async def run_async(flow: Flow[R]) -> R:
    """Drive a flow whose calls are awaited. A cancellation is raised where the flow waits."""
    try:
        waiting = next(flow)
        while True:
            try:
                answer = await waiting
            except BaseException as error:
                waiting = flow.throw(error)
            else:
                waiting = flow.send(answer)
    except StopIteration as stop:
        result: R = stop.value
        return result
