"""CandleCache and SignalPublishCache in both flavours: values, records, clearing and listing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

import dedup
from dedup import InvalidInput, MemoryStore, State
from tests.contract.subjects import SetClock
from tests.engines import Engine
from tests.seed.flavours import Flavour, told

START = datetime(2025, 1, 1, 10, 15, tzinfo=UTC)
KEY = "candle:GOLD:15m:2025-01-01T10:15:00"
DAY_S = 86_400


@pytest.fixture
async def cache(engine: Engine, flavour: Flavour) -> Any:
    """The candles' cache over a real server."""
    return await flavour.candle_cache()


@pytest.fixture
async def signal_cache(engine: Engine, flavour: Flavour) -> Any:
    """The signals' cache over a real server."""
    return await flavour.signal_cache()


@pytest.mark.parametrize(
    "value",
    [
        "processed",
        "Öl ✓",
        "",
        "123",
        "true",
        '"x"',
        "[1",
        {"a": [1, 2.5, None, True]},
        [],
        7,
        1.5,
        False,
        None,
        {"a": {"b": "c"}},
    ],
    ids=repr,
)
async def test_value_comes_back(cache: Any, value: Any) -> None:
    """Text and JSON values come back as they were."""
    await told(cache.set(KEY, value))
    found = await told(cache.get(KEY))
    assert (found, type(found)) == (value, type(value))
    assert await told(cache.exists(KEY))


async def test_moments_and_decimals_are_kept_as_text(cache: Any) -> None:
    """A moment is kept as ISO-8601 in UTC and a decimal as a string, in which no digit is lost."""
    await told(cache.set(KEY, {"at": START, "price": Decimal("1.10")}))
    assert await told(cache.get(KEY)) == {"at": "2025-01-01T10:15:00Z", "price": "1.10"}


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, float("nan"), START.replace(tzinfo=None), b"x"], ids=lambda value: type(value).__name__
)
async def test_what_is_no_json_is_refused(cache: Any, value: Any) -> None:
    """What cannot be written as JSON is an error, and nothing is stored."""
    with pytest.raises(InvalidInput):
        await told(cache.set(KEY, value))
    assert not await told(cache.exists(KEY))


async def test_missing_value_is_none(cache: Any) -> None:
    """A key that nobody has set is None, does not exist, and deleting it says that there was none."""
    assert await told(cache.get(KEY)) is None
    assert not await told(cache.exists(KEY))
    assert not await told(cache.delete(KEY))


@pytest.mark.parametrize(("ttl", "left_s"), [(None, 3600), (60, 60), (0.5, 1), (2 * DAY_S, 2 * DAY_S)])
async def test_value_lives_for_its_ttl(cache: Any, engine: Engine, ttl: float | None, left_s: int) -> None:
    """A value lives for the TTL that is given in seconds, and as long as a record where none is."""
    await told(cache.set(KEY, "processed", ttl=ttl))
    assert left_s - 1 <= engine.client().pttl(KEY) / 1000 <= left_s


@pytest.mark.parametrize("ttl", [0, -1, 0.0001, float("nan"), float("inf")])
async def test_ttl_is_positive(cache: Any, ttl: float) -> None:
    """A TTL that is none is refused."""
    with pytest.raises(InvalidInput, match="ttl"):
        await told(cache.set(KEY, "processed", ttl=ttl))


async def test_value_is_gone_after_its_ttl(process: None, flavour: Flavour) -> None:
    """A value does not outlive its TTL."""
    clock = SetClock()
    cache = flavour.names.CandleCache(flavour.memory(MemoryStore(clock_ms=clock)))
    await told(cache.set(KEY, "processed", ttl=60))
    clock.pass_ms(60_000)
    assert not await told(cache.exists(KEY))


