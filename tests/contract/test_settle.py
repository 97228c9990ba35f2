"""Rule 2: who may settle a record, and how."""

from __future__ import annotations

import pytest

from dedup.ops import Answer
from dedup.records import State
from dedup.stores.protocol import Store
from tests.contract.steps import KEY, TTL_MS, claim, complete, doubt, in_doubt, lapse, record_of, release, untimed
from tests.contract.subjects import Subject

BEFORE = ["absent", "claimed", "released", "unknown", "held", "in doubt"]


def bring(subject: Subject, state: str, token: str = "a") -> None:
    """Bring the key into a state that `token` wrote."""
    store = subject.store
    if state == "in doubt":
        in_doubt(subject, new=token)
    elif state != "absent":
        store.run(claim(token, effect=True, digest="d1"))
    if state == "released":
        store.run(release(token))
    if state in ("unknown", "held"):
        store.run(doubt(token, hold=state == "held"))


def test_owner_completes(store: Store) -> None:
    """Its owner makes a claim DONE with outcome, value and reason; attempt and digest stay."""
    store.run(claim("x"))
    store.run(release("x"))
    store.run(claim("a", digest="d1"))
    settled = store.run(complete("a", "evaluated", value='{"signals":[1]}', reason="ema crossed", digest="d2"))
    record = settled.record
    assert settled.acted
    assert record is not None
    assert (record.state, record.outcome, record.value) == (State.DONE, "evaluated", {"signals": [1]})
    assert (record.reason, record.attempt, record.digest) == ("ema crossed", 2, "d1")
    assert (record.settled, record.until_ms) == (True, 0)
    assert record_of(store) == record


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("token", ["a", "stranger"])
def test_fact_stands_whoever_tells_it(subject: Subject, before: str, token: str) -> None:
    """A fact about the world makes any record DONE, whoever holds it, and even where it was forgotten."""
    bring(subject, before)
    settled = subject.store.run(complete(token, "posted"))
    assert (settled.acted, settled.record and settled.record.state) == (True, State.DONE)
    assert record_of(subject.store) == settled.record


@pytest.mark.parametrize("before", BEFORE)
def test_decision_is_the_owners(subject: Subject, before: str) -> None:
    """A decision acts only for the token that holds the claim or its own unknown, and where nothing is in doubt."""
    bring(subject, before)
    text = subject.store.get(KEY)
    refused = subject.store.run(complete("stranger", "expired", fact=False))
    assert (refused.acted, subject.store.get(KEY)) == (False, text)
    settled = subject.store.run(complete("a", "expired", fact=False))
    assert settled.acted is (before not in ("absent", "released", "in doubt"))
    assert (settled.record is None) is (before == "absent")


def test_first_done_stands(store: Store) -> None:
    """A record that is DONE never changes again: later facts are told how it ended."""
    store.run(complete("a", "posted", value="1"))
    text = store.get(KEY)
    for op in (complete("b", "rejected"), complete("a", "rejected"), complete("b", "posted"), release("a")):
        settled = store.run(op)
        assert (settled.acted, settled.record and settled.record.outcome) == (False, "posted")
    assert not store.run(doubt("a")).acted
    assert store.get(KEY) == text


@pytest.mark.parametrize("fact", [False, True])
def test_twin_of_complete_acted(store: Store, fact: bool) -> None:
    """A `complete` that the client sent twice acted both times and wrote once."""
    store.run(claim("a"))
    first = store.run(complete("a", "posted", fact=fact))
    again = store.run(complete("a", "posted", fact=fact))
    assert (again.acted, again.record) == (True, first.record)


def test_digest_is_kept_where_the_record_was_forgotten(store: Store) -> None:
    """Completing or doubting a forgotten key keeps the payload's digest, so that another payload still conflicts."""
    store.run(complete("a", digest="d1"))
    assert store.run(claim("b", digest="d2")).answer is Answer.CONFLICT
    store.delete(KEY)
    store.run(doubt("a", digest="d1"))
    assert store.run(claim("b", digest="d2")).answer is Answer.CONFLICT


