"""A server that goes away and comes back: who answers meanwhile, at what price, and what is said about it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from dedup import Answer, CircuitState, Fallback, StoreRefused, StoreUnavailable, new_token
from dedup import aio as dedup_aio
from dedup.ops import Begin, Claim, Complete, Peek
from tests.engines import free_port
from tests.fallback.conftest import BlackHole, Outage, Server

HOUR_MS = 3_600_000
KEY = "candle:GOLD:15m:2025-01-01T10:15:00"
NOBODY = "redis://127.0.0.1:{port}/0"


def claim(key: str = KEY, token: str = "a") -> Claim:
    return Claim(key, token, HOUR_MS, HOUR_MS)


@pytest.fixture
def gone(beside: Callable[[str], Outage]) -> Outage:
    """A process beside a server that is away for good."""
    return beside(NOBODY.format(port=free_port()))


def test_server_that_is_there_answers(outage: Outage) -> None:
    """While the server is there it answers, and nothing is kept in memory."""
    store = outage.store()
    assert (store.source, store.run(claim()).source) == ("redis", "redis")
    assert len(outage.memory) == 0


def test_memory_answers_while_it_is_away(gone: Outage) -> None:
    """Claims go on in memory, each once, and every answer says so."""
    store = gone.store()
    answers = [store.run(claim(token=new_token())) for _ in range(3)]
    assert [(each.answer, each.source) for each in answers] == [
        (Answer.ACQUIRED, "memory"),
        (Answer.BUSY, "memory"),
        (Answer.BUSY, "memory"),
    ]
    assert store.source == "memory"


def test_plain_values_are_in_memory_while_it_is_away(gone: Outage) -> None:
    """Values are set, found, listed and deleted in memory."""
    store = gone.store()
    store.put("k", "1", HOUR_MS)
    assert (store.get("k"), list(store.scan("*")), store.delete("k"), store.get("k")) == ("1", ["k"], 1, None)
    assert (store.run_many([]), store.delete()) == ([], 0)


def test_refusing_store_refuses(gone: Outage) -> None:
    """A store that is to refuse raises for every call, with the reason, and keeps nothing in memory."""
    store = gone.store(Fallback.REFUSE)
    calls: list[Callable[[], Any]] = [
        lambda: store.run(claim()),
        lambda: store.run_many([claim(), Begin("dedup:since")]),
        lambda: store.get("k"),
        lambda: store.put("k", "1", HOUR_MS),
        lambda: store.delete("k"),
        lambda: list(store.scan("*")),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match=r"Redis is away: .* \(away for 0\.0 s, asked again in 1\.0 s\)"):
            call()
    assert (store.source, len(gone.memory)) == ("redis", 0)


def test_stores_of_one_circuit_share_its_knowledge(gone: Outage) -> None:
    """What the candles' store finds out the signals' store knows, and each keeps to its own policy."""
    candles, signals = gone.store(), gone.store(Fallback.REFUSE)
    assert candles.run(claim()).source == "memory"
    with pytest.raises(StoreUnavailable):
        signals.run(claim("signal:publish:GOLD:x"))


def test_outage_costs_one_connection_attempt(beside: Callable[[str], Outage], black_hole: BlackHole) -> None:
    """A server that takes connections and never answers is waited for once in a while, not by every call."""
    silent = beside(black_hole.url)
    silent.patience_s = 0.3
    store = silent.store()
    for number in range(200):
        assert store.run(claim(f"candle:{number}")).source == "memory"
    assert len(black_hole.taken) == 1
    silent.wait(400)
    store.run(claim("candle:early"))
    assert len(black_hole.taken) == 1
    silent.wait()
    for number in range(200):
        store.run(claim(f"candle:again:{number}"))
    assert len(black_hole.taken) == 2


def test_server_is_asked_again_when_its_wait_is_over(outage: Outage, server: Server) -> None:
    """A server that is back is not noticed before the wait is over, and by the first call after it."""
    store = outage.store()
    server.stop()
    assert store.run(claim()).source == "memory"
    server.back()
    outage.wait(900)
    assert store.run(claim("candle:2")).source == "memory"
    outage.wait(100)
    assert store.run(claim("candle:3")).source == "redis"
    assert outage.circuit.state is CircuitState.CLOSED


@pytest.mark.parametrize("call", ["run", "run_many", "get", "put", "delete", "scan"])
def test_every_call_finds_out_that_it_is_back(outage: Outage, server: Server, call: str) -> None:
    """Whichever call comes first after the wait goes to the server that is back."""
    store = outage.store(Fallback.REFUSE)
    calls: dict[str, Callable[[], Any]] = {
        "run": lambda: store.run(claim()),
        "run_many": lambda: store.run_many([Peek(KEY)]),
        "get": lambda: store.get(KEY),
        "put": lambda: store.put(KEY, "1", HOUR_MS),
        "delete": lambda: store.delete(KEY),
        "scan": lambda: list(store.scan("candle:*")),
    }
    server.stop()
    with pytest.raises(StoreUnavailable):
        calls[call]()
    server.back()
    outage.wait()
    calls[call]()
    assert outage.circuit.closed


def test_every_change_is_logged_once(outage: Outage, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """However many calls there are, each change of state is one line, and the last says what became of the memory."""
    caplog.set_level(logging.INFO, "dedup.stores.circuit")
    store = outage.store()

    def burst(name: str) -> None:
        for number in range(20):
            store.run(claim(f"candle:{name}:{number}"))

    burst("before")
    server.stop()
    burst("away")
    outage.wait()
    burst("still away")
    server.back()
    outage.wait(2_000)
    burst("back")
    states = [message.split(": ")[1] for message in caplog.messages]
    assert states == ["open", "half-open", "open", "half-open", "closed"]
    assert "asked again in 1.0 s" in caplog.messages[0]
    assert "asked again in 2.0 s" in caplog.messages[2]
    assert "it is back after 3.0 s" in caplog.messages[4]
    assert "of the records in memory 40 were written to it" in caplog.messages[4]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "INFO", "INFO", "WARNING"]


def test_refusal_is_no_outage(outage: Outage, server: Server) -> None:
    """A server that is there and refuses is asked every time: falling back would hide what someone has to mend."""
    store = outage.store()
    server.client().config_set("maxmemory", "1")
    for _ in range(2):
        with pytest.raises(StoreRefused, match="OOM"):
            store.run(claim())
    assert (outage.circuit.closed, len(outage.memory)) == (True, 0)


def test_frozen_server_is_an_outage(outage: Outage, server: Server) -> None:
    """A server that stops answering in mid-connection is away until it goes on."""
    outage.patience_s = 0.3
    store = outage.store()
    assert store.run(claim()).source == "redis"
    server.freeze()
    assert store.run(claim("candle:2")).source == "memory"
    server.thaw()
    outage.wait()
    assert store.run(claim("candle:3")).source == "redis"


def fill(server: Server) -> None:
    """More keys than one step of SCAN finds."""
    pipe = server.client().pipeline()
    for number in range(3000):
        pipe.set(f"candle:{number}", "1")
    pipe.execute()


def test_listing_does_not_mix_two_places(server: Server) -> None:
    """A listing during which the server goes away raises: half of one place and half of another would be wrong."""
    store = Outage(False, server.url).store()
    fill(server)
    keys = store.scan("candle:*")
    next(keys)
    server.stop()
    with pytest.raises(StoreUnavailable):
        list(keys)
    assert list(store.scan("candle:*")) == []


async def test_awaited_listing_does_not_mix_two_places(server: Server) -> None:
    """The same, awaited."""
    store = dedup_aio.FallbackStore(dedup_aio.RedisStore(dedup_aio.connect(server.url)))
    fill(server)
    keys = store.scan("candle:*")
    await anext(keys)
    server.stop()
    with pytest.raises(StoreUnavailable):
        [key async for key in keys]
    assert [key async for key in store.scan("candle:*")] == []
    await store.close()


async def test_cancelled_probe_makes_room_for_the_next(black_hole: BlackHole) -> None:
    """A call that is cancelled while it asks whether the server is back is replaced by the next one at once."""
    outage = Outage(True, black_hole.url)
    client = dedup_aio.connect(outage.url, socket_timeout=0.05)
    store = dedup_aio.FallbackStore(dedup_aio.RedisStore(client), outage.memory, outage.circuit)
    assert (await store.run(claim())).source == "memory"
    outage.wait(10_000)
    asking = asyncio.create_task(store.run(claim("candle:2")))
    while outage.circuit.state is not CircuitState.HALF_OPEN:
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert outage.circuit.state is CircuitState.OPEN
    permit = outage.circuit.ask()
    assert permit is not None
    assert outage.circuit.probing(permit)
    await store.close()


def test_outage_of_a_settled_candle(outage: Outage, server: Server) -> None:
    """A candle that Redis knew before the outage is not known during it, and is known again afterwards."""
    store = outage.store()
    store.run(Complete(KEY, "a", "evaluated", HOUR_MS))
    server.stop()
    assert store.run(claim(token="b")).answer is Answer.ACQUIRED
    server.back()
    outage.wait()
    known = store.run(claim(token="c"))
    assert (known.answer, known.record.token, known.source) == (Answer.DUPLICATE, "a", "redis")
