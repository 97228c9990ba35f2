"""The seed's cache, the mark of memory, and looking without touching."""

from __future__ import annotations

import pytest

from dedup.ops import Begin, Peek
from dedup.stores.protocol import Store
from tests.contract.steps import KEY, SHORT_MS, TTL_MS, claim, record_of, untimed
from tests.contract.subjects import Subject


@pytest.mark.parametrize("text", ["processed", "", "Öl ✓ 🚀", '{"a": [1, 2]}', "x" * 100_000])
def test_put_is_got_back(store: Store, text: str) -> None:
    """What was put is got back, to the byte."""
    store.put("k", text, TTL_MS)
    assert store.get("k") == text


def test_missing_key_is_none(store: Store) -> None:
    """A key without a value is None, not an empty text."""
    assert store.get("k") is None


def test_put_overwrites_value_and_ttl(subject: Subject) -> None:
    """A second put replaces the text and the TTL of the first."""
    subject.store.put("k", "1", TTL_MS)
    subject.store.put("k", "2", 10 * TTL_MS)
    assert subject.store.get("k") == "2"
    assert 9 * TTL_MS < subject.ttl_ms("k") <= 10 * TTL_MS


def test_put_expires(subject: Subject) -> None:
    """A text is gone after its TTL, and not before."""
    subject.store.put("k", "1", SHORT_MS)
    subject.store.put("later", "1", TTL_MS)
    subject.pass_ms(SHORT_MS + 1)
    assert (subject.store.get("k"), subject.store.get("later")) == (None, "1")


def test_delete_counts_what_was_there(store: Store) -> None:
    """Deleting says how many of the keys existed, each counted once."""
    store.put("k1", "1", TTL_MS)
    store.put("k2", "2", TTL_MS)
    assert store.delete("k1", "k2", "k1", "k3") == 2
    assert store.delete("k1", "k2") == 0
    assert store.delete() == 0
    assert store.get("k1") is None


PATTERNS = {
    "*": {"candle:GOLD:15m:1", "candle:GOLD:1h:1", "candle:SILVER:15m:1", "signal:publish:GOLD:1", "p:candle:GOLD"},
    "candle:*": {"candle:GOLD:15m:1", "candle:GOLD:1h:1", "candle:SILVER:15m:1"},
    "candle:GOLD:*": {"candle:GOLD:15m:1", "candle:GOLD:1h:1"},
    "candle:*:15m:*": {"candle:GOLD:15m:1", "candle:SILVER:15m:1"},
    "candle:GOLD:1?:1": {"candle:GOLD:1h:1"},
    "candle:[GX]OLD:15m:1": {"candle:GOLD:15m:1"},
    "candle:[^G]*": {"candle:SILVER:15m:1"},
    "candle:[A-H]*:1h:1": {"candle:GOLD:1h:1"},
    "candle:GOLD:15m:1": {"candle:GOLD:15m:1"},
    "CANDLE:*": set(),
    "candle": set(),
}


@pytest.mark.parametrize(("pattern", "found"), PATTERNS.items(), ids=PATTERNS)
def test_scan_finds_by_pattern(store: Store, pattern: str, found: set[str]) -> None:
    """Scanning takes Redis' glob patterns, on the whole key and case by case."""
    for key in PATTERNS["*"]:
        store.put(key, "1", TTL_MS)
    assert set(store.scan(pattern)) == found


def test_scan_finds_everything(store: Store) -> None:
    """A scan over more keys than one step of it returns finds each of them."""
    keys = [f"candle:{number}" for number in range(900)]
    for key in keys:
        store.put(key, "1", TTL_MS)
    assert set(store.scan("candle:*")) == set(keys)


def test_keys_may_be_deleted_while_they_are_scanned(store: Store) -> None:
    """Clearing by pattern deletes while it scans."""
    for number in range(300):
        store.put(f"candle:{number}", "1", TTL_MS)
    store.put("signal:1", "1", TTL_MS)
    assert sum(store.delete(key) for key in store.scan("candle:*")) == 300
    assert list(store.scan("*")) == ["signal:1"]


def test_closed_store_may_be_used_again(store: Store) -> None:
    """Closing gives back connections and nothing else."""
    store.run(claim("a"))
    store.close()
    assert record_of(store).token == "a"


def test_memory_begins_once(with_one_mark: Subject) -> None:
    """The first look lets the store's memory begin now; every later one reads that moment; it never expires."""
    began = with_one_mark.store.run(Begin("mark"))
    now_ms = with_one_mark.store.run(Peek("k")).now_ms
    assert began.just_now
    assert now_ms - 10_000 < began.since_ms <= now_ms
    with_one_mark.pass_ms(5)
    again = with_one_mark.store.run(Begin("mark"))
    assert (again.since_ms, again.just_now, again.source) == (began.since_ms, False, with_one_mark.store.source)
    assert with_one_mark.ttl_ms("mark") == -1


def test_memory_begins_again_after_it_was_lost(with_one_mark: Subject) -> None:
    """A store that has lost its mark has lost its memory: it begins later than before."""
    began = with_one_mark.store.run(Begin("mark"))
    with_one_mark.pass_ms(5)
    with_one_mark.store.delete("mark")
    again = with_one_mark.store.run(Begin("mark"))
    assert again.just_now
    assert again.since_ms >= began.since_ms + 5


@pytest.mark.parametrize("text", ["", "yesterday", "1.5", "-5", "0x10", "1e12", " 1", "٣", "²", "nan", "inf", "[1]"])
def test_unreadable_mark_begins_memory_now(with_one_mark: Subject, text: str) -> None:
    """A mark that is no whole number of ms says nothing, so memory begins now."""
    store = with_one_mark.store
    store.put("mark", text, TTL_MS)
    began = store.run(Begin("mark"))
    assert began.just_now
    assert began.since_ms > 1_700_000_000_000
    assert not store.run(Begin("mark")).just_now


def test_mark_may_be_set_back_by_hand(with_one_mark: Subject) -> None:
    """An operator who restored a backup may write the mark by hand."""
    store = with_one_mark.store
    store.put("mark", "1700000000000", TTL_MS)
    began = store.run(Begin("mark"))
    assert (began.since_ms, began.just_now) == (1_700_000_000_000, False)


def test_peek_changes_nothing(subject: Subject) -> None:
    """Peeking tells the record and the store's clock and leaves both record and TTL as they are."""
    claimed = subject.store.run(claim("a"))
    text, ttl_ms = subject.store.get(KEY), subject.ttl_ms(KEY)
    subject.pass_ms(5)
    peeked = subject.store.run(Peek(KEY))
    assert (untimed(peeked.record), peeked.source) == (untimed(claimed.record), subject.store.source)
    assert subject.store.get(KEY) == text
    assert subject.ttl_ms(KEY) <= ttl_ms - 5


def test_peek_at_nothing_creates_nothing(store: Store) -> None:
    """Peeking at a key without a record answers None and leaves none."""
    assert store.run(Peek(KEY)).record is None
    assert store.get(KEY) is None
