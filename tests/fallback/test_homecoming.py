"""What was kept in memory during an outage, and what becomes of it when Redis is back."""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from dedup import Answer, Circuit, Fallback, Record, State, new_token
from dedup.adopt import Adopted, Kept, adoption, settlement
from dedup.ops import Begin, Claim, Complete, Doubt, Op, Peek, Release
from tests.contract.subjects import SetClock
from tests.fallback.conftest import Outage, Server

HOUR_MS = 3_600_000
LEASE_MS = 90_000
KEY = "candle:GOLD:15m:2025-01-01T10:15:00"


def claim(token: str, key: str = KEY, **fields: Any) -> Claim:
    return Claim(key, token, **{"lease_ms": LEASE_MS, "ttl_ms": HOUR_MS, **fields})


def complete(token: str, outcome: str = "evaluated", **fields: Any) -> Complete:
    return Complete(KEY, token, outcome, **{"ttl_ms": HOUR_MS, **fields})


def release(token: str, **fields: Any) -> Release:
    return Release(KEY, token, **{"ttl_ms": HOUR_MS, **fields})


def doubt(token: str, hold: bool = False) -> Doubt:
    return Doubt(KEY, token, "read timeout", HOUR_MS, hold)


HELD, DONE = [claim("a"), doubt("a", hold=True)], [complete("a", value='{"signals":[]}')]
STATES: dict[str, list[Op[Any]]] = {
    "claimed": [claim("a", digest="d1")],
    "failed": [claim("a"), release("a", failed=True, retry_ms=60_000, reason="ValueError")],
    "unknown": [claim("a", effect=True), doubt("a")],
    "held": HELD,
    "done": DONE,
    "posted": [complete("a", "posted", reason="201 Created")],
}
"""The ways to each state of a record."""


def away(outage: Outage, server: Server, ops: list[Op[Any]]) -> Record:
    """Take the server away and run operations meanwhile; the record as memory has it then."""
    store = outage.store()
    server.stop()
    for op in ops:
        assert store.run(op).source == "memory"
    record = store.run(Peek(KEY)).record
    assert record is not None
    return record


def home(outage: Outage, server: Server) -> Record:
    """Bring the server back and look at the record."""
    server.back()
    outage.wait()
    peeked = outage.store().run(Peek(KEY))
    assert (peeked.source, outage.memory.entries()) == ("redis", [])
    assert peeked.record is not None
    record: Record = peeked.record
    return record


@pytest.mark.parametrize("ops", STATES.values(), ids=STATES)
def test_records_of_the_outage_are_written_to_redis(outage: Outage, server: Server, ops: list[Op[Any]]) -> None:
    """Whatever state a record came to in memory it has in Redis afterwards, with all its fields and the rest of its
    life.
    """
    kept = away(outage, server, ops)
    record = home(outage, server)
    same = {"until_ms": 0, "at_ms": 0}
    assert replace(record, **same) == replace(kept, **same)
    # Both clocks are this machine's.
    assert abs(record.until_ms - kept.until_ms) < 1_000
    assert abs(record.at_ms - kept.at_ms) < 1_000
    assert HOUR_MS - 60_000 < server.client().pttl(KEY) <= HOUR_MS


def test_values_of_the_outage_are_written_to_redis(outage: Outage, server: Server) -> None:
    """A plain value that was set during the outage is there afterwards, to the byte."""
    store = outage.store()
    server.stop()
    store.put(KEY, "processed", HOUR_MS)
    server.back()
    outage.wait()
    assert store.get(KEY) == "processed"
    assert server.client().get(KEY) == "processed"


THEIRS = [
    '{"s":"done","t":"x","o":"posted","n":1,"a":1750000000000}',
    '{"s":"claimed","t":"x","n":3,"u":9750000000000,"a":1750000000000}',
    '{"s":"claimed","t":"x","n":1,"u":1,"a":1}',
    '{"s":"released","t":"x","n":2,"f":1,"a":1750000000000}',
    '{"s":"unknown","t":"x","n":1,"h":1,"w":"read timeout"}',
    '{"s":"done","t":"a","o":"posted","n":1}',
    '{"s":"released","t":"a","n":2}',
    '{"s":"unknown","t":"a","n":1,"w":"read timeout"}',
    "processed",
    "",
    "[1, 2]",
]


@pytest.mark.parametrize("ops", STATES.values(), ids=STATES)
def test_what_redis_knows_stands(outage: Outage, server: Server, ops: list[Op[Any]]) -> None:
    """A key that Redis knows is left as it is, to the byte and to its TTL, whatever memory has under it."""
    admin = server.client()
    known = {f"candle:{number}": text for number, text in enumerate(THEIRS)}
    for key, text in known.items():
        admin.set(key, text, px=7_000_000)
    away(outage, server, [replace(op, key=key) for key in known for op in ops] + ops)
    home(outage, server)
    assert {key: admin.get(key) for key in known} == known
    assert all(admin.pttl(key) > HOUR_MS for key in known)


