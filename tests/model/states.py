"""The canonical state: small whole numbers, so that states are hashed and compared fast.

Numbers of records and situations are those that `storing` and `flowing` gave them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

NOT_POSTED, IN_FLIGHT, TAKEN = 0, 1, 2
GONE = -1
"""Situation of a delivery that is over, but of which a command is still on its way."""

OVER = -2
"""Situation of a delivery that is over: it keeps its place until the state is made canonical."""

MANY = 2
"""Counts stop here: two is one too many already."""


class Delivery(NamedTuple):
    """One delivery.

    Attributes:
        situation: where its flow stands (`flowing.Situation.number`), `GONE` or `OVER`.
        post: its POST is not made, in flight, or taken by the API with the reply on its way.
        owns: the record bears its token.
        late: number of the delayed command that is still on its way (`stepping`), 0 for none.
    """

    situation: int
    post: int = NOT_POSTED
    owns: bool = False
    late: int = 0


class State(NamedTuple):
    """Everything that matters.

    Attributes:
        stored: what the store holds (`storing.Stored`).
        effects: how often the API has carried the signal out.
        posts: POSTs per payload that reached the API and were not told "refused for now", less those that a person
            asked for (`asked_for`).
        loose: POSTs per payload that nobody waits for any more and that may still take effect.
        expired: the signal has expired, by the wall clock (used with `Event.TTL`).
        deliveries: sorted, once the state is canonical; until then in their places.
    """

    stored: int
    effects: int
    posts: tuple[int, ...]
    loose: tuple[int, ...]
    expired: bool
    deliveries: tuple[Delivery, ...]


def canonical(state: State) -> State:
    """Deliveries in order, without those that are over: which of two alike is which does not matter."""
    left = [delivery for delivery in state.deliveries if delivery.situation != OVER]
    left.sort()
    return State(state.stored, state.effects, state.posts, state.loose, state.expired, tuple(left))


def places(state: State) -> list[int]:
    """For each delivery of the canonical state, its place before."""
    there = [(delivery, place) for place, delivery in enumerate(state.deliveries) if delivery.situation != OVER]
    return [place for _, place in sorted(there)]


def put(state: State, place: int, delivery: Delivery, stored: int | None = None) -> State:
    """A delivery put into its place, one more at the end; and what the store holds then."""
    there = state.deliveries
    # Written out because it is the innermost step of all: `_replace` takes four times as long.
    return State(
        state.stored if stored is None else stored,
        state.effects,
        state.posts,
        state.loose,
        state.expired,
        (*there[:place], delivery, *there[place + 1 :]),
    )


def disowned(state: State) -> State:
    """Nobody's token is in the record any more."""
    for place, delivery in enumerate(state.deliveries):
        if delivery.owns:
            return put(state, place, delivery._replace(owns=False))
    return state


def taken(state: State, payload: int, idempotent: bool) -> State:
    """The API has carried out a POST that somebody waits for."""
    effects = 1 if idempotent else min(MANY, state.effects + 1)
    return state._replace(effects=effects, posts=counted(state.posts, payload))


def landed(state: State, payload: int, idempotent: bool) -> State:
    """The API has carried out a POST that nobody waits for any more."""
    effects = 1 if idempotent else min(MANY, state.effects + 1)
    return state._replace(effects=effects, loose=counted(state.loose, payload, -1))


def unheard(state: State, payload: int, delivery: Delivery, idempotent: bool) -> State:
    """What becomes of a delivery's POST, where it is in flight, when nobody waits for its reply any more."""
    if delivery.post != IN_FLIGHT:
        return state
    # Two that may still take effect are as good as one where the API takes it once.
    loose = 1 if idempotent else min(MANY, state.loose[payload] + 1)
    kept = tuple(loose if place == payload else count for place, count in enumerate(state.loose))
    return state._replace(posts=counted(state.posts, payload), loose=kept)


def asked_for(state: State, payload: int) -> State | None:
    """A person asks for one POST more; None where the one that they asked for before is still to come.

    Two at most would be no bound at all, so the count goes down by one, and the promise stays: at most one.
    """
    if state.posts[payload] < 0:
        return None
    return state._replace(posts=counted(state.posts, payload, -1))


def posts(state: State) -> int:
    """POSTs that were made and not told "refused for now", those in flight with them."""
    return sum(state.posts) + sum(delivery.post == IN_FLIGHT for delivery in state.deliveries)


def counted(counts: Sequence[int], at: int, change: int = 1) -> tuple[int, ...]:
    """One count changed, stopping at `MANY`."""
    return tuple(min(MANY, count + change) if place == at else count for place, count in enumerate(counts))
