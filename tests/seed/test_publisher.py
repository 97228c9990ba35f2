"""SignalPublisher in both flavours: what is posted, under which key, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

import dedup
from dedup import Attempted, DeliveryOptions, InvalidInput, Message, Published, Signal, State, Verdict, signal_id
from tasks.receiver import Fault, Receiver
from tests.engines import Engine, free_port
from tests.seed.flavours import Flavour, told

START = datetime(2025, 1, 1, 10, 15, tzinfo=UTC)
FIELDS = {"instrument": "GOLD", "side": "buy", "price": Decimal("2650.50")}
KEY = "signal:publish:GOLD:2025-01-01T10:15:00"
SOON = timedelta(hours=1)


def signal(start: datetime, **fields: Any) -> Signal:
    """A valid signal of the 15m candle that starts then."""
    return Signal.parse(
        {
            "id": signal_id("rsi", "GOLD", "15m", start),
            "instrument": "GOLD",
            "timeframe": "15m",
            "candle_start": start,
            "candle_close": start + timedelta(minutes=15),
            "strategy": "rsi",
            "side": "buy",
            "price": "2650.50",
            "expires_at": datetime.now(UTC) + SOON,
            **fields,
        }
    )


async def publish(flavour: Flavour, data: Any = FIELDS, start: datetime = START, **options: Any) -> Published:
    """Publish through a publisher of its own, from the configured options and these."""
    cache = await flavour.signal_cache(options=dedup.configure(dedup.configured(), **options))
    result: Published = await told(flavour.names.SignalPublisher(signal_publish_cache=cache).publish(data, start))
    return result


async def test_mapping_is_posted_as_it_is(engine: Engine, api: Receiver, flavour: Flavour) -> None:
    """A mapping is posted as canonical JSON, under the id of instrument and start, with the headers of an attempt."""
    result = await publish(flavour)
    assert (result.outcome, result.attempt, result.source, result.status) == ("posted", 1, "redis", 201)
    (post,) = api.read().posts
    assert post.body == '{"instrument":"GOLD","price":"2650.50","side":"buy"}'
    assert post.key == post.webhook_id == signal_id("", "GOLD", "", START)
    assert post.attempt == "1"


async def test_timeframe_and_strategy_are_part_of_key_and_id(engine: Engine, api: Receiver, flavour: Flavour) -> None:
    """Signals of one start but of other timeframes or strategies are other signals, and none silences another."""
    start = datetime.now(UTC).replace(microsecond=0) + SOON
    for more in ({}, {"timeframe": "15m"}, {"timeframe": "1h"}, {"strategy": "rsi"}):
        assert (await publish(flavour, FIELDS | more, start)).outcome == "posted"
    assert len({post.key for post in api.read().posts}) == 4
    at = start.replace(tzinfo=None).isoformat()
    expected = {f"signal:publish:GOLD:{at}{end}" for end in ("", ":15m", ":1h", ":rsi")}
    assert set(engine.client().keys("signal:*")) == expected


async def test_own_id_is_kept(engine: Engine, api: Receiver, flavour: Flavour) -> None:
    """A signal that brings an id is posted under it."""
    await publish(flavour, FIELDS | {"id": "sig-7"})
    (post,) = api.read().posts
    assert (post.key, json.loads(post.body)["id"]) == ("sig-7", "sig-7")


async def test_signal_is_posted_whole(engine: Engine, api: Receiver, flavour: Flavour) -> None:
    """A validated signal is posted with all its fields, under its own key and id."""
    posting = signal(datetime.now(UTC).replace(microsecond=0))
    assert (await publish(flavour, posting, posting.candle_start)).outcome == "posted"
    (post,) = api.read().posts
    assert (post.key, post.body_bytes) == (posting.id, posting.body())
    (key,) = engine.client().keys("signal:*")
    assert key.endswith(":15m:rsi")


async def test_prefix_separates_deployments(engine: Engine, api: Receiver, flavour: Flavour) -> None:
    """With a prefix the record stands under it."""
    assert (await publish(flavour, key_prefix="prod:")).outcome == "posted"
    assert set(engine.client().keys("*")) == {f"prod:{KEY}", "prod:dedup:since"}


async def test_other_payload_under_the_same_key_is_a_conflict(engine: Engine, api: Receiver, flavour: Flavour) -> None:
    """Another payload for the same instrument and start is never posted, and told."""
    await publish(flavour)
    for _ in range(2):
        assert (await publish(flavour, FIELDS | {"side": "sell"})).outcome == "conflict"
    assert len(api.read().posts) == 1


@pytest.mark.parametrize(
    ("data", "start", "says"),
    [
        ({}, START, "instrument"),
        ({"instrument": "a:b"}, START, "forge"),
        ({"instrument": "GOLD", "timeframe": "15"}, START, "timeframe"),
        ({"instrument": "GOLD", "strategy": "a b"}, START, "strategy"),
        ({"instrument": "GOLD", "id": 7}, START, r"signal\.id"),
        ({"instrument": "GOLD", "id": "a b"}, START, r"message\.id"),
        ({"instrument": "GOLD", "price": float("nan")}, START, "signal"),
        ({"instrument": "GOLD", "set": {1}}, START, "set is no JSON"),
        ({"instrument": "GOLD", "at": datetime(2025, 1, 1)}, START, "timezone-aware"),
        ({"instrument": "GOLD", "expires_at": "soon"}, START, r"signal\.expires_at"),
        ({"instrument": "GOLD", "expires_at": "2025-01-01T10:15:00"}, START, "timezone-aware"),
        ({"instrument": "GOLD", "candle_close": 7}, START, r"signal\.candle_close"),
        (FIELDS, datetime(2025, 1, 1, 10, 15), "timezone-aware"),
        ("GOLD", START, "signal_data"),
        (signal(START), START + timedelta(minutes=15), "2025-01-01T10:15:00"),
    ],
)
async def test_malformed_signals_are_refused(
    engine: Engine, api: Receiver, flavour: Flavour, data: Any, start: datetime, says: str
) -> None:
    """What cannot be a signal is refused by name, before anything is claimed or posted."""
    with pytest.raises(InvalidInput, match=says):
        await publish(flavour, data, start)
    assert api.read().posts == ()
    assert engine.client().keys("signal:*") == []


async def test_expired_signal_is_not_posted(engine: Engine, api: Receiver, flavour: Flavour) -> None:
    """A signal whose expiry has passed is settled as expired."""
    result = await publish(flavour, FIELDS | {"expires_at": "2025-01-01T10:30:00Z"})
    assert result.outcome == "expired"
    assert api.read().posts == ()


@pytest.mark.parametrize("more", [{"timeframe": "15m"}, {"candle_close": START + timedelta(minutes=15)}])
async def test_forgetful_store_posts_nothing_again(
    engine: Engine, api: Receiver, flavour: Flavour, more: dict[str, Any]
) -> None:
    """Where the close is known, a signal whose candle closed before the store's memory began is held, not posted."""
    result = await publish(flavour, FIELDS | more)
    assert result.outcome == "held"
    assert "may have been posted before" in result.reason
    assert api.read().posts == ()