def test_done_remembers_that_it_was_in_doubt(subject: Subject) -> None:
    """A signal that was posted again after a doubt says so: it may have been posted before."""
    in_doubt(subject)
    assert subject.store.run(complete("new")).acted
    assert record_of(subject.store).in_doubt


def test_owner_releases(store: Store) -> None:
    """Its owner gives a claim back: RELEASED, with the reason and the time of the next try, and not settled."""
    store.run(claim("a", digest="d1"))
    settled = store.run(release("a", retry_ms=5_000, reason="bar not final"))
    record = settled.record
    assert settled.acted
    assert record is not None
    assert (record.state, record.reason, record.settled) == (State.RELEASED, "bar not final", False)
    assert (record.attempt, record.failures, record.digest) == (1, 0, "d1")
    assert record.until_ms == record.at_ms + 5_000


@pytest.mark.parametrize("op", [release, doubt])
@pytest.mark.parametrize("before", ["claimed", "released", "unknown", "held", "in doubt"])
def test_strangers_neither_release_nor_doubt(subject: Subject, op: type, before: str) -> None:
    """Another token's `release` and `doubt` change nothing, whatever the record."""
    bring(subject, before)
    text = subject.store.get(KEY)
    settled = subject.store.run(op("stranger", retry_ms=99 * TTL_MS))
    assert (settled.acted, subject.store.get(KEY)) == (False, text)
    assert untimed(settled.record) == untimed(record_of(subject.store))
    assert subject.ttl_ms(KEY) <= TTL_MS


def test_release_of_a_forgotten_key_does_nothing(store: Store) -> None:
    """Releasing a key that the store has forgotten creates nothing."""
    settled = store.run(release("a"))
    assert (settled.acted, settled.record, store.get(KEY)) == (False, None, None)


def test_twin_of_release_counts_once(store: Store) -> None:
    """A `release` that the client sent twice acted both times, and counts one failure."""
    store.run(claim("a"))
    first = store.run(release("a", failed=True, reason="ValueError"))
    again = store.run(release("a", failed=True, reason="ValueError"))
    assert (again.acted, again.record) == (True, first.record)
    assert record_of(store).failures == 1


@pytest.mark.parametrize("hold", [False, True])
def test_owner_doubts(store: Store, hold: bool) -> None:
    """Its owner says that nobody knows: UNKNOWN with the reason and the time of the next try; HELD only if asked."""
    store.run(claim("a", effect=True, digest="d1"))
    settled = store.run(doubt("a", "reset after sending", hold=hold, retry_ms=5_000))
    record = settled.record
    assert settled.acted
    assert record is not None
    assert (record.state, record.reason, record.attempt) == (State.UNKNOWN, "reset after sending", 1)
    assert (record.held, record.settled, record.digest) == (hold, hold, "d1")
    assert record.until_ms == record.at_ms + 5_000


def test_doubt_of_a_forgotten_key_is_kept(store: Store) -> None:
    """A doubt about a key that the store has forgotten is written down: it must not be taken for new."""
    settled = store.run(doubt("a", "read timeout"))
    assert settled.acted
    claimed = store.run(claim("b", effect=True))
    assert (claimed.answer, claimed.record.held, claimed.record.reason) == (Answer.UNKNOWN, True, "read timeout")


def test_twin_of_doubt_acted(store: Store) -> None:
    """A `doubt` that the client sent twice acted both times and says the same."""
    store.run(claim("a", effect=True))
    first = store.run(doubt("a"))
    again = store.run(doubt("a"))
    assert (again.acted, again.record and again.record.reason) == (True, first.record and first.record.reason)
    assert record_of(store).attempt == 1