def test_foreign_types_stand(outage: Outage, server: Server) -> None:
    """A list under a record's key is somebody else's and stays one."""
    admin = server.client()
    admin.rpush(KEY, "x")
    away(outage, server, DONE)
    server.back()
    outage.wait()
    assert outage.store().run(claim("b")).answer is Answer.DUPLICATE
    assert admin.lrange(KEY, 0, -1) == ["x"]


@pytest.mark.parametrize("outcome", ["evaluated", "posted"])
def test_own_claim_ends_as_the_work_ended(outage: Outage, server: Server, outcome: str) -> None:
    """A delivery that had claimed in Redis and completed during the outage is DONE in Redis afterwards."""
    store = outage.store()
    store.run(claim("a", digest="d1"))
    away(outage, server, [complete("a", outcome, value='{"signals":[1.10]}', reason="all well")])
    record = home(outage, server)
    assert (record.state, record.outcome, record.token, record.digest) == (State.DONE, outcome, "a", "d1")
    assert (record.value, record.reason) == ({"signals": [1.1]}, "all well")


@pytest.mark.parametrize(
    ("name", "state"),
    [("claimed", "claimed"), ("failed", "released"), ("unknown", "unknown"), ("held", "unknown"), ("done", "done")],
)
def test_own_claim_that_fell_back_ends_too(outage: Outage, server: Server, name: str, state: str) -> None:
    """A claim whose reply was lost, so that the delivery claimed again in memory, ends in Redis as it ended there."""
    outage.store().run(claim("a", digest="d1"))
    away(outage, server, STATES[name])
    record = home(outage, server)
    assert (record.state, record.held, record.failures) == (State(state), name == "held", int(name == "failed"))


def test_decision_ends_no_doubt(outage: Outage, server: Server) -> None:
    """An own claim under which an earlier attempt is in doubt is ended by a fact, and not by a decision."""
    in_doubt = '{"s":"claimed","t":"a","n":2,"u":9750000000000,"p":1,"w":"read timeout"}'
    admin = server.client()
    admin.set(KEY, in_doubt, px=HOUR_MS)
    away(outage, server, [claim("a"), complete("a", "rejected", fact=False)])
    assert home(outage, server).state is State.CLAIMED
    outage.store().delete(KEY)
    admin.set(KEY, in_doubt, px=HOUR_MS)
    away(outage, server, [claim("a"), complete("a", "posted")])
    assert home(outage, server).outcome == "posted"


def test_what_expired_during_the_outage_is_not_brought(outage: Outage, server: Server) -> None:
    """What ran out of its life during the outage stays gone."""
    store = outage.store()
    server.stop()
    store.put("short", "1", 1)
    store.put("long", "1", HOUR_MS)
    server.back()
    outage.wait()
    store.get("long")
    assert server.client().keys("*") == ["long"]


def test_mark_of_memory_is_not_brought(outage: Outage, server: Server) -> None:
    """When this process's memory began says nothing about when Redis' memory began."""
    store = outage.store()
    server.stop()
    assert store.run(Begin("dedup:since")).source == "memory"
    store.run(claim("a"))
    server.back()
    outage.wait()
    began = store.run(Begin("dedup:since"))
    assert (began.just_now, began.source) == (True, "redis")


def test_first_call_after_the_outage_knows_of_it(outage: Outage, server: Server) -> None:
    """The call that finds Redis back already sees what was done meanwhile: its candle is not given again."""
    away(outage, server, DONE)
    server.back()
    outage.wait()
    found = outage.store().run(claim("b"))
    assert (found.answer, found.record.token, found.source) == (Answer.DUPLICATE, "a", "redis")


def test_claim_of_the_outage_is_completed_in_redis(outage: Outage, server: Server) -> None:
    """Work that was claimed in memory and ends after the outage completes its claim in Redis."""
    away(outage, server, [claim("a")])
    home(outage, server)
    settled = outage.store().run(complete("a"))
    assert (settled.acted, settled.source) == (True, "redis")


def test_refusing_store_brings_home_what_another_kept(outage: Outage, server: Server) -> None:
    """Whichever store of the process finds Redis back brings home what any of them kept."""
    away(outage, server, DONE)
    server.back()
    outage.wait()
    assert outage.store(Fallback.REFUSE).run(Peek("signal:publish:x")).source == "redis"
    assert '"o":"evaluated"' in server.client().get(KEY)