async def test_lost_reply_is_held(engine: Engine, api: Receiver, flavour: Flavour) -> None:
    """Where nobody knows whether the signal was posted it is held, and found by its state; it is not posted again."""
    api.faults.put(Fault("drop_reply"))
    assert [(await publish(flavour)).outcome for _ in range(2)] == ["held", "held"]
    cache = await flavour.signal_cache()
    (held,) = await told(cache.list_records(State.UNKNOWN))
    assert (held.key, held.record.held) == (KEY, True)
    assert len(api.read().posts) == 1


async def test_lost_reply_is_resent_where_the_api_is_idempotent(
    engine: Engine, api: Receiver, flavour: Flavour
) -> None:
    """Under `resend` the same bytes go out under the same id as the next attempt, and the API has the effect once."""
    api.faults.put(Fault("drop_reply"))
    first = await publish(flavour, on_unknown="resend")
    assert (first.outcome, first.retry_in_s is not None) == ("retry", True)
    second = await publish(flavour, on_unknown="resend")
    assert (second.outcome, second.attempt) == ("posted", 2)
    posts = api.read().posts
    assert [post.attempt for post in posts] == ["1", "2"]
    assert posts[0].body == posts[1].body
    assert not api.read().doubles


async def test_lost_reply_is_looked_up(engine: Engine, api: Receiver, flavour: Flavour) -> None:
    """Under `lookup` the API is asked, and what it has is posted."""
    api.faults.put(Fault("drop_reply"))
    options = {"on_unknown": "lookup", "signal_lookup_url": f"{api.signals_url}/{{id}}"}
    await publish(flavour, **options)
    result = await publish(flavour, **options)
    assert (result.outcome, result.reason) == ("posted", "found by look-up")
    assert len(api.read().posts) == 1


async def test_unsent_signal_is_released(engine: Engine, api: Receiver, flavour: Flavour) -> None:
    """What definitely was not sent is due again, and is posted when the API is back."""
    here = dedup.configured()
    down = await publish(flavour, signal_api_url=f"http://127.0.0.1:{free_port()}/")
    assert (down.outcome, down.retry_in_s is not None) == ("retry", True)
    dedup.configure(here)
    assert (await publish(flavour)).outcome == "posted"


async def test_signals_are_signed(engine: Engine, api: Receiver, flavour: Flavour, tmp_path: Any) -> None:
    """With a secret messages carry a signature that the API verifies."""
    secret = "whsec_" + "c2VjcmV0" * 4
    with Receiver(tmp_path / "signed.jsonl", secrets=[secret]) as strict:
        unsigned = await publish(flavour, signal_api_url=strict.signals_url)
        assert (unsigned.outcome, unsigned.status) == ("rejected", 401)
        options = {"signal_api_url": strict.signals_url, "signal_api_secret": secret}
        assert (await publish(flavour, FIELDS | {"instrument": "SILVER"}, **options)).outcome == "posted"


