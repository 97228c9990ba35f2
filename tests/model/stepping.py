"""Every step that can follow a state.

A step that only one delivery sees (a reply arrives at it, its flow goes on) is one with the step before it: nobody else
could tell the two apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from dedup.delivery import Attempted
from dedup.errors import StoreUnavailable
from dedup.ops import Begin, Op, Peek, Resolution
from dedup.publish_flow import Ask, LookUp, Send
from dedup.records import State as RecordState
from tests.model.answers import (
    ASKED_TO_WAIT,
    CONNECT_REFUSED,
    FOUND,
    NO_ANSWER,
    NOT_FOUND,
    POSTED,
    REJECTED,
    named,
    told,
    turned_away,
)
from tests.model.flowing import Ending, Flowing, Interrupted, Reading, Situation
from tests.model.scenario import Event, Scenario
from tests.model.states import (
    GONE,
    IN_FLIGHT,
    NOT_POSTED,
    OVER,
    TAKEN,
    Delivery,
    State,
    asked_for,
    counted,
    disowned,
    landed,
    put,
    taken,
    unheard,
)
from tests.model.storing import KEY, MINE, SINCE_BEFORE_MS, SINCE_KEY, Stored, Storing

WORLD = -1
"""Actor of a step that no delivery takes."""


class Move(NamedTuple):
    """One step.

    Attributes:
        actor: place of the delivery in `state`, or `WORLD`.
        what: in words.
        state: what follows, not canonical yet.
        ending: how the delivery's flow ended, where this step ended it.
        broken: the rule of one record's life that it broke.
    """

    actor: int
    what: str
    state: State
    ending: Ending | None = None
    broken: str = ""


class _Option(NamedTuple):
    """What one answer to a delivery comes to; `owner` None leaves the record's owner as it is."""

    what: str
    stored: int
    owner: str | None
    following: Situation | Ending
    broken: str = ""
    reading: Reading | None = None


