"""The explorer finds mistakes: each of these protocols has one, and what breaks is shown by its shortest trace."""

from __future__ import annotations

import pytest

from dedup.rules import OnUnknown
from tests.model import mutants
from tests.model.conftest import Tell
from tests.model.exploring import explore
from tests.model.judging import (
    NEVER_LOST,
    NOT_POSTED_IS_TRUE,
    ONE_EFFECT,
    ONE_POST,
    RELEASED_IS_TRUE,
    SETTLES,
    Invariant,
)
from tests.model.scenario import AMNESIA, PLAIN_EVENTS, Event, Protocol, Scenario

HOLD, LOOKUP, RESEND = OnUnknown.HOLD, OnUnknown.LOOKUP, OnUnknown.RESEND
LATE = frozenset({Event.LATE_COMMAND})
FORGETFUL = PLAIN_EVENTS | AMNESIA

FIVE = {
    "resend with a plain API": (Scenario(RESEND, False), ONE_EFFECT),
    "EXISTS-then-SET": (Scenario(HOLD, False, protocol=mutants.EXISTS_THEN_SET), ONE_POST),
    "delete without token": (Scenario(HOLD, False, protocol=mutants.DELETE_WITHOUT_TOKEN), ONE_POST),
    "mark before work": (Scenario(HOLD, False, protocol=mutants.MARK_BEFORE_WORK), NEVER_LOST),
    "release that forgets an earlier doubt": (
        Scenario(RESEND, True, protocol=mutants.FORGETFUL_RELEASE),
        RELEASED_IS_TRUE,
    ),
}


def finds(scenario: Scenario, invariant: Invariant, tell: Tell) -> list[str]:
    """What the shortest trace to a break of this invariant does."""
    explored = tell(explore(scenario, (invariant,), frozenset()))
    assert explored.broken is not None, "the mistake was not found"
    assert explored.broken.holds == invariant.holds
    return [f"{step.who} {step.what}" for step in explored.broken.trace]


@pytest.mark.parametrize("mistake", FIVE)
def test_mistake_is_found(mistake: str, tell: Tell) -> None:
    """A protocol with this mistake breaks its promise, and the explorer shows how."""
    assert finds(*FIVE[mistake], tell)


def test_trace_is_the_shortest_and_reads_as_a_story(tell: Tell) -> None:
    """The trace of EXISTS-then-SET is the race as everybody tells it: both look, both set, both post."""
    assert finds(*FIVE["EXISTS-then-SET"], tell) == [
        "A looks: nothing there",
        "B looks: nothing there",
        "A claims: acquired",
        "B claims: acquired",
        "A POSTs",
        "B POSTs",
    ]


def test_forgotten_doubt_ends_in_a_lie(tell: Tell) -> None:
    """A release that forgets a doubt lets a signal end as expired, never posted, that was posted."""
    finds(Scenario(RESEND, True, protocol=mutants.FORGETFUL_RELEASE), NOT_POSTED_IS_TRUE, tell)


def test_decision_where_a_doubt_is(tell: Tell) -> None:
    """A decision that stood where an earlier attempt is in doubt would let a delayed claim turn posted into expired."""
    events = frozenset({Event.LAPSE, Event.CLOCKS, Event.NO_ANSWER}) | LATE
    finds(Scenario(RESEND, True, 2, events, protocol=mutants.DECISION_IN_DOUBT), NOT_POSTED_IS_TRUE, tell)


def test_let_go_for_ever(tell: Tell) -> None:
    """What a person lets go is sent once: were it not used up by a doubt, it would be sent again and again."""
    events = frozenset({Event.NO_ANSWER, Event.RESOLVE})
    finds(Scenario(HOLD, False, 2, events, protocol=mutants.LET_GO_FOR_EVER), ONE_POST, tell)


@pytest.mark.parametrize(
    ("policy", "idempotent", "invariant"),
    [(HOLD, False, ONE_POST), (LOOKUP, False, ONE_POST), (RESEND, True, NOT_POSTED_IS_TRUE)],
)
def test_no_amnesia_guard(policy: OnUnknown, idempotent: bool, invariant: Invariant, tell: Tell) -> None:
    """Without the amnesia guard a store that forgets breaks every policy: it is not there for nothing."""
    finds(Scenario(policy, idempotent, 2, FORGETFUL, protocol=mutants.NO_AMNESIA_GUARD), invariant, tell)


def test_amnesia_guard_at_first_attempts_only(tell: Tell) -> None:
    """A guard that looks at first attempts only is passed where a delayed claim begins a forgotten record anew."""
    events = frozenset({Event.LOST_REPLY, Event.CLOCKS, Event.FLUSH}) | LATE
    finds(Scenario(HOLD, False, 2, events, protocol=mutants.GUARD_AT_FIRST_ATTEMPTS), ONE_POST, tell)


def test_mark_read_before_the_claim(tell: Tell) -> None:
    """The mark must be read after the claim: read before it, the store may forget in between."""
    finds(Scenario(HOLD, False, 2, FORGETFUL, protocol=mutants.MARK_READ_FIRST), ONE_POST, tell)


@pytest.mark.parametrize("policy", [HOLD, LOOKUP])
def test_loss_of_one_record_is_beyond_the_guard(policy: OnUnknown, tell: Tell) -> None:
    """The limit of the promise: a store that loses one record while its mark stays as it was lets a signal be posted
    twice. Whatever can lose a record has to show in the mark, or be kept out by the server's settings."""
    finds(Scenario(policy, False, 2, PLAIN_EVENTS | {Event.RECORD_LOST}), ONE_POST, tell)


def test_dead_end_is_found(tell: Tell) -> None:
    """A protocol that waits for a key that nobody will ever settle is found to have a dead end."""
    scenario = Scenario(HOLD, False, protocol=mutants.EXISTS_THEN_SET)
    explored = tell(explore(scenario, (), frozenset({SETTLES})))
    assert explored.broken is not None
    assert explored.broken.holds == SETTLES


def test_production_is_no_mutant() -> None:
    """Every mistake is in the mutant, not in the scenario: production keeps the same invariants in the same spaces."""
    for scenario, invariant in FIVE.values():
        if scenario.protocol != Protocol():
            plain = Scenario(scenario.policy, scenario.idempotent)
            assert explore(plain, (invariant,)).broken is None
