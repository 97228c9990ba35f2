"""An exchange that ended without a usable reply: what that means, and one readable line for it."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import TypeVar

from dedup.http_deadline import Flight, Stage
from dedup.http_outcome import Attempted, Verdict, describe_status, excerpt

_Kind = TypeVar("_Kind", bound=BaseException)


def classify_failure(error: Exception, flight: Flight) -> Attempted:
    """NOT_SENT where not one byte of the request was handed to the network, UNKNOWN otherwise.

    Args:
        error: whatever ended the exchange. It colours the reason and has no say in the verdict.
        flight: as the exchange left it.
    """
    causes = tuple(_causes(error))
    if not flight.sent:
        return Attempted(Verdict.NOT_SENT, _before_sending(causes, flight.stage))
    reason = _after_sending(causes)
    if flight.status is not None:
        reason = f"{describe_status(flight.status)}, but {reason}"
    return Attempted(Verdict.UNKNOWN, reason, flight.status)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it, innermost last. Libraries wrap; the innermost is what happened."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _before_sending(causes: tuple[BaseException, ...], stage: Stage) -> str:
    describe: dict[Stage, Callable[[tuple[BaseException, ...]], str]] = {
        Stage.RESOLVING: _resolving,
        Stage.CONNECTING: _connecting,
        Stage.SECURING: _securing,
    }
    if stage in describe:
        return describe[stage](causes)
    if stage is Stage.SENDING and _first(causes, TimeoutError):
        return "not sent: its time was over when the connection stood"
    return f"not sent: {type(causes[0]).__name__}"


def _resolving(causes: tuple[BaseException, ...]) -> str:
    failed = _first(causes, socket.gaierror)
    if failed is not None:
        return f"DNS: {excerpt(failed.strerror or 'failed')}"
    return "DNS: no answer in time" if _first(causes, TimeoutError) else f"DNS: {type(causes[-1]).__name__}"


def _connecting(causes: tuple[BaseException, ...]) -> str:
    if _first(causes, ConnectionRefusedError):
        return "connect refused"
    if _first(causes, TimeoutError):
        return "connect timed out"
    named = (cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror)
    return f"connect failed: {excerpt(next(named, type(causes[-1]).__name__))}"


def _securing(causes: tuple[BaseException, ...]) -> str:
    untrusted = _first(causes, ssl.SSLCertVerificationError)
    if untrusted is not None:
        return f"TLS: certificate refused: {excerpt(untrusted.verify_message)}"
    if _first(causes, TimeoutError):
        return "TLS: handshake timed out"
    failed = _first(causes, ssl.SSLError)
    return f"TLS: handshake failed: {excerpt((failed and failed.reason) or type(causes[-1]).__name__)}"


def _after_sending(causes: tuple[BaseException, ...]) -> str:
    # From the most to the least particular: RemoteDisconnected is a reset and a bad status line as well.
    for kind, words in (
        (TimeoutError, "no complete reply before the deadline"),
        (http.client.RemoteDisconnected, "the connection was closed without a reply"),
        (http.client.IncompleteRead, "the reply was cut short"),
        (ConnectionError, "the connection was reset before the reply was complete"),
        (http.client.HTTPException, "the reply was not HTTP"),
        (ssl.SSLError, "TLS failed before the reply was complete"),
    ):
        if _first(causes, kind):
            return words
    return f"no usable reply: {type(causes[-1]).__name__}"


def _first(causes: tuple[BaseException, ...], kind: type[_Kind]) -> _Kind | None:
    return next((cause for cause in causes if isinstance(cause, kind)), None)
