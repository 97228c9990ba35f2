"""The protocol holds in every interleaving: whole spaces, each walked to its end.

``MODEL=whole pytest tests/model`` walks the larger ones as well.
"""

from __future__ import annotations

import os
from collections.abc import Set

import pytest

from dedup.rules import OnUnknown
from tests.model.conftest import Tell
from tests.model.exploring import ALSO, explore
from tests.model.judging import (
    LIFE_OF_A_RECORD,
    NEVER_LOST,
    ONE_EFFECT,
    ONE_PAYLOAD,
    ONE_POST,
    POSTED_IS_TRUE,
    SETTLES,
    TRUTH,
    Invariant,
)
from tests.model.scenario import AMNESIA, PLAIN_EVENTS, Event, Scenario
from tests.model.telling import trace

HOLD, LOOKUP, RESEND = OnUnknown.HOLD, OnUnknown.LOOKUP, OnUnknown.RESEND
POLICIES = [(HOLD, False), (HOLD, True), (LOOKUP, False), (LOOKUP, True), (RESEND, True)]
"""Each policy with each API that it is meant for."""

WORST_API = [(HOLD, False), (LOOKUP, False), (RESEND, True)]
LATE = PLAIN_EVENTS | {Event.LATE_COMMAND}
FORGETFUL = PLAIN_EVENTS | AMNESIA

whole = pytest.mark.skipif(os.environ.get("MODEL") != "whole", reason="a larger space: MODEL=whole walks it")
patient = pytest.mark.timeout(3600)


def promised(policy: OnUnknown) -> Invariant:
    """What the policy promises about the API."""
    return ONE_EFFECT if policy is RESEND else ONE_POST


def holds(scenario: Scenario, tell: Tell, *also_true: Invariant, also: frozenset[str] = ALSO) -> None:
    """Walk a space and see that nothing breaks, and that there was something to break."""
    explored = tell(explore(scenario, (promised(scenario.policy), *also_true), also))
    assert explored.broken is None, trace(explored)
    assert {"absent", "claimed", "released", "held", "posted", "rejected", "expired"} <= explored.records
    assert {"posted", "rejected", "expired", "held", "retry", "busy", "duplicate"} <= set(explored.outcomes)
    assert ("unknown" in explored.records) is (scenario.policy is not HOLD)


@pytest.mark.parametrize("at_once", [2, 3, pytest.param(4, marks=[whole, patient])])
@pytest.mark.parametrize(("policy", "idempotent"), POLICIES)
def test_deliveries_of_one_signal(policy: OnUnknown, idempotent: bool, at_once: int, tell: Tell) -> None:
    """Whatever happens to deliveries, leases, replies and the API: each policy keeps its promise, no record and no
    result says what is not so, and one quiet delivery settles whatever is left."""
    holds(Scenario(policy, idempotent, at_once), tell, *TRUTH)


@pytest.mark.parametrize(
    ("at_once", "late_commands"),
    [(2, 1), pytest.param(2, 2, marks=[whole, patient]), pytest.param(3, 1, marks=[whole, patient])],
)
@pytest.mark.parametrize(("policy", "idempotent"), WORST_API)
def test_delayed_commands(policy: OnUnknown, idempotent: bool, at_once: int, late_commands: int, tell: Tell) -> None:
    """All of that holds where a command to the store is taken for lost, sent again, and executes later all the same."""
    holds(Scenario(policy, idempotent, at_once, LATE, late_commands), tell, *TRUTH)


@pytest.mark.parametrize(
    ("policy", "idempotent", "events"),
    [
        (HOLD, False, FORGETFUL),
        (LOOKUP, False, FORGETFUL),
        (RESEND, True, PLAIN_EVENTS - {Event.INTERRUPT, Event.REJECTED} | {Event.FLUSH}),
        pytest.param(RESEND, True, FORGETFUL, marks=[whole, patient]),
    ],
)
def test_store_that_forgets(policy: OnUnknown, idempotent: bool, events: frozenset[Event], tell: Tell) -> None:
    """All of that holds where the store forgets everything, or when its memory began, at any step and again and again:
    the amnesia guard."""
    explored = tell(explore(Scenario(policy, idempotent, 2, events), (promised(policy), *TRUTH)))
    assert explored.broken is None, trace(explored)
    assert {"posted", "expired", "held", "retry"} <= set(explored.outcomes)


