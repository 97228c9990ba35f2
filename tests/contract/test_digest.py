"""Rule 4: one key, one payload."""

from __future__ import annotations

import pytest

from dedup.ops import Answer
from dedup.stores.protocol import Store
from tests.contract.steps import KEY, SHORT_MS, claim, complete, doubt, lapse, record_of, release, untimed
from tests.contract.subjects import Subject


@pytest.mark.parametrize("token", ["a", "b"])
@pytest.mark.parametrize("state", ["claimed", "lapsed", "unknown", "held", "done"])
def test_another_payload_conflicts(subject: Subject, state: str, token: str) -> None:
    """A key that is taken by another payload is a CONFLICT for every token, in whatever state, and changes nothing."""
    store = subject.store
    store.run(claim("a", effect=True, digest="d1", lease_ms=SHORT_MS if state == "lapsed" else 60_000))
    if state == "lapsed":
        subject.pass_ms(SHORT_MS + 1)
    if state in ("unknown", "held"):
        store.run(doubt("a", hold=state == "held"))
    if state == "done":
        store.run(complete("a"))
    text = store.get(KEY)
    claimed = store.run(claim(token, effect=True, resume=True, digest="d2"))
    assert (claimed.answer, claimed.left_ms, claimed.fresh) == (Answer.CONFLICT, 0, False)
    assert (untimed(claimed.record), store.get(KEY)) == (untimed(record_of(store)), text)
    assert claimed.record.digest == "d1"


def test_same_payload_does_not_conflict(store: Store) -> None:
    """The same payload is told BUSY, then DUPLICATE."""
    store.run(claim("a", digest="d1"))
    assert store.run(claim("b", digest="d1")).answer is Answer.BUSY
    store.run(complete("a"))
    assert store.run(claim("b", digest="d1")).answer is Answer.DUPLICATE


@pytest.mark.parametrize(("first", "second"), [("d1", ""), ("", "d2"), ("", "")])
def test_missing_digest_is_not_compared(store: Store, first: str, second: str) -> None:
    """Where either side gives no digest there is nothing to compare."""
    store.run(claim("a", digest=first))
    assert store.run(claim("b", digest=second)).answer is Answer.BUSY


def test_released_key_takes_another_payload(store: Store) -> None:
    """Nothing happened under a released key, so the next claim may bring another payload, which then counts."""
    store.run(claim("a", digest="d1"))
    store.run(release("a"))
    claimed = store.run(claim("b", digest="d2"))
    assert (claimed.answer, claimed.record.digest) == (Answer.ACQUIRED, "d2")
    assert store.run(claim("c", digest="d1")).answer is Answer.CONFLICT


@pytest.mark.parametrize("effect", [False, True])
def test_digest_survives_a_takeover(subject: Subject, effect: bool) -> None:
    """The payload's digest is in the record after a takeover as well."""
    lapse(subject, "a", effect=effect, digest="d1")
    subject.store.run(claim("b", effect=effect, resume=True, digest="d1"))
    assert record_of(subject.store).digest == "d1"
    assert subject.store.run(claim("c", effect=effect, digest="d2")).answer is Answer.CONFLICT


def test_digest_survives_release_in_doubt(subject: Subject) -> None:
    """Work that goes back to UNKNOWN keeps its digest: another payload conflicts."""
    lapse(subject, "a", effect=True, digest="d1")
    subject.store.run(claim("b", effect=True, resume=True, digest="d1"))
    subject.store.run(release("b"))
    assert subject.store.run(claim("c", effect=True, resume=True, digest="d2")).answer is Answer.CONFLICT
