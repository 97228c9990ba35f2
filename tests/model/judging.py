"""What must never be, whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from dedup.publish_flow import Ask, Send
from dedup.records import Record
from dedup.records import State as RecordState
from tests.model.answers import FOUND, NOT_FOUND, POSTED
from tests.model.flowing import Ending, Situation
from tests.model.states import GONE, IN_FLIGHT, State
from tests.model.stepping import Stepping
from tests.model.storing import MINE


class View(NamedTuple):
    """What invariants look at.

    Attributes:
        record: as it stands.
        effects: how often the API has carried the signal out.
        posts: per payload: POSTs that were made and not told "refused for now", those in flight with them, less those
            that a person asked for.
        possible: an effect has happened or may still happen by a POST that was made.
        alive: deliveries at work.
    """

    record: Record | None
    effects: int
    posts: tuple[int, ...]
    possible: bool
    alive: int


@dataclass(frozen=True, slots=True)
class Invariant:
    """Something that holds in every state; `holds` says so in words."""

    holds: str
    in_state: Callable[[View], bool]


def _done(view: View, *outcomes: str) -> bool:
    record = view.record
    return record is not None and record.state is RecordState.DONE and record.outcome in outcomes


def _by_hand(view: View) -> bool:
    return view.record is not None and view.record.by != "" and view.record.outcome == "rejected"


def _released(view: View) -> bool:
    return view.record is not None and view.record.state is RecordState.RELEASED


ONE_POST = Invariant("at most one POST", lambda view: sum(view.posts) <= 1)
ONE_EFFECT = Invariant("at most one effect", lambda view: view.effects <= 1)
ONE_PAYLOAD = Invariant("two payloads of one key are never both posted", lambda view: min(view.posts) == 0)
POSTED_IS_TRUE = Invariant("DONE(posted) only if posted", lambda view: not _done(view, "posted") or view.effects > 0)
NOT_POSTED_IS_TRUE = Invariant(
    "DONE(expired) and DONE(rejected) only if never posted, or a person says so",
    lambda view: not _done(view, "expired", "rejected") or not view.possible or _by_hand(view),
)
RELEASED_IS_TRUE = Invariant(
    "a release after doubt never returns to 'never happened'", lambda view: not _released(view) or not sum(view.posts)
)
NEVER_LOST = Invariant(
    "no signal is marked posted, and then lost",
    lambda view: view.alive > 0 or not _done(view, "posted") or view.effects > 0,
)
SETTLES = "one quiet delivery settles it, whatever happened before"
REPORTS_ARE_TRUE = "a delivery's result is true"
LIFE_OF_A_RECORD = "the life of one record"

TRUTH = (POSTED_IS_TRUE, NOT_POSTED_IS_TRUE, RELEASED_IS_TRUE)


class Judging:
    """Judges states, endings and steps of one scenario."""

    def __init__(self, stepping: Stepping, invariants: tuple[Invariant, ...], also: frozenset[str]) -> None:
        self._stepping = stepping
        self._invariants = invariants
        self._also = also
        self._settles: dict[tuple[int, bool], bool] = {}

    def state(self, state: State) -> str:
        """What a state breaks, in words; empty for nothing."""
        view = self.view(state)
        for invariant in self._invariants:
            if not invariant.in_state(view):
                return invariant.holds
        if SETTLES in self._also and not self._can_settle(state):
            return SETTLES
        return ""

    def step(self, state: State, ending: Ending | None, broken: str) -> str:
        """What a step to a state breaks, in words."""
        if broken and LIFE_OF_A_RECORD in self._also:
            return broken
        if ending is not None and ending.outcome and REPORTS_ARE_TRUE in self._also:
            return self._report(state, ending.outcome)
        return ""

    def view(self, state: State) -> View:
        """What the invariants see of a state."""
        posts, possible = list(state.posts), state.effects > 0 or any(state.loose)
        for delivery in state.deliveries:
            if delivery.post == IN_FLIGHT:
                posts[self._stepping.flowing.all[delivery.situation].payload] += 1
                possible = True
        alive = sum(delivery.situation != GONE for delivery in state.deliveries)
        return View(self._stepping.storing.all[state.stored].record, state.effects, tuple(posts), possible, alive)

    def _report(self, state: State, outcome: str) -> str:
        view = self.view(state)
        true = {
            "posted": view.effects > 0,
            "expired": not view.possible,
            "rejected": not view.possible,
            "duplicate": view.record is not None and view.record.state is RecordState.DONE,
            "held": view.record is not None and view.record.settled,
            "retry": view.record is None or not view.record.settled or _done(view, "posted"),
        }
        return "" if true.get(outcome, True) else f"{REPORTS_ARE_TRUE}: {outcome}"

    def _can_settle(self, state: State) -> bool:
        """Whether, with everyone else dead and all leases over, one delivery of either payload settles it."""
        at = (state.stored, state.effects > 0)
        if at not in self._settles:
            payloads = range(self._stepping.scenario.payloads)
            self._settles[at] = any(self._settled_by(payload, *at) for payload in payloads)
        return self._settles[at]

    def _settled_by(self, payload: int, stored: int, effect: bool) -> bool:
        storing, flowing = self._stepping.storing, self._stepping.flowing
        stored, owner = storing.lapse(stored), ""
        at: Situation | Ending = flowing.start(payload)
        while isinstance(at, Situation):
            request = at.request
            if isinstance(request, Ask):
                replies = []
                for op in request.ops:
                    ran = storing.run(stored, owner == MINE, op)
                    stored, owner = ran.stored, ran.owner
                    replies.append(ran.reply)
                at = flowing.answered(at, tuple(replies))
            elif isinstance(request, Send):
                at, effect = flowing.answered(at, POSTED), True
            else:
                at = flowing.answered(at, FOUND if effect else NOT_FOUND)
        record = storing.all[stored].record
        return record is not None and record.settled
