"""Rules 1 and 3: what `claim` answers, and what it leaves behind."""

from __future__ import annotations

import time

import pytest

from dedup.ops import Answer, Peek
from dedup.records import Record, State
from dedup.stores.protocol import Store
from tests.contract.steps import KEY, LEASE_MS, TTL_MS, claim, complete, doubt, lapse, record_of, release, untimed
from tests.contract.subjects import Subject


def test_key_without_a_record_is_acquired(store: Store) -> None:
    """The first claim of a key is ACQUIRED: attempt 1, for the whole lease, by this token."""
    claimed = store.run(claim("a", digest="d1"))
    assert claimed.answer is Answer.ACQUIRED
    assert (claimed.left_ms, claimed.fresh, claimed.source) == (LEASE_MS, True, store.source)
    assert untimed(claimed.record) == Record(State.CLAIMED, token="a", attempt=1, digest="d1")
    peeked = store.run(Peek(KEY))
    assert untimed(peeked.record) == untimed(claimed.record)
    assert peeked.record is not None
    assert LEASE_MS - 10_000 < peeked.record.until_ms - peeked.now_ms <= LEASE_MS


def test_claimed_key_is_busy_for_others(store: Store) -> None:
    """While the lease runs another token is told BUSY, what is left of the lease, and who holds it."""
    held = store.run(claim("a")).record
    busy = store.run(claim("b"))
    assert (busy.answer, untimed(busy.record)) == (Answer.BUSY, untimed(held))
    assert LEASE_MS - 10_000 < busy.left_ms <= LEASE_MS


def test_same_token_is_acquired_again(store: Store) -> None:
    """A claim that the client sent twice is ACQUIRED twice, as the same attempt: it never locks its own winner out."""
    first = store.run(claim("a"))
    again = store.run(claim("a"))
    assert (again.answer, again.record.attempt, again.fresh) == (Answer.ACQUIRED, 1, True)
    assert again.record.until_ms >= first.record.until_ms


def test_done_key_is_a_duplicate(store: Store) -> None:
    """What is DONE is a DUPLICATE for everyone, its own worker too, and the answer tells how it ended."""
    store.run(claim("a"))
    store.run(complete("a", "evaluated", value='{"signals":[]}', reason="nothing to do"))
    for token in ("a", "b"):
        claimed = store.run(claim(token))
        assert (claimed.answer, claimed.left_ms, claimed.fresh) == (Answer.DUPLICATE, 0, False)
        assert (claimed.record.outcome, claimed.record.reason) == ("evaluated", "nothing to do")
        assert claimed.record.value == {"signals": []}


def test_held_key_is_unknown(store: Store) -> None:
    """An effect that is held for a person answers UNKNOWN, with the reason, even to a delivery that could resume."""
    store.run(claim("a", effect=True))
    store.run(doubt("a", "read timeout", hold=True))
    claimed = store.run(claim("b", effect=True, resume=True))
    assert (claimed.answer, claimed.record.held, claimed.record.reason) == (Answer.UNKNOWN, True, "read timeout")


@pytest.mark.parametrize("effect", [False, True])
def test_released_key_is_acquired_as_the_next_attempt(store: Store, effect: bool) -> None:
    """Released work is ACQUIRED at once, before its retry is due, as the next attempt and not as fresh."""
    store.run(claim("a", effect=effect))
    store.run(release("a", retry_ms=30_000))
    claimed = store.run(claim("b", effect=effect))
    assert (claimed.answer, claimed.record.attempt, claimed.fresh) == (Answer.ACQUIRED, 2, False)
    assert not claimed.record.in_doubt


def test_expired_record_is_forgotten(subject: Subject) -> None:
    """Once its TTL has run out a key is as if it had never been: that is what the horizon guards against."""
    subject.store.run(complete("a", ttl_ms=20))
    subject.pass_ms(21)
    assert subject.store.run(claim("b")).fresh


def test_attempt_never_falls(subject: Subject) -> None:
    """Through release, takeover, doubt and completion the attempt only grows while the key lives."""
    store = subject.store
    attempts = [lapse(subject, "a", effect=True).record.attempt]
    attempts.append(store.run(claim("b", effect=True, resume=True)).record.attempt)
    store.run(release("b"))
    attempts.append(record_of(store).attempt)
    attempts.append(store.run(claim("c", effect=True, resume=True)).record.attempt)
    store.run(doubt("c"))
    attempts.append(record_of(store).attempt)
    attempts.append(store.run(claim("d", effect=True, resume=True)).record.attempt)
    store.run(complete("d"))
    attempts.append(record_of(store).attempt)
    assert attempts == [1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("refusal", ["busy", "duplicate", "conflict", "unknown"])
def test_refusals_change_nothing(subject: Subject, refusal: str) -> None:
    """BUSY, DUPLICATE, CONFLICT and a second UNKNOWN leave the record and its TTL as they were."""
    store = subject.store
    store.run(claim("a", effect=True, digest="d1"))
    if refusal == "duplicate":
        store.run(complete("a"))
    if refusal == "unknown":
        store.run(doubt("a", hold=True))
    text = store.get(KEY)
    digest = "d2" if refusal == "conflict" else "d1"
    claimed = store.run(claim("b", effect=True, digest=digest, ttl_ms=10 * TTL_MS, held_ttl_ms=10 * TTL_MS))
    assert claimed.answer == refusal
    assert store.get(KEY) == text
    assert subject.ttl_ms(KEY) <= TTL_MS


@pytest.mark.parametrize("skew_s", [-86_400, 86_400])
def test_workers_clock_does_not_matter(store: Store, monkeypatch: pytest.MonkeyPatch, skew_s: int) -> None:
    """Leases are measured by the store's clock: a worker whose own clock is a day off neither steals nor overstays."""
    true_s = time.time
    monkeypatch.setattr(time, "time", lambda: true_s() + skew_s)
    claimed = store.run(claim("a"))
    monkeypatch.setattr(time, "time", lambda: true_s() - skew_s)
    busy = store.run(claim("b"))
    assert (busy.answer, untimed(busy.record)) == (Answer.BUSY, untimed(claimed.record))
    assert LEASE_MS - 10_000 < busy.left_ms <= LEASE_MS
