"""The library without the pipeline: what is refused leaves no key, and the same call done right works afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dedup.cache import CandleCache, SignalPublishCache
from dedup.candles import CandleDetector
from dedup.delivery import DeliveryOptions, HttpDelivery
from dedup.errors import InvalidCandle, InvalidInput, InvalidInstrument, InvalidSignal, InvalidTimeframe
from dedup.publisher import SignalPublisher
from dedup.stores.connect import connect
from dedup.stores.redis import RedisStore
from tasks.receiver import Receiver
from tests.engines import Engine

NOW = datetime(2025, 1, 4, 10, 0, 5, tzinfo=UTC)
NAIVE = NOW.replace(tzinfo=None)
START = datetime(2025, 1, 4, 9, 45, tzinfo=UTC)
CANDLE: dict[str, Any] = {"instrument": "GOLD", "timeframe": "15m", "timestamp": NOW}
SIGNAL: dict[str, Any] = {"instrument": "GOLD", "timeframe": "15m", "strategy": "ema", "price": Decimal("100.5")}

TRIGGERS: list[tuple[dict[str, Any], type[InvalidInput], str]] = [
    ({"instrument": "GO:LD"}, InvalidInstrument, "instrument = 'GO:LD': leave out [':'], which could forge a key"),
    ({"instrument": "*"}, InvalidInstrument, "instrument = '*': leave out ['*'], which could forge a key"),
    ({"instrument": "GO\nLD"}, InvalidInstrument, r"instrument = 'GO\nLD': leave out ['\n'], which could forge a key"),
    ({"instrument": "GO\0LD"}, InvalidInstrument, r"instrument = 'GO\x00LD': leave out ['\x00'], which could forge"),
    ({"instrument": " "}, InvalidInstrument, "instrument = ' ': give a name such as GOLD or EUR_USD"),
    ({"instrument": 7}, InvalidInstrument, "instrument = '7': give a string such as GOLD or EUR_USD"),
    ({"timeframe": "1M"}, InvalidTimeframe, "timeframe = '1M': months are not offered; a minute is written with a"),
    ({"timeframe": "15"}, InvalidTimeframe, "timeframe = '15': write a count from 1 to 99999 and one of s, m, h, d, w"),
    ({"timeframe": 15}, InvalidTimeframe, "timeframe = '15': write a count from 1 to 99999 and one of s, m, h, d, w"),
    (
        {"timestamp": NOW.replace(tzinfo=None)},
        InvalidCandle,
        "timestamp = '2025-01-04T10:00:05': give a timezone-aware",
    ),
    ({"timestamp": "2025-01-04T10:00:05Z"}, InvalidCandle, "timestamp = '2025-01-04T10:00:05Z': give a timezone-aware"),
    ({"timestamp": NOW + timedelta(hours=1)}, InvalidCandle, "lies in the future: its candle closes in 3595 s"),
    ({"timestamp": datetime.max.replace(tzinfo=UTC)}, InvalidCandle, "lies in the future: its candle closes in"),
    ({"timestamp": datetime.min.replace(tzinfo=UTC)}, InvalidCandle, "lies outside the years 1 to 9999"),
]

SIGNALS: list[tuple[dict[str, Any], datetime, type[InvalidInput], str]] = [
    ({"instrument": "GO:LD"}, START, InvalidInstrument, "instrument = 'GO:LD': leave out [':']"),
    ({"instrument": None}, START, InvalidInstrument, "instrument = 'None': give a string"),
    ({"timeframe": "1M"}, START, InvalidTimeframe, "timeframe = '1M': months are not offered"),
    ({"strategy": "e:ma"}, START, InvalidInput, "strategy = 'e:ma': use up to 64 letters, digits"),
    ({"id": 7}, START, InvalidSignal, "signal.id = '7': give a string, or leave it out"),
    ({"id": "two words"}, START, InvalidSignal, "message.id = 'two words': 1 to 255 printable ASCII characters"),
    ({"price": float("nan")}, START, InvalidSignal, "signal.price = 'nan': Out of range float values are not JSON"),
    ({"sides": {"buy"}}, START, InvalidSignal, "signal.sides = \"{'buy'}\": set is no JSON"),
    ({"at": NAIVE}, START, InvalidSignal, "signal.at = 'datetime.datetime(2025, 1, 4, 10, 0, 5)': give a timezone-"),
    ({"expires_at": "soon"}, START, InvalidSignal, "signal.expires_at = 'soon': give ISO-8601"),
    ({"expires_at": NAIVE}, START, InvalidSignal, "signal.expires_at = 'datetime.datetime(2025, 1, 4, 10, 0, 5)'"),
    ({"expires_at": "2025-01-04T10:00:05"}, START, InvalidCandle, "signal.expires_at = '2025-01-04T10:00:05': give a"),
    ({}, START.replace(tzinfo=None), InvalidCandle, "candle_start = '2025-01-04T09:45:00': give a timezone-aware"),
]


@pytest.fixture
def store(empty_valkey: Engine) -> Iterator[RedisStore]:
    """A real store without a key."""
    client = connect(empty_valkey.url)
    yield RedisStore(client)
    client.close()


@pytest.fixture
def detector(store: RedisStore) -> CandleDetector:
    """A detector whose clock stands five seconds after a close."""
    return CandleDetector(CandleCache(store), now=lambda: NOW)


@pytest.mark.parametrize(("wrong", "kind", "message"), TRIGGERS, ids=[f"{row[0]}" for row in TRIGGERS])
def test_refused_trigger_claims_nothing(
    detector: CandleDetector,
    empty_valkey: Engine,
    wrong: dict[str, Any],
    kind: type[InvalidInput],
    message: str,
) -> None:
    """A trigger that cannot be is refused before anything is claimed; the right one is told to work the candle."""
    with pytest.raises(InvalidInput) as refused:
        detector.check(**{**CANDLE, **wrong})
    assert type(refused.value) is kind
    assert message in str(refused.value)
    with empty_valkey.client() as client:
        assert client.dbsize() == 0
    assert detector.check(**CANDLE).process


def test_trigger_of_a_clock_that_is_a_little_ahead_is_taken(detector: CandleDetector) -> None:
    """A trigger up to one check window ahead of the clock is no mistake, but a clock that is a little ahead."""
    assert detector.check("GOLD", "1m", NOW + timedelta(seconds=55)).process
    with pytest.raises(InvalidCandle, match="lies in the future"):
        detector.check("GOLD", "1m", NOW + timedelta(seconds=116))


def test_moment_in_another_zone_is_no_mistake(detector: CandleDetector) -> None:
    """Any zone will do: the same moment is the same candle."""
    there = NOW.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert detector.check("GOLD", "15m", there).process
    assert not detector.check("GOLD", "15m", NOW).process


@pytest.mark.parametrize("name", ["check_window_s", "lease_s", "horizon_s"])
@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_duration_that_is_none_is_refused(store: RedisStore, name: str, seconds: float) -> None:
    """A duration of a detector that is not positive is refused when the detector is made."""
    with pytest.raises(InvalidInput, match=rf"^{name} = '{seconds}': give a positive number of seconds"):
        CandleDetector(CandleCache(store), **{name: seconds})


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """A real API."""
    with Receiver(tmp_path / "posts.jsonl") as receiver:
        yield receiver


@pytest.mark.parametrize(("wrong", "start", "kind", "message"), SIGNALS, ids=[f"{row[0]}" for row in SIGNALS])
def test_refused_signal_claims_and_posts_nothing(
    store: RedisStore,
    receiver: Receiver,
    empty_valkey: Engine,
    wrong: dict[str, Any],
    start: datetime,
    kind: type[InvalidInput],
    message: str,
) -> None:
    """A signal that cannot be is refused before anything is claimed or sent; the right one is posted afterwards."""
    cache = SignalPublishCache(store)
    publisher = SignalPublisher(cache, HttpDelivery(DeliveryOptions(receiver.signals_url)))
    with pytest.raises(InvalidInput) as refused:
        publisher.publish({**SIGNAL, **wrong}, start)
    assert type(refused.value) is kind
    assert message in str(refused.value)
    with empty_valkey.client() as client:
        assert client.dbsize() == 0
        client.set(cache.since_key, 1)
    assert not receiver.read().posts
    assert publisher.publish(SIGNAL, START).outcome == "posted"
    assert len(receiver.read().posts) == 1
