"""The document's "Configuration" and "Cache Initialization": what the library is told, and by whom."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

import dedup
import dedup.aio
from dedup import DedupOptions, InvalidSetting
from dedup.aio import backend as aio_backend
from tests.engines import Engine, free_port
from tests.seed.flavours import Flavour, told

KEY = "candle:GOLD:15m:2025-01-01T10:15:00"


def test_defaults_are_the_documents() -> None:
    """Without a word Redis is used, on localhost, with the window and the TTLs of the document."""
    options = DedupOptions()
    assert (options.redis_enabled, options.redis_url) == (True, "redis://localhost:6379/0")
    assert (options.candle_check_window_s, options.candle_ttl_s, options.signal_ttl_s) == (60, 3600, 86400)
    assert (options.candle_rules().ttl_ms, options.signal_rules().ttl_ms) == (3_600_000, 86_400_000)


def test_environment_is_not_read(engine: Engine) -> None:
    """The library goes by what it is told, whatever the environment says, and importing it connects to nothing."""
    program = "import dedup, dedup.aio; print(dedup.configured().redis_url, dedup.configured().redis_enabled)"
    env = {"REDIS_URL": engine.url, "REDIS_ENABLED": "false"}
    shown = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["redis://localhost:6379/0", "True"]


async def test_disabled_redis_is_not_needed(process: None, flavour: Flavour) -> None:
    """With Redis disabled everything is in memory, and what is got twice is the same memory."""
    dedup.configure(redis_enabled=False, redis_url="nonsense")
    cache, signal_cache = await told(flavour.names.initialize_caches())
    assert (cache.source, signal_cache.source) == ("memory", "memory")
    await told(cache.set(KEY, "processed"))
    again = await flavour.candle_cache()
    assert await told(again.exists(KEY))


async def test_options_may_be_handed_in(engine: Engine, flavour: Flavour) -> None:
    """Options that are handed in count instead of the configured ones."""
    options = DedupOptions(redis_url=engine.url, key_prefix="prod:", candle_ttl_s=7)
    cache = await flavour.candle_cache(options=options)
    await told(cache.set("prod:candle:x", "1"))
    assert engine.client().ttl("prod:candle:x") == 7
    assert cache.key("GOLD", "15m", datetime(2025, 1, 1, 10, 15, tzinfo=UTC)) == f"prod:{KEY}"


async def test_equal_options_share_connections(engine: Engine, flavour: Flavour) -> None:
    """Any number of caches from equal options use one pool of connections."""
    admin = engine.client()
    before = admin.info("clients")["connected_clients"]
    for _ in range(20):
        cache = await flavour.candle_cache()
        await told(cache.set(KEY, "1"))
    assert admin.info("clients")["connected_clients"] == before + 1


async def test_closed_caches_may_be_used_again(engine: Engine, flavour: Flavour) -> None:
    """Closing gives back the connections, and a cache connects again when it is used."""
    cache = await flavour.candle_cache()
    await told(cache.set(KEY, "1"))
    await told(flavour.names.close_caches())
    again = await flavour.candle_cache()
    assert await told(again.exists(KEY))


def test_configuring_replaces_all_of_it(process: None) -> None:
    """A second call of configure starts from the defaults, or from the options that it is given."""
    first = dedup.configure(candle_ttl_s=60, key_prefix="a:")
    assert dedup.configured() is first
    assert dedup.configure(signal_ttl_s=60).candle_ttl_s == 3600
    assert dedup.configure(first, signal_ttl_s=60).candle_ttl_s == 60


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"redis_uri": "redis://x"}, "redis_uri"),
        ({"redis_url": "http://x"}, "redis://"),
        ({"candle_ttl_s": 0}, "candle_ttl_s"),
        ({"candle_ttl_s": float("nan")}, "candle_ttl_s"),
        ({"candle_ttl_s": "60"}, "candle_ttl_s"),
        ({"candle_ttl_s": True}, "candle_ttl_s"),
        ({"done_entries": -1}, "done_entries"),
        ({"memory_entries": 0}, "memory_entries"),
        ({"max_failures": 1.5}, "max_failures"),
        ({"signal_fallback": "hope"}, "memory, refuse"),
        ({"on_unknown": "guess"}, "hold, resend, lookup"),
        ({"key_prefix": "a b"}, "key_prefix"),
        ({"http_deadline_s": 60.0}, "publish_lease_s = 45"),
    ],
)
def test_wrong_options_are_refused(process: None, changes: dict[str, Any], says: str) -> None:
    """An option that there is not, or a value that cannot be, is refused by its name, and nothing is configured."""
    before = dedup.configured()
    with pytest.raises(InvalidSetting, match=says.replace(".", r"\.")):
        dedup.configure(**changes)
    assert dedup.configured() is before


def test_breaker_rules_are_checked() -> None:
    """A breaker that never asks again, or that begins above its maximum, is refused."""
    with pytest.raises(InvalidSetting, match="max_wait_s = 1"):
        dedup.BreakerRules(first_wait_s=2, max_wait_s=1)
    with pytest.raises(InvalidSetting, match="first_wait_s"):
        dedup.BreakerRules(first_wait_s=float("inf"))


def test_no_repr_shows_a_secret() -> None:
    """Passwords, tokens in URLs and webhook secrets are in no repr."""
    options = DedupOptions(
        redis_url="rediss://user:hunter2@cache:6380/1",
        signal_api_url="https://api.example.com/signals?token=s3cret",
        signal_lookup_url="https://u:s3cret@api.example.com/{id}",
        signal_api_secret="whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0",
    )
    shown = repr(options)
    assert not any(secret in shown for secret in ("hunter2", "s3cret", "c2Vj"))
    assert "cache:6380" in shown
    assert "api.example.com" in shown


def test_publisher_without_an_address_says_what_is_missing(process: None) -> None:
    """Neither an address nor a delivery is an error that names both, before anything is published."""
    for names in (dedup, dedup.aio):
        with pytest.raises(InvalidSetting, match=r"configure\(signal_api_url"):
            names.SignalPublisher()


def test_look_up_needs_its_address() -> None:
    """``on_unknown="lookup"`` without a place to ask is refused when signals are to be sent."""
    options = DedupOptions(signal_api_url="https://api.example.com/", on_unknown="lookup")  # type: ignore[arg-type]
    with pytest.raises(InvalidSetting, match="signal_lookup_url"):
        options.delivery()


async def test_wrong_password_is_loud(process: None, flavour: Flavour) -> None:
    """A server that refuses the password is no outage: getting the signals' cache raises, and says what to do."""
    with Engine(config={"requirepass": "right"}) as locked:
        dedup.configure(redis_url=locked.url.replace("redis://", "redis://:wrong@"))
        with pytest.raises(dedup.StoreDenied, match="REDIS_URL") as caught:
            await flavour.signal_cache()
    assert "wrong" not in str(caught.value).replace("is wrong", "")