def test_released_work_is_not_doubted(store: Store) -> None:
    """After `release` said that nothing happened, the same token's `doubt` comes too late."""
    store.run(claim("a", effect=True))
    store.run(release("a"))
    assert not store.run(doubt("a")).acted
    assert record_of(store).state is State.RELEASED


def test_hold_is_not_lifted_by_another_doubt(store: Store) -> None:
    """What is HELD stays HELD when its owner doubts it again without asking for it."""
    store.run(claim("a", effect=True))
    store.run(doubt("a", hold=True))
    store.run(doubt("a", hold=False))
    assert record_of(store).held


def test_doubted_effect_is_resumed_or_held(store: Store) -> None:
    """A claim with `resume` goes on with an unknown as the next attempt in doubt; one without makes it HELD."""
    store.run(claim("a", effect=True))
    store.run(doubt("a", "read timeout"))
    resumed = store.run(claim("b", effect=True, resume=True))
    assert (resumed.answer, resumed.record.attempt, resumed.record.in_doubt) == (Answer.ACQUIRED, 2, True)
    assert resumed.record.reason == "read timeout"
    store.run(doubt("b", "read timeout again"))
    held = store.run(claim("c", effect=True))
    assert (held.answer, held.record.held, held.record.token) == (Answer.UNKNOWN, True, "b")
    assert held.record.in_doubt


def test_release_of_an_own_doubt_drops_its_reason(store: Store) -> None:
    """An owner that finds out that nothing happened leaves its new reason, or none, in place of the doubt's."""
    store.run(claim("a", effect=True))
    store.run(doubt("a", "read timeout"))
    store.run(release("a"))
    assert record_of(store).reason == ""


@pytest.mark.parametrize("way", ["posted", "nothing happened"])
@pytest.mark.parametrize("made_by", ["its own doubt", "a claim after its lease"])
def test_late_owner_settles_its_own_unknown(subject: Subject, made_by: str, way: str) -> None:
    """The delivery whose effect became UNKNOWN, and even HELD, may still say what came of it, either way."""
    store = subject.store
    if made_by == "its own doubt":
        store.run(claim("a", effect=True))
        store.run(doubt("a", hold=True))
    else:
        lapse(subject, "a", effect=True)
        assert store.run(claim("b", effect=True)).answer is Answer.UNKNOWN
    settled = store.run(complete("a") if way == "posted" else release("a"))
    assert (settled.acted, settled.record and settled.record.held) == (True, False)
    after = store.run(claim("c", effect=True))
    assert after.answer == ("duplicate" if way == "posted" else "acquired")
    assert after.record.attempt == (1 if way == "posted" else 2)
    assert not after.record.in_doubt


@pytest.mark.parametrize("times", [1, 2])
def test_release_after_doubt_never_means_nothing_happened(subject: Subject, times: int) -> None:
    """Where an earlier attempt is in doubt, `release` (and its twin) goes back to UNKNOWN, with the first reason."""
    in_doubt(subject)
    for _ in range(times):
        settled = subject.store.run(release("new", retry_ms=5_000, reason="connection refused", failed=True))
        assert settled.acted
    record = record_of(subject.store)
    assert (record.state, record.in_doubt, record.held) == (State.UNKNOWN, True, False)
    assert (record.attempt, record.failures) == (2, 2)
    assert record.reason == "the lease ran out under attempt 1"
    assert record.until_ms == record.at_ms + 5_000
    held = subject.store.run(claim("c", effect=True))
    assert (held.answer, held.record.held) == (Answer.UNKNOWN, True)


def test_release_after_an_own_doubt_in_doubt_stays_unknown(subject: Subject) -> None:
    """A delivery that doubts and then releases an effect already in doubt leaves it UNKNOWN, and HELD if it was."""
    in_doubt(subject)
    subject.store.run(doubt("new", "read timeout", hold=True))
    settled = subject.store.run(release("new"))
    assert settled.acted
    record = record_of(subject.store)
    assert (record.state, record.held, record.reason) == (State.UNKNOWN, True, "read timeout")