async def test_keys_are_the_documents(cache: Any, signal_cache: Any) -> None:
    """Keys are built as the document writes them; a signal's timeframe and strategy follow where they are given."""
    assert cache.key("gold", "15m", START) == KEY
    assert signal_cache.key("GOLD", START) == "signal:publish:GOLD:2025-01-01T10:15:00"
    assert signal_cache.key("GOLD", START, "15m", "rsi") == "signal:publish:GOLD:2025-01-01T10:15:00:15m:rsi"
    fields = {"instrument": "GOLD", "timeframe": "15m", "side": "buy"}
    assert signal_cache.key_of(fields, START) == "signal:publish:GOLD:2025-01-01T10:15:00:15m"


async def test_claim_protocol_is_at_hand(cache: Any) -> None:
    """A claim is held by one token, and what its holder completes is a duplicate to everybody, with its value."""
    first, second = await told(cache.claim(KEY, "a")), await told(cache.claim(KEY, "b"))
    assert (first.answer, second.answer) == ("acquired", "busy")
    assert (await told(cache.release(KEY, "a", "no bar", retry_s=1))).acted
    assert (await told(cache.claim(KEY, "b"))).answer == "acquired"
    assert (await told(cache.complete(KEY, "b", "evaluated", {"signals": []}))).acted
    duplicate = await told(cache.claim(KEY, "c"))
    assert (duplicate.answer, duplicate.record.value) == ("duplicate", {"signals": []})


async def test_deleted_record_may_be_worked_again(cache: Any) -> None:
    """Deleting a record forgets it at once, also what this process knew of it."""
    await told(cache.claim(KEY, "a"))
    await told(cache.complete(KEY, "a", "evaluated"))
    assert (await told(cache.claim(KEY, "b"))).source == "local"
    assert await told(cache.delete(KEY))
    assert (await told(cache.claim(KEY, "b"))).answer == "acquired"


async def test_hit_rate_is_told(cache: Any) -> None:
    """The cache tells how many claims were answered without a round trip, and a bare store has nothing to tell."""
    await told(cache.complete(KEY, "a", "evaluated"))
    for key in (KEY, KEY, "candle:other"):
        await told(cache.claim(key, "b"))
    assert (cache.local_stats.hits, cache.local_stats.misses) == (2, 1)
    assert dedup.CandleCache(MemoryStore()).local_stats is None


async def test_memory_of_signals_begins_when_their_cache_is_got(signal_cache: Any, engine: Engine) -> None:
    """Getting the signals' cache lets the store's memory begin, and it goes on after that."""
    since = json.loads(engine.client().get("dedup:since"))["since"]
    assert await told(signal_cache.begin()) == since


async def fill(cache: Any, engine: Engine) -> None:
    """Records and values of this cache, and what belongs to others."""
    admin = engine.client()
    admin.set("celery", "a queue")
    admin.set("prod:candle:GOLD:15m:x", "another deployment's")
    admin.set("signal:publish:GOLD:x", "a signal")
    for number in range(3):
        await told(cache.set(f"candle:GOLD:15m:{number}", "processed"))
    await told(cache.set("candle:SILVER:1h:0", "processed"))


@pytest.mark.parametrize(
    ("pattern", "cleared"),
    [
        ("*", 4),
        ("candle:*", 4),
        ("candle:GOLD:*", 3),
        ("candle:*:1h:*", 1),
        ("candle:GOLD:15m:[01]", 2),
        ("celery", 0),
        ("signal:*", 0),
        ("prod:*", 0),
        ("?elery", 0),
    ],
)
async def test_clearing_touches_only_its_own(cache: Any, engine: Engine, pattern: str, cleared: int) -> None:
    """Clearing deletes what the pattern matches among the cache's own keys, and says how many: never a queue, a signal
    or another deployment's keys.
    """
    await fill(cache, engine)
    assert await told(cache.clear(pattern, dry_run=True)) == cleared
    assert engine.client().dbsize() == 7
    assert await told(cache.clear(pattern)) == cleared
    assert engine.client().dbsize() == 7 - cleared
    assert await told(cache.clear(pattern)) == 0


