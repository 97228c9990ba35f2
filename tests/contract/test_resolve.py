"""A person's `resolve`: what is held is settled as it was seen, once, and who said so stays in the record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dedup.ops import Answer
from dedup.records import Record, State
from dedup.stores.protocol import Store
from tests.contract.steps import (
    KEY,
    LEASE_MS,
    SHORT_MS,
    TTL_MS,
    claim,
    complete,
    doubt,
    in_doubt,
    lapse,
    record_of,
    release,
    resolve,
)
from tests.contract.subjects import Subject

OUTCOMES = ["posted", "rejected"]


def hold(store: Store, token: str = "owner", **fields: str) -> Record:
    """An effect of which nobody knows, HELD: what a person sees."""
    store.run(claim(token, effect=True, digest="d1"))
    store.run(doubt(token, hold=True, **fields))
    return record_of(store)


def let_go(store: Store, by: str = "anna's") -> Record:
    """A held effect that a person lets be sent once more."""
    assert store.run(resolve(by, hold(store))).acted
    return record_of(store)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_held_is_settled(store: Store, outcome: str) -> None:
    """What is held is DONE as the person says, with who and why; why it was held, attempt and digest stay."""
    settled = store.run(resolve("hers", hold(store), outcome))
    record = record_of(store)
    assert (settled.acted, settled.record) == (True, record)
    assert (record.state, record.outcome, record.held, record.granted) == (State.DONE, outcome, False, False)
    assert (record.by, record.by_why, record.reason) == ("anna", "asked the broker", "read timeout")
    assert (record.attempt, record.digest) == (1, "d1")
    assert store.run(claim("later", effect=True, resume=True)).answer is Answer.DUPLICATE


def test_let_go_is_open_to_one_delivery(store: Store) -> None:
    """What a person lets be sent is claimed by the next delivery, even without `resume`, in doubt, as the next attempt;
    a second one finds it busy."""
    record = let_go(store)
    assert (record.state, record.held, record.settled, record.granted) == (State.UNKNOWN, False, False, True)
    claimed = store.run(claim("b", effect=True, digest="d1"))
    assert (claimed.answer, claimed.record.attempt, claimed.record.in_doubt) == (Answer.ACQUIRED, 2, True)
    assert (claimed.record.granted, claimed.record.by, claimed.record.reason) == (True, "anna", "read timeout")
    assert store.run(claim("c", effect=True, digest="d1")).answer is Answer.BUSY


def test_let_go_is_due_at_once(store: Store) -> None:
    """What was to be tried again later is due at once when a person lets it go."""
    seen = hold(store, retry_ms=5 * TTL_MS)
    record = store.run(resolve("hers", seen)).record
    assert record is not None
    assert record.until_ms <= record.at_ms


def test_let_go_passes_the_cap(store: Store) -> None:
    """Deliveries that failed too often hold an effect, and a person lets it go all the same."""
    store.run(claim("a", effect=True))
    store.run(doubt("a"))
    store.run(claim("b", effect=True, resume=True, max_failures=0))
    assert record_of(store).held
    store.run(resolve("hers", record_of(store)))
    assert store.run(claim("c", effect=True, resume=True, max_failures=0)).answer is Answer.ACQUIRED


@pytest.mark.parametrize("end", ["doubt", "lapse"])
def test_let_go_is_used_up(subject: Subject, end: str) -> None:
    """When the delivery that was let go leaves a doubt, or dies, nobody goes on until a person says so again."""
    store = subject.store
    let_go(store)
    if end == "lapse":
        lapse(subject, "b", effect=True)
    else:
        store.run(claim("b", effect=True))
        store.run(doubt("b"))
    after = store.run(claim("c", effect=True))
    assert (after.answer, after.record.held, after.record.granted) == (Answer.UNKNOWN, True, False)
    assert after.record.by == "anna"


def test_let_go_survives_a_release(store: Store) -> None:
    """A delivery that was let go and sent nothing leaves the next one as free, and in as much doubt, as it was."""
    let_go(store)
    store.run(claim("b", effect=True))
    released = store.run(release("b", retry_ms=5_000, reason="connect refused"))
    assert released.record is not None
    assert (released.record.state, released.record.granted) == (State.UNKNOWN, True)
    again = store.run(claim("c", effect=True))
    assert (again.answer, again.record.attempt, again.record.in_doubt) == (Answer.ACQUIRED, 3, True)


def test_let_go_survives_a_resent_claim(store: Store) -> None:
    """The delivery that was let go and claims twice, because a reply was lost, is as free as before."""
    let_go(store)
    first, again = (store.run(claim("b", effect=True)) for _ in range(2))
    assert (again.answer, again.record.granted, again.record.attempt) == (Answer.ACQUIRED, True, first.record.attempt)


def test_another_payload_conflicts(store: Store) -> None:
    """What is let go is the payload that was held, and no other."""
    let_go(store)
    assert store.run(claim("b", effect=True, digest="d2")).answer is Answer.CONFLICT


def test_posting_keeps_who_let_it_go(store: Store) -> None:
    """A signal that was posted after a person let it go says who did."""
    let_go(store)
    store.run(claim("b", effect=True))
    record = store.run(complete("b", "posted", reason="201 Created")).record
    assert record is not None
    assert (record.outcome, record.reason, record.by, record.by_why) == (
        "posted",
        "201 Created",
        "anna",
        "asked the broker",
    )


@pytest.mark.parametrize("outcome", ["", *OUTCOMES])
@pytest.mark.parametrize("before", ["absent", "claimed", "released", "unknown", "done", "foreign"])
def test_only_held_is_resolved(store: Store, before: str, outcome: str) -> None:
    """`resolve` changes nothing but what is held, and shows what stands there."""
    if before == "foreign":
        store.put(KEY, "processed", TTL_MS)
    elif before != "absent":
        store.run(claim("owner", effect=True))
    if before == "released":
        store.run(release("owner"))
    if before == "unknown":
        store.run(doubt("owner"))
    if before == "done":
        store.run(complete("owner"))
    text = store.get(KEY)
    seen = Record(State.UNKNOWN) if before in ("absent", "foreign") else record_of(store)
    settled = store.run(resolve("hers", seen, outcome))
    assert (settled.acted, store.get(KEY)) == (False, text)
    assert (settled.record is None) is (before == "absent")


@pytest.mark.parametrize(
    "other", [{"seen_token": "another"}, {"seen_attempt": 7}, {"seen_at_ms": 1}], ids=lambda fields: next(iter(fields))
)
@pytest.mark.parametrize("outcome", ["", *OUTCOMES])
def test_only_what_was_seen_is_resolved(store: Store, other: dict[str, str | int], outcome: str) -> None:
    """A record that is held by now for another reason than the one that was seen is left alone."""
    seen = hold(store)
    text = store.get(KEY)
    settled = store.run(resolve("hers", seen, outcome, **other))
    assert (settled.acted, store.get(KEY)) == (False, text)


@pytest.mark.parametrize("outcome", ["", *OUTCOMES])
@pytest.mark.parametrize("op", [complete, release])
def test_late_owner_comes_first(store: Store, op: type, outcome: str) -> None:
    """Where the late owner says what came of it before the person does, the person is refused and told."""
    seen = hold(store)
    store.run(op("owner"))
    settled = store.run(resolve("hers", seen, outcome))
    assert not settled.acted
    assert settled.record is not None
    assert settled.record.state is (State.DONE if op is complete else State.RELEASED)


def test_owner_comes_after(store: Store) -> None:
    """After the person, the late owner's release and doubt do nothing; that it was posted is a fact, and stands."""
    let_go(store)
    text = store.get(KEY)
    assert not store.run(release("owner")).acted
    assert not store.run(doubt("owner", hold=True)).acted
    assert not store.run(complete("owner", "expired", fact=False)).acted
    assert store.get(KEY) == text
    assert store.run(complete("owner", "posted")).acted
    assert store.run(claim("b", effect=True)).answer is Answer.DUPLICATE