def test_many_records_come_home(outage: Outage, server: Server) -> None:
    """More records than one batch takes all come home."""
    store = outage.store()
    server.stop()
    outage.memory.max_entries = 3_000
    for number in range(1_700):
        store.run(claim("a", f"candle:{number}"))
    server.back()
    outage.wait()
    store.get("x")
    assert (server.client().dbsize(), len(outage.memory)) == (1_700, 0)


def test_server_that_cannot_take_them_is_not_back(outage: Outage, server: Server) -> None:
    """A server that is there and cannot write what was kept is still away; nothing is lost, and it comes home later."""
    away(outage, server, DONE)
    server.back()
    admin = server.client()
    admin.config_set("maxmemory", "1")
    outage.wait()
    store = outage.store()
    assert store.run(Peek(KEY)).source == "memory"
    assert "OOM" in outage.circuit.why
    admin.config_set("maxmemory", "0")
    outage.wait(2_000)
    assert store.run(Peek(KEY)).source == "redis"
    assert '"o":"evaluated"' in admin.get(KEY)


def test_redis_that_goes_away_again_loses_nothing(outage: Outage, server: Server) -> None:
    """An outage after an outage: what was brought home is there, what was kept since comes home the next time."""
    store = outage.store()
    for name in ("first", "second"):
        server.stop()
        assert store.run(Claim(name, "a", LEASE_MS, HOUR_MS)).source == "memory"
        server.back()
        outage.wait()
        assert store.run(claim("b", name)).answer is Answer.BUSY
    assert set(server.client().keys("*")) == {"first", "second"}


def test_every_candle_is_given_once_across_the_return(server: Server) -> None:
    """Threads that claim the same candles while Redis comes back are given each candle once: whoever claimed it in
    memory is known in Redis before anybody asks there.
    """
    outage = Outage(False, server.url)
    outage.memory.max_entries = 10_000
    real = Circuit()
    outage.circuit = real
    store = outage.store()
    server.stop()
    given: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    lock = threading.Lock()
    stopping = threading.Event()

    def work(name: str) -> None:
        number = 0
        while not stopping.is_set():
            key = f"candle:{number % 400}"
            claimed = store.run(claim(new_token(), key))
            with lock:
                given[key] += claimed.answer is Answer.ACQUIRED
                sources[claimed.source] += 1
            number += 1

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(6)]
    for thread in threads:
        thread.start()
    while sources["memory"] < 50:
        stopping.wait(0.01)
    server.back()
    while sources["redis"] < 2_000:
        stopping.wait(0.01)
    stopping.set()
    for thread in threads:
        thread.join(30)
    outage.close()
    assert set(given.values()) == {1}
    assert len(given) == 400


def kept(text: str, now_ms: int = 1_000) -> Kept:
    return Kept(KEY, text, HOUR_MS, now_ms)


def test_lease_keeps_what_is_left_of_it() -> None:
    """A lease and its times move by as much as the two clocks differ; a DONE record and a value stay to the byte."""
    claimed = Record(State.CLAIMED, "a", until_ms=61_000, at_ms=900)
    moved = Record.loads(adoption(kept(claimed.dumps()), ahead_ms=5_000).text)
    assert (moved.until_ms, moved.at_ms) == (66_000, 5_900)
    for text in ('{"s":"done","t":"a","a":900,"v":[1.10]}', "processed"):
        assert adoption(kept(text), ahead_ms=5_000).text == text


def test_settlement_keeps_the_value_and_the_wait() -> None:
    """What ends an own claim carries the value as JSON, and what is left of the wait."""
    theirs = Adopted(False, Record(State.CLAIMED, "a"), "redis")
    done = Record(State.DONE, "a", outcome="evaluated", value={"signals": ["Ö"]})
    end = settlement(kept(done.dumps()), theirs)
    assert isinstance(end, Complete)
    assert json.loads(end.value) == {"signals": ["Ö"]}
    back = settlement(kept(Record(State.RELEASED, "a", until_ms=3_500).dumps()), theirs)
    assert isinstance(back, Release)
    assert back.retry_ms == 2_500


def test_clock_of_the_memory_may_differ(outage: Outage, server: Server) -> None:
    """A process whose clock is wrong brings home leases that end when they would have ended by its own clock."""
    wrong = SetClock()
    outage.memory._clock_ms = wrong
    away(outage, server, [claim("a")])
    wrong.pass_ms(30_000)
    record = home(outage, server)
    now_ms = outage.store().run(Peek(KEY)).now_ms
    assert 55_000 < record.until_ms - now_ms <= 60_000
