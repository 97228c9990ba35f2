"""Protocols with one mistake each, made of production's: what the explorer must find.

A mistake in an operation is a store that runs that operation wrongly; a mistake in the flow is a generator around the
real one, or in its place.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from dedup.ops import Answer, Began, Claim, Complete, Doubt, Op, Peek, Release, Settled
from dedup.publish_flow import Ask, Flow, Publication, Published, Request, Send, Surroundings, publishing
from dedup.records import Record
from dedup.rules import SignalRules
from dedup.stores.memory import MemoryStore
from tests.model.scenario import Protocol


class _OverwritingStore(MemoryStore):
    """A claim is a plain SET."""

    def run(self, op: Op[Any]) -> Any:
        if isinstance(op, Claim):
            self.delete(op.key)
        return super().run(op)


class _DeletingStore(MemoryStore):
    """A release deletes the record, whoever holds it."""

    def run(self, op: Op[Any]) -> Any:
        if isinstance(op, Release):
            self.delete(op.key)
            return Settled(True, None, self.source)
        return super().run(op)


class _ForgetfulStore(MemoryStore):
    """A release forgets that an earlier attempt is in doubt."""

    def run(self, op: Op[Any]) -> Any:
        text = self.get(op.keys()[0])
        if isinstance(op, Release) and text is not None:
            self.put(op.key, replace(Record.loads(text), in_doubt=False).dumps(), op.ttl_ms)
        return super().run(op)


class _GenerousStore(MemoryStore):
    """What a person let be sent once more stays so, whatever its delivery came to."""

    def run(self, op: Op[Any]) -> Any:
        text = self.get(op.keys()[0])
        reply = super().run(op)
        if isinstance(op, Doubt) and text is not None and Record.loads(text).granted:
            self.put(op.key, replace(reply.record, granted=True, held=False).dumps(), op.ttl_ms)
        return reply


class _DecidingStore(MemoryStore):
    """A decision stands even where an earlier attempt is in doubt."""

    def run(self, op: Op[Any]) -> Any:
        text = self.get(op.keys()[0])
        if isinstance(op, Complete) and text is not None:
            record = Record.loads(text)
            if record.in_doubt and record.token == op.token:
                return super().run(replace(op, fact=True))
        return super().run(op)


def _looking_first(job: Publication, rules: SignalRules, token: str, since_key: str, around: Surroundings) -> Flow:
    (peeked,) = yield Ask((Peek(job.key),))
    if peeked.record is not None:
        return Published("duplicate", "the key exists", peeked.source)
    return (yield from publishing(job, rules, token, since_key, around))


def _marking_first(job: Publication, rules: SignalRules, token: str, since_key: str, around: Surroundings) -> Flow:
    claimed, _ = yield Ask((rules.claim(job.key, token, job.digest), rules.begin(since_key)))
    if claimed.answer is not Answer.ACQUIRED:
        return Published("duplicate", "another delivery has it", claimed.source)
    yield Ask((rules.posted(job.key, token, job.digest, "about to be"),))
    yield Send(job.message, claimed.record.attempt)
    return Published("posted", "", claimed.source)


def _unguarded(job: Publication, rules: SignalRules, token: str, since_key: str, around: Surroundings) -> Flow:
    return publishing(replace(job, closed_at_ms=None), rules, token, since_key, around)


def _guarded_at_first_attempts(
    job: Publication, rules: SignalRules, token: str, since_key: str, around: Surroundings
) -> Flow:
    flow = publishing(job, rules, token, since_key, around)
    claimed, began = yield next(flow)
    if not claimed.fresh:
        began = Began(0, False, began.source)
    return (yield from _going_on(flow, [claimed, began]))


def _reading_the_mark_first(
    job: Publication, rules: SignalRules, token: str, since_key: str, around: Surroundings
) -> Flow:
    flow = publishing(job, rules, token, since_key, around)
    asked = next(flow)
    assert isinstance(asked, Ask)
    began, claimed = yield Ask(asked.ops[::-1])
    return (yield from _going_on(flow, [claimed, began]))


def _going_on(flow: Flow, answer: Any) -> Generator[Request, Any, Published]:
    """The rest of a flow after its first answer."""
    try:
        request = flow.send(answer)
        while True:
            try:
                answer = yield request
            except GeneratorExit:
                flow.close()
                raise
            except BaseException as error:
                request = flow.throw(error)
            else:
                request = flow.send(answer)
    except StopIteration as stop:
        ended: Published = stop.value
        return ended


EXISTS_THEN_SET = Protocol("EXISTS-then-SET", _looking_first, _OverwritingStore)
DELETE_WITHOUT_TOKEN = Protocol("delete without token", store=_DeletingStore)
MARK_BEFORE_WORK = Protocol("mark before work", _marking_first)
FORGETFUL_RELEASE = Protocol("release that forgets an earlier doubt", store=_ForgetfulStore)
DECISION_IN_DOUBT = Protocol("decision in doubt", store=_DecidingStore)
LET_GO_FOR_EVER = Protocol("let go for ever", store=_GenerousStore)
NO_AMNESIA_GUARD = Protocol("no amnesia guard", _unguarded)
GUARD_AT_FIRST_ATTEMPTS = Protocol("amnesia guard at first attempts only", _guarded_at_first_attempts)
MARK_READ_FIRST = Protocol("mark read before the claim", _reading_the_mark_first)
