"""The pipeline's stores: candles go on without Redis, signals refuse, and whoever looks sees Redis or nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import tasks
from dedup import Answer, InvalidSetting, StoreUnavailable, Timeframe
from tasks.runtime import Pipeline, make_pipeline
from tasks.settings import load_settings
from tasks.sweep import look, sweep
from tests.engines import free_port
from tests.fallback.conftest import Server

HOUR = Timeframe.parse("1h")
WATCHLIST = Path(tasks.__file__).parent / "demo.toml"
START = datetime(2025, 1, 1, 10, tzinfo=UTC)


def pipeline(url: str, **settings: Any) -> Pipeline:
    """A pipeline over a server, with the demonstration's watchlist."""
    fixed = {"watchlist": WATCHLIST, "signal_api_url": "http://127.0.0.1:1/", "redis_url": url}
    return make_pipeline(load_settings(**fixed, **settings))


@pytest.fixture
def away() -> str:
    """The address of a server that is not there."""
    return f"redis://127.0.0.1:{free_port()}/0"


def test_candles_go_on_in_memory(away: str) -> None:
    """Without Redis a candle is claimed in memory, and the answer says so."""
    candles = pipeline(away).candles(HOUR)
    claimed = candles.claim(candles.key("GOLD", HOUR, START), "a")
    assert (claimed.answer, claimed.source) == (Answer.ACQUIRED, "memory")


def test_signals_refuse(away: str) -> None:
    """Without Redis no signal is claimed: it would be posted without anybody knowing whether it was before."""
    line = pipeline(away)
    with pytest.raises(StoreUnavailable, match="Redis is away"):
        line.signals.begin()
    assert line.signals.source == "redis"


def test_signals_may_be_told_to_go_on(away: str) -> None:
    """`SIGNAL_FALLBACK=memory` claims signals in memory."""
    line = pipeline(away, signal_fallback="memory")
    line.signals.begin()
    assert line.signals.source == "memory"


def test_other_fallbacks_are_refused(away: str) -> None:
    """Anything but `memory` and `refuse` is no fallback."""
    with pytest.raises(InvalidSetting, match="SIGNAL_FALLBACK"):
        pipeline(away, signal_fallback="hope")


@pytest.mark.parametrize("fallback", ["memory", "refuse"])
def test_sweep_does_not_look_into_memory(away: str, fallback: str) -> None:
    """Without Redis the sweep raises: what this process's memory does not know counts for nothing."""
    line = pipeline(away, signal_fallback=fallback, horizon=1_000_000, signal_ttl=2_000_000)
    with pytest.raises(StoreUnavailable):
        look(line)
    with pytest.raises(StoreUnavailable):
        line.recorded_candles().record("candle:GOLD:1h:x")


def test_sweep_of_an_outage_has_a_name(away: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Redis a sweep ends as `store_away`, with the reason: an outage is no failure of the sweep's."""
    line = pipeline(away, horizon=1_000_000, signal_ttl=2_000_000)
    monkeypatch.setattr("tasks.sweep.pipeline", lambda: line)
    ended = sweep.run()
    assert ended["outcome"] == "store_away"
    assert away.removeprefix("redis://").removesuffix("/0") in ended["reason"]


def test_disabled_redis_keeps_both_in_memory() -> None:
    """`REDIS_ENABLED=false` keeps candles and signals in one memory, where the sweep finds them."""
    line = pipeline("redis://localhost", redis_enabled=False, celery_broker_url="amqp://localhost")
    key = line.candles(HOUR).key("GOLD", HOUR, START)
    line.candles(HOUR).claim(key, "a")
    line.signals.begin()
    record = line.recorded_candles().record(key)
    assert record is not None
    assert (record.token, line.signals.source) == ("a", "memory")


def test_deleted_record_is_missed_at_once(server: Server) -> None:
    """A record that another process deletes, as `backfill --force` does, may be worked again at once."""
    line = pipeline(server.url)
    candles = line.candles(HOUR)
    candles.complete("candle:x", "a", "evaluated")
    assert candles.claim("candle:x", "b").answer is Answer.DUPLICATE
    server.client().delete("candle:x")
    assert candles.claim("candle:x", "b").answer is Answer.ACQUIRED
    line.store.close()


def test_timeframes_share_one_memory(server: Server) -> None:
    """Whatever a timeframe's cache kept during an outage comes home through any of them."""
    line = pipeline(server.url)
    server.stop()
    line.candles(HOUR).claim("candle:x", "a")
    server.back()
    while line.candles(Timeframe.parse("15m")).source != "redis":
        line.candles(Timeframe.parse("15m")).exists("candle:x")
    assert '"t":"a"' in server.client().get("candle:x")
    line.store.close()
