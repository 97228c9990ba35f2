"""Breadth-first search through all states, and the shortest trace to what broke."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from tests.model.judging import LIFE_OF_A_RECORD, REPORTS_ARE_TRUE, SETTLES, Invariant, Judging
from tests.model.scenario import Scenario
from tests.model.states import State, canonical, places
from tests.model.stepping import WORLD, Move, Stepping

ALSO = frozenset({SETTLES, REPORTS_ARE_TRUE, LIFE_OF_A_RECORD})


@dataclass(frozen=True, slots=True)
class Told:
    """One step of a trace: who, what, and the state that it led to."""

    who: str
    what: str
    state: State


@dataclass(frozen=True, slots=True)
class Broken:
    """An invariant that does not hold, and the shortest way there."""

    holds: str
    trace: tuple[Told, ...]


@dataclass(slots=True)
class Explored:
    """What a search saw.

    Attributes:
        states: how many there are.
        steps: how many lead from one to another.
        depth: the most steps that the nearest way to a state takes.
        outcomes: how often a delivery ended so, by outcome or error.
        records: kinds of record that were seen.
        broken: what did not hold; the search ends there.
    """

    scenario: Scenario
    stepping: Stepping
    states: int = 0
    steps: int = 0
    depth: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    records: set[str] = field(default_factory=set)
    broken: Broken | None = None


def explore(
    scenario: Scenario,
    invariants: tuple[Invariant, ...],
    also: frozenset[str] = ALSO,
    most_states: int = 2_000_000,
    merge: bool = True,
) -> Explored:
    """Walk every state of a scenario, nearest first, until all are seen or something breaks.

    Args:
        scenario: the space.
        invariants: what holds in every state.
        also: which of `SETTLES`, `REPORTS_ARE_TRUE` and `LIFE_OF_A_RECORD` hold as well.
        most_states: a bound that a space as small as it should be never reaches.
        merge: see `flowing.Flowing`.

    Raises:
        RuntimeError: there are more than `most_states`.
    """
    began = time.monotonic()
    stepping = Stepping(scenario, merge)
    judging = Judging(stepping, invariants, also)
    seen = Explored(scenario, stepping)
    first = stepping.first()
    parents: dict[State, State | None] = {first: None}
    level = [first]
    while level and seen.broken is None:
        following: list[State] = []
        for state in level:
            seen.broken = _expand(state, stepping, judging, parents, following, seen)
            if seen.broken is not None:
                break
        seen.depth += bool(following)
        level = following
        if len(parents) > most_states:
            raise RuntimeError(f"{scenario}: more than {most_states} states")
    seen.states = len(parents)
    seen.records = {_kind(stepping, number) for number in {state.stored for state in parents}}
    seen.seconds = time.monotonic() - began
    return seen


def _expand(
    state: State,
    stepping: Stepping,
    judging: Judging,
    parents: dict[State, State | None],
    following: list[State],
    seen: Explored,
) -> Broken | None:
    for move in stepping.moves(state):
        reached = canonical(move.state)
        seen.steps += 1
        holds = ""
        if move.ending is not None or move.broken:
            holds = judging.step(reached, move.ending, move.broken)
            if move.ending is not None:
                seen.outcomes[move.ending.outcome or move.ending.error] += 1
        if reached not in parents:
            parents[reached] = state
            following.append(reached)
            holds = holds or judging.state(reached)
        if holds:
            return Broken(holds, _trace(state, move, parents, stepping))
    return None


def _trace(state: State, last: Move, parents: dict[State, State | None], stepping: Stepping) -> tuple[Told, ...]:
    way = [state]
    while (parent := parents[way[-1]]) is not None:
        way.append(parent)
    way.reverse()
    names: list[str] = []
    told: list[Told] = []
    fresh = iter("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    for before, after in zip(way, [*way[1:], None], strict=True):
        move = last if after is None else _move_to(stepping, before, after)
        if move.actor == len(names):
            names.append(next(fresh))
        who = "" if move.actor == WORLD else names[move.actor]
        told.append(Told(who, move.what, canonical(move.state)))
        names = [names[place] for place in places(move.state)]
    return tuple(told)


def _move_to(stepping: Stepping, before: State, after: State) -> Move:
    return next(move for move in stepping.moves(before) if canonical(move.state) == after)


def _kind(stepping: Stepping, number: int) -> str:
    record = stepping.storing.all[number].record
    if record is None:
        return "absent"
    held = "held" if record.held and record.state != "done" else ""
    return held or record.outcome or record.state.value
