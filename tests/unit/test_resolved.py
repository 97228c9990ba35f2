"""What a person settles, through the caches, and what publishing makes of what they let go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dedup import aio
from dedup.cache import SignalPublishCache
from dedup.delivery import Attempted, Message, Verdict
from dedup.errors import InvalidInput
from dedup.ops import Resolution
from dedup.publish_flow import Ask, LookUp, Publication, Published, Send, Surroundings, publishing
from dedup.records import Record, State
from dedup.rules import OnUnknown, SignalRules, new_token
from dedup.stores.async_memory import AsyncMemoryStore
from dedup.stores.memory import MemoryStore

KEY, SINCE_KEY = "signal:publish:GOLD:2025-01-01T10:15:00", "dedup:since"
NOW_MS = 1_750_000_000_000
CLOSED_AT_MS = NOW_MS - 10_000
POLICIES = list(OnUnknown)
CAUSES = ["a doubt", "a store that forgot", "too many failures"]


def job(expires_in_ms: int = 5_000) -> Publication:
    return Publication(KEY, Message("sig_1", b"{}"), "d1", CLOSED_AT_MS, NOW_MS + expires_in_ms)


def held(policy: OnUnknown, cause: str) -> SignalPublishCache:
    """A cache whose signal is held, for whatever reason."""
    store = MemoryStore(clock_ms=lambda: NOW_MS)
    cache = SignalPublishCache(store, SignalRules(on_unknown=policy, max_failures=1))
    since_ms = CLOSED_AT_MS + 1_000 if cause == "a store that forgot" else CLOSED_AT_MS - 1_000
    store.put(SINCE_KEY, str(since_ms), 0)
    failures = int(cause == "too many failures")
    record = Record(State.UNKNOWN, "owner", failures=failures, held=True, reason=cause, digest="d1")
    store.put(KEY, record.dumps(), 60_000)
    return cache


def let_go(cache: SignalPublishCache) -> None:
    seen = cache.record(KEY)
    assert seen is not None
    assert cache.resolve(KEY, seen, Resolution.RESEND, "anna", "asked the broker").acted


def publish(cache: SignalPublishCache, attempted: Attempted, publication: Publication) -> tuple[list[str], Published]:
    """One delivery: what it asked of the API, and how it ended."""
    around = Surroundings(lambda: NOW_MS, lambda: 0, lambda: 1.0)
    flow = publishing(publication, cache.rules, new_token(), SINCE_KEY, around)
    asked: list[str] = []
    answer: Any = None
    while True:
        try:
            request = flow.send(answer)
        except StopIteration as stop:
            return asked, stop.value
        if isinstance(request, Ask):
            answer = cache.ask(request.ops)
        else:
            asked.append({Send: "POST", LookUp: "look-up"}[type(request)])
            answer = attempted


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("policy", POLICIES)
def test_let_go_is_posted(policy: OnUnknown, cause: str) -> None:
    """Whatever held a signal, and whatever the policy: once a person lets it go, the next delivery posts it."""
    cache = held(policy, cause)
    assert publish(cache, Attempted(Verdict.POSTED, "201 Created", 201), job())[1].outcome == "held"
    let_go(cache)
    asked, published = publish(cache, Attempted(Verdict.POSTED, "201 Created", 201), job())
    assert (asked, published.outcome) == (["POST"], "posted")


@pytest.mark.parametrize("policy", POLICIES)
def test_let_go_waits_for_an_api_that_is_down(policy: OnUnknown) -> None:
    """A delivery that could send nothing leaves it to the next one, which posts."""
    cache = held(policy, "a store that forgot")
    let_go(cache)
    assert publish(cache, Attempted(Verdict.NOT_SENT, "connect refused"), job())[1].outcome == "retry"
    assert publish(cache, Attempted(Verdict.POSTED, "201 Created", 201), job())[1].outcome == "posted"


@pytest.mark.parametrize(
    ("attempted", "expires_in_ms"),
    [(Attempted(Verdict.REJECTED, "422", 422), 5_000), (Attempted(Verdict.POSTED, "201", 201), -1)],
    ids=["refused for good", "too late"],
)
@pytest.mark.parametrize("policy", POLICIES)
def test_let_go_in_vain_is_held_again(policy: OnUnknown, attempted: Attempted, expires_in_ms: int) -> None:
    """Refused for good, or too late, it is held again: neither says anything about the attempt that was in doubt."""
    cache = held(policy, "a doubt")
    let_go(cache)
    assert publish(cache, attempted, job(expires_in_ms))[1].outcome == "held"
    record = cache.record(KEY)
    assert record is not None
    assert (record.held, record.granted, record.by) == (True, False, "anna")


def test_awaited_cache_resolves_too() -> None:
    """The awaited cache settles what the blocking one does."""

    async def resolved() -> Record | None:
        store = MemoryStore()
        store.put(KEY, Record(State.UNKNOWN, "owner", held=True).dumps(), 60_000)
        cache = aio.SignalPublishCache(AsyncMemoryStore(store))
        seen = await cache.record(KEY)
        assert seen is not None
        assert (await cache.resolve(KEY, seen, Resolution.POSTED, "anna", "asked the broker")).acted
        return await cache.record(KEY)

    record = asyncio.run(resolved())
    assert record is not None
    assert (record.state, record.outcome, record.by) == (State.DONE, "posted", "anna")


@pytest.mark.parametrize(("by", "why"), [("", "asked"), ("anna", " "), ("a" * 301, "asked"), ("anna", "x" * 301)])
def test_decisions_are_answered_for(by: str, why: str) -> None:
    """Nobody, no reason, or more than a record should hold is refused, and nothing changes."""
    cache = held(OnUnknown.HOLD, "a doubt")
    seen = cache.record(KEY)
    assert seen is not None
    with pytest.raises(InvalidInput):
        cache.resolve(KEY, seen, Resolution.POSTED, by, why)
    assert cache.record(KEY) == seen
