"""Rule 7, and how long a record is kept: what stands under the key, byte by byte and ms by ms."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dedup.ops import Claim, Op, Release
from dedup.records import Record
from dedup.stores.protocol import Store
from tests.contract.steps import KEY, LEASE_MS, SHORT_MS, claim, complete, doubt, in_doubt, lapse, record_of, release
from tests.contract.subjects import Subject

HOUR_MS = 3_600_000

VALUES = [
    "[]",
    "{}",
    '{"signals":[],"by":{}}',
    "[[],{},[{}]]",
    "null",
    "false",
    "0",
    '""',
    "1.10",
    "12345678901234567890",
    '{"price":2401.55,"note":"Öl ✓ 🚀"}',
    '{"path":"a/b","quote":"\\"","control":"\\u0001"}',
]

TEXTS = ["plain", "Ölpreis ✓ 🚀", 'a "quote" and a \\ and a /', "two\nlines\tand\x00more\x7f", "\u2028\ufeff", "]]}'"]


def _ttl_after(subject: Subject, *ops: Op[Any]) -> float:
    for op in ops:
        subject.store.run(op)
    return round(subject.ttl_ms(KEY) / HOUR_MS, 2)


KEPT: dict[str, tuple[list[Op[Any]], int]] = {
    "claimed": ([claim("a", ttl_ms=2 * HOUR_MS)], 2),
    "claimed, lease longer than the TTL": ([claim("a", ttl_ms=HOUR_MS, lease_ms=3 * HOUR_MS)], 3),
    "claimed again by its token": ([claim("a", ttl_ms=5 * HOUR_MS), claim("a", ttl_ms=2 * HOUR_MS)], 2),
    "done": ([claim("a"), complete("a", ttl_ms=2 * HOUR_MS)], 2),
    "done, twin": ([complete("a", ttl_ms=2 * HOUR_MS), complete("a", ttl_ms=5 * HOUR_MS)], 2),
    "released": ([claim("a"), release("a", ttl_ms=2 * HOUR_MS)], 2),
    "released, retry later than the TTL": ([claim("a"), release("a", ttl_ms=HOUR_MS, retry_ms=3 * HOUR_MS)], 3),
    "unknown": ([claim("a"), doubt("a", ttl_ms=2 * HOUR_MS)], 2),
    "unknown, retry later than the TTL": ([claim("a"), doubt("a", ttl_ms=HOUR_MS, retry_ms=3 * HOUR_MS)], 3),
    "held by its owner": ([claim("a"), doubt("a", ttl_ms=7 * HOUR_MS, hold=True)], 7),
    "held by a claim": ([doubt("a"), claim("b", effect=True, ttl_ms=HOUR_MS, held_ttl_ms=7 * HOUR_MS)], 7),
    "held by a claim, no TTL of its own": ([doubt("a"), claim("b", effect=True, ttl_ms=2 * HOUR_MS)], 2),
    "failed": (
        [claim("a"), release("a", failed=True), claim("b", max_failures=1, ttl_ms=2 * HOUR_MS)],
        2,
    ),
}


@pytest.mark.parametrize(("ops", "hours"), KEPT.values(), ids=KEPT)
def test_record_is_kept_for_its_ttl(subject: Subject, ops: list[Op[Any]], hours: int) -> None:
    """A record is kept for the TTL of the operation that wrote it, and never shorter than its lease or retry."""
    assert _ttl_after(subject, *ops) == hours


def test_held_after_a_lapsed_lease_is_kept_for_the_held_ttl(subject: Subject) -> None:
    """An effect that a claim found lapsed is HELD for the time that holds are kept."""
    lapse(subject, "a", effect=True)
    assert _ttl_after(subject, claim("b", effect=True, ttl_ms=HOUR_MS, held_ttl_ms=7 * HOUR_MS)) == 7


def test_release_in_doubt_is_kept_for_its_ttl(subject: Subject) -> None:
    """An effect that goes back to UNKNOWN is kept for the TTL of the release."""
    in_doubt(subject)
    assert _ttl_after(subject, release("new", ttl_ms=3 * HOUR_MS)) == 3


@pytest.mark.parametrize("op", [claim("a", lease_ms=1, ttl_ms=SHORT_MS), complete("a", ttl_ms=SHORT_MS)])
def test_record_is_gone_after_its_ttl(subject: Subject, op: Op[Any]) -> None:
    """What has outlived its TTL is gone for every way of reading."""
    subject.store.run(op)
    subject.pass_ms(SHORT_MS + 1)
    assert subject.store.get(KEY) is None
    assert list(subject.store.scan("*")) == []
    assert subject.store.delete(KEY) == 0


def test_records_are_compact_json(subject: Subject) -> None:
    """Every record is one line of JSON without white space or empty fields, readable with GET."""
    steps: list[Callable[[], Op[Any]]] = [
        lambda: claim("a", digest="d1", effect=True),
        lambda: doubt("a", "read-timeout", retry_ms=1),
        lambda: claim("b", effect=True, resume=True, digest="d1"),
        lambda: release("b", failed=True),
        lambda: claim("c", effect=True),
        lambda: complete("a", value="[]", reason="look-up found it"),
    ]
    for step in steps:
        reply = subject.store.run(step())
        text = subject.store.get(KEY)
        assert text is not None
        fields = json.loads(text)
        assert text == json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
        assert all(value not in ("", 0, None) for value in fields.values())
        assert Record.loads(text) == reply.record


def test_candles_record_looks_like_this(store: Store) -> None:
    """A DONE candle reads as its state, outcome, token, attempt, time and signals, under the documented letters."""
    store.run(claim("a"))
    store.run(complete("a", "evaluated", value='{"signals":[]}'))
    fields = json.loads(store.get(KEY) or "")
    assert fields.pop("a") > 1_700_000_000_000
    assert fields == {"s": "done", "o": "evaluated", "t": "a", "n": 1, "v": {"signals": []}}


@pytest.mark.parametrize("value", VALUES)
def test_value_is_kept_verbatim(store: Store, value: str) -> None:
    """The value of a DONE record is kept as it was given, to the byte: no empty list becomes an object."""
    store.run(claim("a"))
    settled = store.run(complete("a", value=value))
    assert (store.get(KEY) or "").endswith(f',"v":{value}}}')
    assert settled.record is not None
    assert settled.record.value == store.run(claim("b")).record.value == json.loads(value)


def test_done_without_a_value_has_none(store: Store) -> None:
    """No value given, no value kept."""
    store.run(complete("a"))
    assert record_of(store).value is None
    assert '"v"' not in (store.get(KEY) or "")


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_survives(store: Store, text: str) -> None:
    """Reasons, outcomes, tokens and digests come back as they were, whatever their characters."""
    token, digest = f"t{text}", f"d{text}"
    assert store.run(claim(token, digest=digest)).record.token == token
    assert store.run(claim("b", digest=digest)).answer == "busy"
    store.run(doubt(token, text))
    assert record_of(store).reason == text
    store.run(release(token, reason=text))
    assert record_of(store).reason == text
    store.run(complete(token, text or "x", reason=text))
    record = record_of(store)
    assert (record.reason, record.outcome, record.token, record.digest) == (text, text, token, digest)


@pytest.mark.parametrize("key", ["signal:publish:GOLD:2025-01-01T10:15:00", "prod:candle:ÖL:1h:x", "a key", "{k}:1"])
def test_records_of_different_keys_do_not_mix(store: Store, key: str) -> None:
    """Each key has its own record, whatever its name."""
    store.run(complete("a"))
    assert store.run(Claim(key, "b", LEASE_MS, HOUR_MS)).fresh
    assert store.run(Release(key, "b", HOUR_MS)).acted
    assert store.run(claim("c")).answer == "duplicate"