async def test_unreachable_redis_is_a_warning(
    process: None, flavour: Flavour, caplog: pytest.LogCaptureFixture
) -> None:
    """Starting without Redis logs a warning; candles are in memory, and the caches are usable at once."""
    dedup.configure(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    cache, _ = await told(flavour.names.initialize_caches())
    assert "Redis cache: starting without Redis" in caplog.text
    assert cache.source == "memory"
    await told(cache.set(KEY, "processed"))
    assert await told(cache.exists(KEY))


@pytest.mark.parametrize("redis_enabled", [True, False])
def test_event_loops_may_follow_each_other(engine: Engine, redis_enabled: bool) -> None:
    """A program that runs one event loop after another claims a candle once, in memory too."""
    dedup.configure(dedup.configured(), redis_enabled=redis_enabled)

    async def answer() -> str:
        cache = await dedup.aio.get_candle_cache()
        claimed = await cache.claim(KEY, dedup.new_token())
        await dedup.aio.close_caches()
        return claimed.answer.value

    assert [asyncio.run(answer()) for _ in range(3)] == ["acquired", "busy", "busy"]


def test_ended_event_loops_are_not_kept(process: None) -> None:
    """A program that closes nothing does not keep the loops that ended."""
    dedup.configure(redis_enabled=False)
    for _ in range(3):
        asyncio.run(dedup.aio.get_candle_cache())
    assert len(aio_backend._by_loop) == 1
