"""The real flow, restored from its history: generators cannot be copied, so it is run again with the answers it got."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from dedup.delivery import Message
from dedup.errors import StoreUnavailable
from dedup.ops import Complete, Doubt, Op, Release
from dedup.publish_flow import Ask, Publication, Request, Surroundings
from tests.model.scenario import Scenario
from tests.model.storing import CLOSED_AT_MS, KEY, LEASE_MS, MINE, NOW_MS, SINCE_KEY

EXPIRES_AT_MS = NOW_MS + 5_000


class Interrupted(BaseException):
    """What ends an attempt from outside, as a soft time limit or a shutdown does."""


class Reading(Enum):
    """What the worker's clocks say when the flow looks: ms since it started, and the wall clock."""

    IN_TIME = (0, NOW_MS)
    LATE = (LEASE_MS, NOW_MS)
    EXPIRED = (0, EXPIRES_AT_MS)
    LATE_AND_EXPIRED = (LEASE_MS, EXPIRES_AT_MS)


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer, and what the clocks said from then on.

    Attributes:
        answer: what the flow was sent.
        error: the class of what was raised into it instead.
        reading: None where they say what they said before.
    """

    answer: Any = None
    error: type[BaseException] | None = None
    reading: Reading | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a flow ended: its outcome, or the error that was raised into it and came out again.

    What a result says beside its outcome is for people, and would only tell histories apart.
    """

    outcome: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """Where a flow stands.

    Attributes:
        number: its own.
        payload: which payload it publishes.
        histories: every answer that it got; several, where they lead to the same last request.
        replies: of the operations that it asks for, those that the store has run, where it does not run them at once.
        request: what it waits for.
        answers: where the answers that it was sent led.
    """

    number: int
    payload: int
    histories: list[tuple[Entry, ...]]
    replies: tuple[Any, ...]
    request: Request
    answers: dict[Entry, Situation | Ending] = field(default_factory=dict)


class _Clocks:
    def __init__(self) -> None:
        self.reading = Reading.IN_TIME

    def surroundings(self) -> Surroundings:
        return Surroundings(lambda: self.reading.value[1], lambda: self.reading.value[0], lambda: 1.0)


class Flowing:
    """Drives flows and remembers where each history leads.

    Args:
        scenario: says which flow, and by which rules.
        merge: histories that settle alike become one situation. It makes the space several times smaller.
    """

    def __init__(self, scenario: Scenario, merge: bool = True) -> None:
        self._merge = merge
        self._flow, self._rules = scenario.protocol.flow, scenario.rules
        self._known: dict[tuple[Any, ...], Situation | Ending] = {}
        self._settling: dict[tuple[Any, ...], Situation] = {}
        self.all: list[Situation] = []

    def start(self, payload: int) -> Situation:
        """A new delivery, before it has done anything."""
        begun = self._at(payload, (), ())
        assert isinstance(begun, Situation)
        return begun

    def answered(self, situation: Situation, answer: Any, reading: Reading | None = None) -> Situation | Ending:
        """Send the answer to what it waits for; `reading` None leaves the clocks as they were."""
        return self._after(situation, Entry(answer, reading=reading))

    def raised(self, situation: Situation, error: type[BaseException]) -> Situation | Ending:
        """Raise an error where it waits."""
        return self._after(situation, Entry(error=error))

    def replied(self, situation: Situation, replies: tuple[Any, ...]) -> Situation:
        """The same, with these operations run; none starts its request again."""
        again = self._at(situation.payload, situation.histories[0], replies)
        assert isinstance(again, Situation)
        return again

    def _after(self, situation: Situation, entry: Entry) -> Situation | Ending:
        following = situation.answers.get(entry)
        if following is None:
            for history in situation.histories:
                following = self._same(following, self._at(situation.payload, (*history, entry), ()))
            assert following is not None
            situation.answers[entry] = following
        return following

    def _at(self, payload: int, history: tuple[Entry, ...], replies: tuple[Any, ...]) -> Situation | Ending:
        at = (payload, history, replies)
        if at not in self._known:
            request = self._replay(payload, history)
            if isinstance(request, Ending):
                self._known[at] = request
            elif self._merge and isinstance(request, Ask) and request.settling:
                self._known[at] = self._joined(payload, history, replies, request)
            else:
                self._known[at] = self._new(payload, history, replies, request)
        return self._known[at]

    def _new(self, payload: int, history: tuple[Entry, ...], replies: tuple[Any, ...], request: Request) -> Situation:
        self.all.append(Situation(len(self.all), payload, [history], replies, request))
        return self.all[-1]

    def _joined(self, payload: int, history: tuple[Entry, ...], replies: tuple[Any, ...], request: Ask) -> Situation:
        """One situation for all histories that settle alike: that they go on alike is checked at every answer."""
        at = (payload, replies, history[-1].error, tuple(_plain(op) for op in request.ops))
        if at not in self._settling:
            self._settling[at] = self._new(payload, history, replies, request)
            return self._settling[at]
        situation = self._settling[at]
        for entry, following in situation.answers.items():
            self._same(following, self._at(payload, (*history, entry), ()))
        situation.histories.append(history)
        return situation

    def _same(self, one: Situation | Ending | None, other: Situation | Ending) -> Situation | Ending:
        if one is not None and one != other:
            raise AssertionError(f"deliveries that settle alike go on differently: {one} and {other}")
        return other

    def _replay(self, payload: int, history: tuple[Entry, ...]) -> Request | Ending:
        clocks = _Clocks()
        flow = self._flow(publication(payload), self._rules, MINE, SINCE_KEY, clocks.surroundings())
        try:
            request = next(flow)
            for entry in history:
                clocks.reading = entry.reading or clocks.reading
                request = flow.throw(entry.error()) if entry.error else flow.send(_as_sent(entry.answer))
        except StopIteration as stop:
            return Ending(outcome=stop.value.outcome)
        except (StoreUnavailable, Interrupted) as error:
            return Ending(error=type(error).__name__)
        flow.close()
        return request


def _plain(op: Op[Any]) -> Op[Any]:
    """An operation without what is for people, and without when the next try is due: tries come at any time here."""
    match op:
        case Complete():
            return replace(op, reason="")
        case Release() | Doubt():
            return replace(op, reason="", retry_ms=0)
    return op


def _as_sent(answer: Any) -> Any:
    """Replies come as a list; histories keep them in a tuple, which can be hashed."""
    return list(answer) if isinstance(answer, tuple) else answer


def publication(payload: int) -> Publication:
    """One signal; other payloads differ in their bytes, not in the signal's id."""
    body = b'{"signal":%d}' % payload
    return Publication(KEY, Message("signal-1", body), f"digest-{payload}", CLOSED_AT_MS, EXPIRES_AT_MS)
