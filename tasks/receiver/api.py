"""What the receiver answers: the routes, and the decision on one POST. Knows no sockets."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import parse_qs, unquote

from standardwebhooks.webhooks import Webhook

from dedup.errors import InvalidInput
from tasks.receiver.book import Book, Commit
from tasks.receiver.checks import idempotency_key, json_object, key_problem, signal_id, signed
from tasks.receiver.faults import Fault, FaultPlan, Kind, describe, parse_faults
from tasks.receiver.log import Post, stamp
from tasks.receiver.wire import Reply, refusal

MAX_LISTED = 10_000
_IN_FLIGHT_RETRY_S = 1
_LOG_RETRY_S = 5


@dataclass(frozen=True, slots=True)
class Incoming:
    """A POST as it came off the wire.

    Attributes:
        headers: its header fields.
        body: what arrived of its body.
        problem: why the body could not be read whole, None where it was.
        gone: whether the sender stopped half-way, so that no fault is spent on it.
    """

    headers: Message
    body: bytes
    problem: Reply | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send. `reply` is None where the receiver stops before it has an answer."""

    reply: Reply | None
    fault: Fault | None = None


class Api:
    """The routes over a book.

    Args:
        book: the memory and the log.
        faults: how to misbehave.
        webhooks: one per valid secret; with none, signatures are not looked at.
        plain: ignore Idempotency-Key, so that every acceptable POST has an effect.
        remote_faults: whether `/faults` may be used.
        stopping: set when the receiver stops; ends every wait.
    """

    def __init__(
        self,
        book: Book,
        faults: FaultPlan,
        *,
        webhooks: Sequence[Webhook],
        plain: bool,
        remote_faults: bool,
        stopping: threading.Event,
    ) -> None:
        self._book = book
        self._faults = faults
        self._webhooks = tuple(webhooks)
        self._plain = plain
        self._remote_faults = remote_faults
        self._stopping = stopping

    def post_signal(self, incoming: Incoming) -> Answer:
        """Write a POST down, decide on it, write the decision down, and say what to answer."""
        try:
            post = self._book.arrived(
                key=idempotency_key(incoming.headers),
                webhook_id=incoming.headers.get("webhook-id"),
                attempt=incoming.headers.get("X-Attempt"),
                declared=incoming.headers.get("Content-Length"),
                sha256=hashlib.sha256(incoming.body).hexdigest(),
                body=incoming.body,
            )
        except OSError as error:
            return Answer(refusal(503, f"the log cannot be written: {error.strerror}", Retry_After=str(_LOG_RETRY_S)))
        fault = None if incoming.gone else self._faults.strike()
        try:
            return Answer(self._decide(post, incoming, fault), fault)
        except OSError as error:
            return Answer(refusal(500, f"the log cannot be written: {error.strerror}"))

    def get(self, target: str) -> Reply:
        """Answer a GET."""
        path, query = _split(target)
        if path == "/health":
            return Reply(200, {"status": "ok", **self._totals()})
        if path == "/signals":
            return self._list(query)
        if path.startswith("/signals/"):
            return self._look_up(unquote(path.removeprefix("/signals/")))
        if path == "/faults":
            return self._forbidden() or self._plan()
        return not_found()

    def put(self, target: str, body: bytes) -> Reply:
        """Answer a PUT, which replaces the faults."""
        if _split(target)[0] != "/faults":
            return not_found()
        if forbidden := self._forbidden():
            return forbidden
        try:
            self._faults.put(*parse_faults(json.loads(body)))
        except InvalidInput as error:
            return refusal(400, error.remedy)
        except (ValueError, RecursionError):
            return refusal(400, "the body is not JSON")
        return self._plan()

    def delete(self, target: str) -> Reply:
        """Answer a DELETE, which clears the faults."""
        if _split(target)[0] != "/faults":
            return not_found()
        if forbidden := self._forbidden():
            return forbidden
        self._faults.clear()
        return self._plan()

    def _decide(self, post: Post, incoming: Incoming, fault: Fault | None) -> Reply | None:
        examined = _struck(fault) or self._examined(incoming)
        if isinstance(examined, Reply):
            return self._refuse(post, examined, fault)
        name = signal_id(examined, post.key, post.webhook_id, post.sha256)
        with ExitStack() as flight:
            return self._accept(post, name, fault, flight)

    def _examined(self, incoming: Incoming) -> Reply | Mapping[str, Any]:
        """The JSON object of a POST that is in order, or why it is not."""
        if incoming.problem:
            return incoming.problem
        if self._webhooks and not signed(self._webhooks, incoming.headers, incoming.body):
            return refusal(401, "the webhook signature is missing, wrong, or older than five minutes")
        if not self._plain and (problem := key_problem(incoming.headers)):
            return refusal(400, problem)
        payload = json_object(incoming.body)
        return refusal(400, "the body is not a JSON object in UTF-8") if payload is None else payload

    def _accept(self, post: Post, name: str, fault: Fault | None, flight: ExitStack) -> Reply | None:
        key = None if self._plain else post.key
        if key is not None:
            standing = self._book.reserve(key, post.sha256)
            if isinstance(standing, Commit):
                return self._replay(post, standing, fault)
            if standing == "in_flight":
                error = "another request with this Idempotency-Key is being processed"
                return self._refuse(post, refusal(409, error, Retry_After=str(_IN_FLIGHT_RETRY_S)), fault)
            if standing == "other_body":
                error = "this Idempotency-Key was used with another body"
                return self._refuse(post, refusal(422, error), fault)
            flight.callback(self._book.release, key)
        if self._stopped_in(fault, "stall_before_commit"):
            self._book.decided(post, status=None, fault=_kind(fault), signal_id=name, error="the receiver stopped")
            return None
        reply = _shaped(_accepted(Commit(post.seq, name, post.sha256, post.at)), fault)
        self._book.commit(post, name, key, status=_status(reply, fault), fault=_kind(fault))
        return None if self._stopped_in(fault, "stall") else reply

    def _replay(self, post: Post, commit: Commit, fault: Fault | None) -> Reply | None:
        first = _accepted(commit)
        reply = _shaped(Reply(first.status, first.document, {"Idempotent-Replayed": "true"}), fault)
        status = _status(reply, fault)
        self._book.decided(post, status=status, fault=_kind(fault), signal_id=commit.id, replayed=True)
        return None if self._stopped_in(fault, "stall", "stall_before_commit") else reply

    def _refuse(self, post: Post, refused: Reply, fault: Fault | None) -> Reply | None:
        reply = _shaped(refused, fault)
        error = str(refused.document.get("error"))
        self._book.decided(post, status=_status(reply, fault), fault=_kind(fault), error=error)
        return None if self._stopped_in(fault, "stall", "stall_before_commit") else reply

    def _stopped_in(self, fault: Fault | None, *kinds: Kind) -> bool:
        """Wait as `fault` demands if it is of one of `kinds`; True when the receiver stops meanwhile."""
        return fault is not None and fault.kind in kinds and self._stopping.wait(fault.seconds)

    def _list(self, query: str) -> Reply:
        limit = parse_qs(query).get("limit", ["1000"])[-1]
        if not (limit.isascii() and limit.isdecimal() and len(limit) <= 5 and int(limit) <= MAX_LISTED):
            return refusal(400, f"limit is a whole number from 0 to {MAX_LISTED}")
        return Reply(200, {**self._totals(), "latest": [_shown(commit) for commit in self._book.latest(int(limit))]})

    def _look_up(self, signal_id: str) -> Reply:
        commit = self._book.find(signal_id)
        return Reply(200, _shown(commit)) if commit else refusal(404, "no signal with this id is committed")

    def _totals(self) -> dict[str, int]:
        totals = self._book.totals
        return {"posts": totals.posts, "effects": totals.effects, "signals": totals.signals}

    def _plan(self) -> Reply:
        return Reply(200, {"faults": describe(self._faults.plan)})

    def _forbidden(self) -> Reply | None:
        if self._remote_faults:
            return None
        return refusal(403, "faults are set from outside only on a loopback address, or with --allow-faults")