async def test_clearing_without_a_pattern_takes_all_of_the_cache(cache: Any, engine: Engine) -> None:
    """Without a pattern all of this cache is cleared, and nothing else."""
    await fill(cache, engine)
    assert await told(cache.clear()) == 4
    assert set(engine.client().keys("*")) == {"celery", "prod:candle:GOLD:15m:x", "signal:publish:GOLD:x"}


async def test_clearing_leaves_the_mark_of_memory(signal_cache: Any, engine: Engine) -> None:
    """Clearing signals leaves the mark of when the store's memory began."""
    await told(signal_cache.set("signal:publish:GOLD:x", "1"))
    assert await told(signal_cache.clear()) == 1
    assert engine.client().keys("*") == ["dedup:since"]


async def test_clearing_walks_over_many_keys(cache: Any, engine: Engine) -> None:
    """More keys than one step of SCAN finds, or one UNLINK takes, are all cleared and counted once; KEYS, which stops a
    server while it looks, is never sent.
    """
    pipe = engine.client().pipeline()
    for number in range(2500):
        pipe.set(f"candle:GOLD:15m:{number}", "1")
    pipe.execute()
    engine.client().config_resetstat()
    assert await told(cache.clear(dry_run=True)) == 2500
    assert await told(cache.clear()) == 2500
    assert engine.client().dbsize() == 0
    sent = engine.client().info("commandstats")
    assert "cmdstat_keys" not in sent
    assert sent["cmdstat_scan"]["calls"] >= 6


async def in_every_state(cache: Any) -> None:
    """One record in each state, and a plain value."""
    for name in ("claimed", "released", "unknown", "done"):
        await told(cache.claim(f"candle:{name}", "a"))
    await told(cache.release("candle:released", "a", "no bar"))
    await told(cache.store.run(dedup.SignalRules().doubt("candle:unknown", "a", "", "read timeout", hold=True)))
    await told(cache.complete("candle:done", "a", "evaluated"))
    await told(cache.set("candle:plain", "processed"))


@pytest.mark.parametrize(
    ("state", "names"),
    [
        (None, ["claimed", "done", "plain", "released", "unknown"]),
        (State.CLAIMED, ["claimed"]),
        ("released", ["released"]),
        ("unknown", ["unknown"]),
        ("done", ["done", "plain"]),
    ],
)
async def test_records_are_listed_by_state(cache: Any, state: str | None, names: list[str]) -> None:
    """Listing gives records with their keys, in the order of the keys; a plain value counts as done."""
    await in_every_state(cache)
    found = await told(cache.list_records(state))
    assert [key for key, _ in found] == [f"candle:{name}" for name in names]
    if state is not None:
        assert {record.state for _, record in found} == {State(state)}


async def test_listing_goes_by_pattern_and_limit(cache: Any, engine: Engine) -> None:
    """A pattern narrows the list down, a limit cuts it off, and other caches' keys are in neither."""
    await fill(cache, engine)
    assert len(await told(cache.list_records(pattern="candle:GOLD:*"))) == 3
    assert [key for key, _ in await told(cache.list_records(limit=2))] == ["candle:GOLD:15m:0", "candle:GOLD:15m:1"]
    assert await told(cache.list_records(limit=0)) == []
    assert await told(cache.list_records(pattern="celery")) == []


async def test_unknown_states_are_refused(cache: Any) -> None:
    """A state that there is not is an error that names those that there are."""
    with pytest.raises(InvalidInput, match="claimed, released, unknown, done"):
        await told(cache.list_records("finished"))


async def test_many_records_are_peeked_at_once(cache: Any) -> None:
    """Peeking answers in order, None where there is nothing, over several batches."""
    keys = [f"candle:{number}" for number in range(2100)]
    await told(cache.complete(keys[2050], "a", "evaluated"))
    peeked = await told(cache.peek_many(keys))
    assert [at for at, found in enumerate(peeked) if found.record] == [2050]
    assert await told(cache.peek_many([])) == []