async def test_own_delivery_and_own_memory(process: None, api: Receiver, flavour: Flavour) -> None:
    """Without a cache a publisher remembers by itself, and a delivery that is handed in needs nothing configured."""
    delivery = flavour.names.HttpDelivery(DeliveryOptions(api.signals_url))
    publisher = flavour.names.SignalPublisher(delivery=delivery)
    results = [await told(publisher.publish(FIELDS, START)) for _ in range(2)]
    assert [(result.outcome, result.source) for result in results] == [("posted", "memory"), ("duplicate", "memory")]
    assert len(api.read().posts) == 1


async def test_built_publication_is_published(engine: Engine, api: Receiver, flavour: Flavour) -> None:
    """What was built before, as the pipeline does it, is published under its own key."""
    job = dedup.publication_of(FIELDS, START)
    assert job.key == KEY
    cache = await flavour.signal_cache()
    publisher = flavour.names.SignalPublisher(signal_publish_cache=cache)
    assert (await told(publisher.publish_job(job))).outcome == "posted"
    assert (await told(publisher.publish(FIELDS, START))).outcome == "duplicate"


async def test_cancelled_publish_leaves_a_doubt(engine: Engine, api: Receiver, closing: None) -> None:
    """A publish that is cancelled while its request is under way is held: the request may have arrived."""
    api.faults.put(Fault("stall", seconds=30))
    cache = await dedup.aio.get_signal_publish_cache()
    publisher = dedup.aio.SignalPublisher(signal_publish_cache=cache)
    publishing = asyncio.create_task(publisher.publish(FIELDS, START))
    while not api.read().posts:
        await asyncio.sleep(0.01)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    record = await cache.record(KEY)
    assert record is not None
    assert (record.state, record.held, record.reason) == (State.UNKNOWN, True, "interrupted by CancelledError")


class Gate:
    """A delivery whose replies come when the test lets them."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.sending = self.most = 0

    async def send(self, message: Message, attempt: int) -> Attempted:
        self.sending += 1
        self.most = max(self.most, self.sending)
        await self.open.wait()
        self.sending -= 1
        return Attempted(Verdict.POSTED, "201 Created", 201)

    async def look_up(self, signal_id: str) -> Attempted:
        return Attempted(Verdict.UNKNOWN, "no look-up")


class SlowToSettle(dedup.aio.MemoryStore):
    """A memory in which a record can be settled only when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.settling, self.open = asyncio.Event(), asyncio.Event()

    async def run_many(self, ops: Any) -> list[Any]:
        if ops[0].script == "complete":
            self.settling.set()
            await self.open.wait()
        return await super().run_many(ops)


async def test_cancellation_waits_for_what_has_happened(process: None) -> None:
    """A publish that is cancelled after the API answered writes down that it was posted before it ends."""
    store, gate = SlowToSettle(), Gate()
    gate.open.set()
    cache = dedup.aio.SignalPublishCache(store)
    publishing = asyncio.create_task(dedup.aio.SignalPublisher(cache, gate).publish(FIELDS, START))
    await store.settling.wait()
    publishing.cancel()
    await asyncio.sleep(0)
    assert not publishing.done()
    store.open.set()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    record = await cache.record(KEY)
    assert record is not None
    assert (record.state, record.outcome) == (State.DONE, "posted")


async def test_at_most_so_many_are_under_way(process: None) -> None:
    """No more than `concurrency` signals are claimed and sent at once; the others wait unclaimed."""
    gate, memory = Gate(), dedup.MemoryStore()
    cache = dedup.aio.SignalPublishCache(dedup.aio.MemoryStore(memory))
    publisher = dedup.aio.SignalPublisher(cache, gate, concurrency=3)
    starts = [START + timedelta(hours=hour) for hour in range(10)]
    publishing = [asyncio.create_task(publisher.publish(FIELDS, start)) for start in starts]
    for _ in range(50):
        await asyncio.sleep(0)
    assert (gate.sending, len(await cache.list_records())) == (3, 3)
    gate.open.set()
    results = await asyncio.gather(*publishing)
    assert [result.outcome for result in results] == ["posted"] * 10
    assert gate.most == 3


async def test_event_loop_goes_on_while_a_request_is_under_way(engine: Engine, api: Receiver, closing: None) -> None:
    """A slow API holds up nothing else in the event loop."""
    api.faults.put(Fault("stall", seconds=0.3))
    cache = await dedup.aio.get_signal_publish_cache()
    publishing = asyncio.create_task(dedup.aio.SignalPublisher(cache).publish(FIELDS, START))
    ticks = 0
    while not publishing.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert (await publishing).outcome == "posted"
    assert ticks > 5