def not_found() -> Reply:
    """The reply to an unknown path, or to a method that the path does not take."""
    return refusal(404, "there are POST and GET /signals, GET /signals/{id}, /health, and PUT, GET, DELETE /faults")


def _split(target: str) -> tuple[str, str]:
    path, _, query = target.partition("?")
    return path, query


def _struck(fault: Fault | None) -> Reply | None:
    match fault:
        case Fault(kind="refuse"):
            after = str(math.ceil(fault.seconds))
            return refusal(fault.answer_status, "told to refuse for now", Retry_After=after)
        case Fault(kind="error_before_commit"):
            return refusal(fault.answer_status, "told to fail before the commit")
        case Fault(kind="redirect", location=str(location)):
            return refusal(fault.answer_status, "told to redirect", Location=location)
        case _:
            return None


def _shaped(reply: Reply, fault: Fault | None) -> Reply:
    if fault is not None and fault.kind == "error_after_commit":
        return refusal(fault.answer_status, "told to fail after the commit")
    return reply


def _status(reply: Reply, fault: Fault | None) -> int | None:
    return None if _kind(fault) in {"drop_reply", "reset"} else reply.status


def _kind(fault: Fault | None) -> str | None:
    return fault.kind if fault else None


def _accepted(commit: Commit) -> Reply:
    return Reply(201, {"id": commit.id, "seq": commit.seq, "received_at": stamp(commit.at)})


def _shown(commit: Commit) -> dict[str, object]:
    return {
        "id": commit.id,
        "effects": commit.effects,
        "seq": commit.seq,
        "received_at": stamp(commit.at),
        "sha256": commit.sha256,
    }