def test_two_people(store: Store) -> None:
    """Of two people who saw the same, the second is refused and shown what the first one said."""
    seen = hold(store)
    assert store.run(resolve("hers", seen)).acted
    second = store.run(resolve("his", seen, "rejected", by="ben"))
    assert (second.acted, second.record and second.record.by) == (False, "anna")


@pytest.mark.parametrize("outcome", ["", *OUTCOMES])
def test_twin_of_resolve_acted(store: Store, outcome: str) -> None:
    """A `resolve` that the client sent twice acted both times and wrote once."""
    seen = hold(store)
    first, again = (store.run(resolve("hers", seen, outcome)) for _ in range(2))
    assert (again.acted, again.record) == (True, first.record)


def test_delayed_twin_lets_nothing_go(store: Store) -> None:
    """A `resolve` that executes again after its delivery has left a doubt does not let a second one go."""
    seen = hold(store)
    op = resolve("hers", seen)
    store.run(op)
    store.run(claim("b", effect=True))
    assert not store.run(op).acted
    store.run(doubt("b", hold=True))
    assert not store.run(op).acted
    assert store.run(claim("c", effect=True)).answer is Answer.UNKNOWN


def test_resolved_again(subject: Subject) -> None:
    """What is held again after it was let go is resolved again, as it is then: by whom, and why, is the last one's."""
    store = subject.store
    let_go(store)
    lapse(subject, "b", effect=True)
    held = store.run(claim("c", effect=True)).record
    assert store.run(resolve("his", held, "posted", by="ben", why="the broker called")).acted
    record = record_of(store)
    assert (record.by, record.by_why, record.outcome, record.attempt) == ("ben", "the broker called", "posted", 2)


@pytest.mark.parametrize(("outcome", "ttl_ms"), [("posted", 2 * TTL_MS), ("", 3 * TTL_MS)])
def test_how_long_it_is_kept(subject: Subject, outcome: str, ttl_ms: int) -> None:
    """The record is kept for as long as `resolve` asks."""
    subject.store.run(resolve("hers", hold(subject.store), outcome, ttl_ms=ttl_ms))
    assert ttl_ms - LEASE_MS < subject.ttl_ms(KEY) <= ttl_ms


def test_held_after_takeovers(subject: Subject) -> None:
    """An effect that a claim found to be over its lease and in doubt is resolved like any other."""
    in_doubt(subject)
    subject.store.run(release("new"))
    held = subject.store.run(claim("c", effect=True)).record
    assert subject.store.run(resolve("hers", held)).acted
    assert subject.store.run(claim("d", effect=True, lease_ms=SHORT_MS)).record.in_doubt


def test_record_without_times_is_seen_too(store: Store) -> None:
    """A record written by hand, without token, attempt or time, is resolved as it is."""
    store.put(KEY, '{"s":"unknown","h":1}', TTL_MS)
    assert store.run(resolve("hers", replace(record_of(store)))).acted