class Stepping:
    """The steps of one scenario."""

    def __init__(self, scenario: Scenario, merge: bool = True) -> None:
        self.scenario = scenario
        self.storing = Storing(scenario.protocol.store)
        self.flowing = Flowing(scenario, merge)
        self._may = {event: event in scenario.events for event in Event}
        # Other steps may come between the operations of one round trip; only a forgetting store makes it matter.
        self._split = self._may[Event.FLUSH] or self._may[Event.MARK_LOST] or self._may[Event.RECORD_LOST]
        self._asked: dict[tuple[int, bool, int], list[_Option]] = {}
        self._late: list[Op[Any] | None] = [None]
        self._newcomers = tuple(Delivery(self.flowing.start(payload).number) for payload in range(scenario.payloads))

    def first(self) -> State:
        """A store that remembers, no record, nobody at work."""
        nothing = (0,) * self.scenario.payloads
        return State(self.storing.number(Stored(None, SINCE_BEFORE_MS)), 0, nothing, nothing, False, ())

    def moves(self, state: State) -> Iterator[Move]:
        """Every step that can follow."""
        yield from self._world(state)
        before = None
        for place, delivery in enumerate(state.deliveries):
            if delivery != before:
                yield from self._moves_of(state, place, delivery)
            before = delivery
        alive = sum(delivery.situation != GONE for delivery in state.deliveries)
        if alive < self.scenario.at_once:
            for newcomer in self._newcomers:
                yield from self._ask(state, len(state.deliveries), newcomer, self._situation(newcomer))

    def _situation(self, delivery: Delivery) -> Situation:
        return self.flowing.all[delivery.situation]

    def _world(self, state: State) -> Iterator[Move]:
        may = self._may
        stored = self.storing.all[state.stored]
        record = stored.record
        if may[Event.LAPSE] and record is not None and record.state is RecordState.CLAIMED and record.until_ms:
            yield Move(WORLD, "the lease runs out", state._replace(stored=self.storing.lapse(state.stored)))
        for payload, loose in enumerate(state.loose):
            if loose:
                yield Move(
                    WORLD, "a POST that nobody waits for takes effect", landed(state, payload, self.scenario.idempotent)
                )
        if may[Event.FLUSH]:
            yield Move(WORLD, "the store forgets everything", self._forgot(state, record=True, mark=True))
        if may[Event.MARK_LOST]:
            yield Move(WORLD, "the store forgets when its memory began", self._forgot(state, record=False, mark=True))
        if self._split and stored.since_ms is None:
            ran = self.storing.run(state.stored, False, Begin(SINCE_KEY))
            yield Move(WORLD, "another signal's delivery reads the mark", state._replace(stored=ran.stored))
        if may[Event.RECORD_LOST]:
            yield Move(WORLD, "the store forgets this one record", self._forgot(state, record=True, mark=False))
        if may[Event.RESOLVE] and record is not None and record.held and record.state is RecordState.UNKNOWN:
            yield from self._resolved(state)
        if may[Event.TTL] and not state.expired:
            yield Move(WORLD, "expires_at passes", state._replace(expired=True))
        if may[Event.TTL] and state.expired:
            yield Move(WORLD, "the record's TTL runs out", self._forgot(state, record=True, mark=False))

    def _resolved(self, state: State) -> Iterator[Move]:
        """What a person may say of what is held: that it was posted only where it was, and never what nobody knows."""
        said = [(Resolution.REJECTED, state)]
        if state.effects:
            said.append((Resolution.POSTED, state))
        asked = asked_for(state, 0)
        if asked is not None:
            said.append((Resolution.RESEND, asked))
        for resolution, after in said:
            stored = self.storing.resolve(state.stored, resolution)
            yield Move(WORLD, f"a person says: {resolution}", disowned(after)._replace(stored=stored))

    def _forgot(self, state: State, record: bool, mark: bool) -> State:
        stored = self.storing.forget(state.stored, record, mark)
        return (disowned(state) if record else state)._replace(stored=stored)

    def _moves_of(self, state: State, place: int, delivery: Delivery) -> Iterator[Move]:
        if delivery.late:
            yield self._late_command(state, place, delivery)
        if delivery.situation == GONE:
            return
        situation = self._situation(delivery)
        if isinstance(situation.request, Ask):
            yield from self._ask(state, place, delivery, situation)
        elif isinstance(situation.request, Send):
            yield from self._send(state, place, delivery, situation)
        else:
            yield from self._look_up(state, place, delivery, situation)
        if self._may[Event.INTERRUPT]:
            option = _Option("is interrupted", state.stored, None, self.flowing.raised(situation, Interrupted))
            yield self._moved(
                unheard(state, situation.payload, delivery, self.scenario.idempotent), place, delivery, option
            )
        if self._may[Event.CRASH]:
            left = unheard(state, situation.payload, delivery, self.scenario.idempotent)
            yield Move(place, "dies", put(left, place, _gone(delivery, delivery.owns)))

    def _ask(self, state: State, place: int, delivery: Delivery, situation: Situation) -> Iterator[Move]:
        at = (state.stored, delivery.owns, situation.number)
        options = self._asked.get(at)
        if options is None:
            options = self._asked[at] = self._different(self._ask_options(state.stored, delivery.owns, situation))
        for option in options:
            if self._may[Event.TTL] and not self._clocks_agree(option, state.expired):
                continue
            yield self._moved(state, place, delivery, option)
        yield from self._delayed(state, place, delivery, situation)

    def _different(self, options: Iterator[_Option]) -> list[_Option]:
        """One of each: what its clocks say does not matter to a delivery that goes on alike."""
        if self._may[Event.TTL]:
            return list(options)
        kept: dict[tuple[Any, ...], _Option] = {}
        for option in options:
            kept.setdefault((option.stored, option.owner, option.following, option.broken), option)
        return list(kept.values())

    def _ask_options(self, stored: int, owns: bool, situation: Situation) -> Iterator[_Option]:
        request = situation.request
        assert isinstance(request, Ask)
        gave_up = self.flowing.raised(situation, StoreUnavailable)
        if self._may[Event.LOST_REPLY] and situation.histories[0]:
            yield _Option("cannot reach the store", stored, None, gave_up)
        what, replies, broken, owner = "", situation.replies, "", MINE if owns else None
        todo = request.ops[len(replies) :]
        for op in todo:
            ran = self.storing.run(stored, owner == MINE, op)
            stored, owner, broken = ran.stored, ran.owner, broken or ran.broken
            what = what or told(op, ran.reply)
            replies = (*replies, ran.reply)
            # Whoever is turned away only reads on, which another signal's delivery does as well (`_world`).
            if self._split and not turned_away(ran.reply):
                break
        if len(replies) < len(request.ops):
            halfway = self.flowing.replied(situation, replies)
            yield _Option(f"{what} (halfway through its round trip)", stored, owner, halfway, broken)
        else:
            for reading in self._readings(request):
                note = "" if reading in (None, Reading.IN_TIME) else f" (its clocks: {reading.name.lower()})"
                following = self.flowing.answered(situation, replies, reading)
                yield _Option(what + note, stored, owner, following, broken, reading)
        if self._may[Event.LOST_REPLY]:
            again = self.flowing.replied(situation, ())
            yield _Option(f"{what}, but the reply is lost: its client asks again", stored, owner, again, broken)
            yield _Option(f"{what}, but the reply is lost: its client gives up", stored, owner, gave_up, broken)

    def _readings(self, request: Ask) -> list[Reading | None]:
        if request.settling or not (self._may[Event.TTL] or self._may[Event.CLOCKS]):
            return [None]
        return list(Reading)

    def _clocks_agree(self, option: _Option, expired: bool) -> bool:
        """With `Event.TTL` wall clocks are right: what they say is what the state says."""
        return option.reading is None or (option.reading in (Reading.EXPIRED, Reading.LATE_AND_EXPIRED)) is expired

    def _delayed(self, state: State, place: int, delivery: Delivery, situation: Situation) -> Iterator[Move]:
        if not self._may[Event.LATE_COMMAND] or delivery.late:
            return
        if sum(other.late > 0 for other in state.deliveries) >= self.scenario.late_commands:
            return
        request = situation.request
        assert isinstance(request, Ask)
        for op in request.ops[len(situation.replies) :]:
            if op.keys() == (KEY,) and not isinstance(op, Peek):
                if op not in self._late:
                    self._late.append(op)
                late = delivery._replace(late=self._late.index(op))
                what = f"sends {named(op)}; it is delayed, and its client sends it again"
                yield Move(place, what, put(state, place, late))

    def _late_command(self, state: State, place: int, delivery: Delivery) -> Move:
        op = self._late[delivery.late]
        assert op is not None
        ran = self.storing.run(state.stored, delivery.owns, op)
        owns = ran.owner == MINE
        left = Delivery(OVER) if delivery.situation == GONE else delivery._replace(owns=owns, late=0)
        if owns or not ran.owner:
            state = disowned(state)
        state = put(state, place, left, ran.stored)
        return Move(place, f"'s delayed {named(op)} executes: {told(op, ran.reply)}", state, None, ran.broken)

    def _send(self, state: State, place: int, delivery: Delivery, situation: Situation) -> Iterator[Move]:
        payload = situation.payload

        def answered(what: str, after: State, attempted: Attempted) -> Move:
            following = self.flowing.answered(situation, attempted)
            option = _Option(what, after.stored, None, following)
            return self._moved(after, place, delivery, option)

        if delivery.post == NOT_POSTED:
            yield Move(place, "POSTs", put(state, place, delivery._replace(post=IN_FLIGHT)))
            if self._may[Event.REFUSED]:
                yield answered("POSTs: connect refused", state, CONNECT_REFUSED)
        elif delivery.post == IN_FLIGHT:
            took = taken(state, payload, self.scenario.idempotent)
            yield Move(place, "'s POST takes effect", put(took, place, delivery._replace(post=TAKEN)))
            if self._may[Event.REFUSED]:
                yield answered("is told 429: refused for now", state, ASKED_TO_WAIT)
            if self._may[Event.REJECTED]:
                rejected = state._replace(posts=counted(state.posts, payload))
                yield answered("is told 422: refused for good", rejected, REJECTED)
            if self._may[Event.NO_ANSWER]:
                yield answered(
                    "gets no answer", unheard(state, situation.payload, delivery, self.scenario.idempotent), NO_ANSWER
                )
        else:
            yield answered("is told 201: posted", state, POSTED)
            if self._may[Event.NO_ANSWER]:
                yield answered("gets no answer", state, NO_ANSWER)

    def _look_up(self, state: State, place: int, delivery: Delivery, situation: Situation) -> Iterator[Move]:
        assert isinstance(situation.request, LookUp)
        found = [("looks it up: found", FOUND)] if state.effects else []
        for what, attempted in [*found, ("looks it up: not found, or no answer", NOT_FOUND)]:
            option = _Option(what, state.stored, None, self.flowing.answered(situation, attempted))
            yield self._moved(state, place, delivery, option)

    def _moved(self, state: State, place: int, delivery: Delivery, option: _Option) -> Move:
        owns = delivery.owns if option.owner is None else option.owner == MINE
        if isinstance(option.following, Ending):
            after, ending = _gone(delivery, owns), option.following
        else:
            after, ending = Delivery(option.following.number, NOT_POSTED, owns, delivery.late), None
        if option.owner == MINE or option.owner == "":
            state = disowned(state)
        return Move(place, option.what, put(state, place, after, option.stored), ending, option.broken)


def _gone(delivery: Delivery, owns: bool) -> Delivery:
    return Delivery(GONE, NOT_POSTED, owns, delivery.late) if delivery.late else Delivery(OVER)
