"""What is explored: the policy, the API, how many deliveries are alive at once, and what may go wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from dedup.publish_flow import Flow, Publication, Surroundings, publishing
from dedup.rules import OnUnknown, SignalRules
from dedup.stores.memory import MemoryStore

MAX_FAILURES = 2
"""Low, so that the cap is reached."""


class Event(StrEnum):
    """What may happen beside the plain course of things, at any step and any number of times."""

    CRASH = "a worker dies"
    LAPSE = "the lease runs out"
    LOST_REPLY = "a reply of the store is lost: the client asks again, or gives up"
    INTERRUPT = "an exception, such as a time limit, ends the attempt"
    REFUSED = "connect refused, or the API refuses for now"
    REJECTED = "the API refuses for good"
    NO_ANSWER = "the API's reply is lost, or says 500; the POST may still take effect later"
    CLOCKS = "the worker's clocks say that the lease is nearly over, or that the signal has expired"
    LATE_COMMAND = "a command to the store is delayed, and executes after its sender has gone on"
    FLUSH = "the store forgets everything"
    MARK_LOST = "the store forgets when its memory began"
    RECORD_LOST = "the store forgets one record, and nothing else"
    TTL = "the signal expires, and then its record's TTL runs out"
    RESOLVE = "a person settles what is held: as posted where it was, as rejected, or to be sent once more"


PLAIN_EVENTS = frozenset(
    {
        Event.CRASH,
        Event.LAPSE,
        Event.LOST_REPLY,
        Event.INTERRUPT,
        Event.REFUSED,
        Event.REJECTED,
        Event.NO_ANSWER,
        Event.CLOCKS,
    }
)
AMNESIA = frozenset({Event.FLUSH, Event.MARK_LOST})

FlowFactory = Callable[[Publication, SignalRules, str, str, Surroundings], Flow]


@dataclass(frozen=True, slots=True)
class Protocol:
    """The code under exploration: production's, unless a mutant (`mistake` names it) replaces a part."""

    mistake: str = ""
    flow: FlowFactory = publishing
    store: type[MemoryStore] = MemoryStore


@dataclass(frozen=True, slots=True)
class Scenario:
    """One space to explore.

    Attributes:
        policy: `ON_UNKNOWN`.
        idempotent: the API takes one id once, however often it is posted.
        at_once: how many deliveries are alive at the same time; there is no limit to how many come one after another.
        events: what may happen.
        late_commands: how many delayed commands may be on their way at the same time.
        payloads: how many different payloads claim the key.
        protocol: what is driven.
    """

    policy: OnUnknown
    idempotent: bool
    at_once: int = 2
    events: frozenset[Event] = PLAIN_EVENTS
    late_commands: int = 1
    payloads: int = 1
    protocol: Protocol = Protocol()

    def __str__(self) -> str:
        api = "idempotent API" if self.idempotent else "plain API"
        parts = [str(self.policy), api, f"{self.at_once} at once"]
        parts += [f"{self.payloads} payloads"] if self.payloads > 1 else []
        parts += [f"{self.late_commands} late"] if Event.LATE_COMMAND in self.events and self.late_commands > 1 else []
        parts += _events(self.events)
        mistake = f" [{self.protocol.mistake}]" if self.protocol.mistake else ""
        return ", ".join(parts) + mistake

    @property
    def rules(self) -> SignalRules:
        """Production's rules, with a cap low enough to be reached."""
        return SignalRules(on_unknown=self.policy, max_failures=MAX_FAILURES)


def _events(events: frozenset[Event]) -> list[str]:
    extra, missing = events - PLAIN_EVENTS, PLAIN_EVENTS - events
    if len(missing) > 3:
        return [f"only {_names(events)}"]
    return [f"with {_names(extra)}"] * bool(extra) + [f"without {_names(missing)}"] * bool(missing)


def _names(events: frozenset[Event]) -> str:
    return ", ".join(sorted(event.name.lower() for event in events))