@whole
@patient
@pytest.mark.parametrize(
    ("policy", "without"), [(HOLD, set()), (LOOKUP, {Event.INTERRUPT, Event.REJECTED, Event.MARK_LOST})]
)
def test_store_that_forgets_and_delayed_commands(policy: OnUnknown, without: set[Event], tell: Tell) -> None:
    """At most one POST, even where a command executes after the store has forgotten what came before it.

    What a record says can then be wrong for a moment (RELEASED, although another delivery has posted), so the guard
    must not trust it: it looks at every claim, not only at first ones.
    """
    scenario = Scenario(policy, False, 2, (FORGETFUL | LATE) - without)
    explored = tell(explore(scenario, (ONE_POST, POSTED_IS_TRUE), frozenset({SETTLES})))
    assert explored.broken is None, trace(explored)


@pytest.mark.parametrize(("policy", "idempotent"), WORST_API)
def test_records_that_outlive_their_ttl(policy: OnUnknown, idempotent: bool, tell: Tell) -> None:
    """A record whose TTL runs out, as it may once its signal has expired, does not let the signal be posted again."""
    events = PLAIN_EVENTS - {Event.CLOCKS} | {Event.TTL}
    holds(Scenario(policy, idempotent, 2, events), tell, POSTED_IS_TRUE, also=frozenset({SETTLES, LIFE_OF_A_RECORD}))


@pytest.mark.parametrize(
    "events", [pytest.param(PLAIN_EVENTS, id="plain"), pytest.param(LATE, marks=[whole, patient], id="late")]
)
@pytest.mark.parametrize(("policy", "idempotent"), WORST_API)
def test_two_payloads_of_one_key(policy: OnUnknown, idempotent: bool, events: frozenset[Event], tell: Tell) -> None:
    """Where two payloads claim one key, never both are posted, and whoever comes second is told of the conflict."""
    scenario = Scenario(policy, idempotent, 2, events, payloads=2)
    explored = tell(explore(scenario, (promised(policy), ONE_PAYLOAD, *TRUTH)))
    assert explored.broken is None, trace(explored)
    assert explored.outcomes["conflict"]


@pytest.mark.parametrize(
    ("at_once", "events"),
    [
        pytest.param(2, PLAIN_EVENTS, id="plain"),
        pytest.param(3, PLAIN_EVENTS, marks=[whole, patient], id="three"),
        pytest.param(2, LATE, marks=[whole, patient], id="late"),
        pytest.param(2, {Event.LAPSE, Event.NO_ANSWER, Event.REFUSED, Event.REJECTED, Event.FLUSH}, id="flush"),
        pytest.param(2, FORGETFUL, marks=[whole, patient], id="forgetful, whole"),
    ],
)
@pytest.mark.parametrize(("policy", "idempotent"), [(HOLD, False), (LOOKUP, False)])
def test_person_settles_what_is_held(
    policy: OnUnknown, idempotent: bool, at_once: int, events: Set[Event], tell: Tell
) -> None:
    """Whatever a person says, at any moment and again and again, is worth one POST for each time that they ask for one;
    what is settled stays so, and a record that was let go settles as any other."""
    scenario = Scenario(policy, idempotent, at_once, frozenset(events) | {Event.RESOLVE})
    explored = tell(explore(scenario, (promised(policy), *TRUTH)))
    assert explored.broken is None, trace(explored)
    assert {"held", "unknown", "posted", "rejected"} <= explored.records
    assert {"posted", "held", "retry", "busy", "duplicate"} <= set(explored.outcomes)


@pytest.mark.parametrize(("policy", "idempotent"), WORST_API)
def test_nothing_is_held_without_cause(policy: OnUnknown, idempotent: bool, tell: Tell) -> None:
    """Lost replies of the store, refusals, deaths and late clocks alone hold nothing: that takes a lease that ran out,
    or a POST without an answer."""
    events = PLAIN_EVENTS - {Event.LAPSE, Event.NO_ANSWER, Event.INTERRUPT}
    explored = tell(explore(Scenario(policy, idempotent, 3, events), (promised(policy), NEVER_LOST, *TRUTH)))
    assert explored.broken is None, trace(explored)
    assert not {"held", "unknown"} & (explored.records | set(explored.outcomes))


@pytest.mark.parametrize(("policy", "idempotent"), WORST_API)
def test_merging_histories_loses_nothing(policy: OnUnknown, idempotent: bool) -> None:
    """The smaller space, in which histories that settle alike are one, holds the same records and outcomes."""
    scenario = Scenario(policy, idempotent, 2)
    merged, apart = (explore(scenario, (), frozenset(), merge=merge) for merge in (True, False))
    assert merged.states < apart.states
    assert set(merged.stepping.storing.all) == set(apart.stepping.storing.all)
    assert set(merged.outcomes) == set(apart.outcomes)
