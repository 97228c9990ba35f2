"""Deployments made to measure: a watchlist, short limits, an engine and an API of their own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.clock import Clock
from tasks.receiver import Receiver
from tests.engines import DURABLE, Engine
from tests.pipeline.deployment import ROOT, Deployment
from tests.pipeline.feeds import HOUR, ORIGIN

LIMITS = {
    "HTTP_DEADLINE": "2",
    "PUBLISH_TIME_LIMIT": "2.5",
    "PUBLISH_LEASE": "3",
    "CANDLE_TIME_LIMIT": "2.5",
    "CANDLE_LEASE": "3",
    "VISIBILITY_TIMEOUT": "60",
    "MAX_FAILURES": "2",
    "SWEEP_INTERVAL": "3600",
    "SWEEP_GRACE": "0.01",
    "HORIZON": "10800",
    "SIGNAL_MAX_AGE": "7000",
}
"""Short enough for a test to sit them out."""


def watch(*instruments: str, strategy: str = "always_buy", timeframe: str = "1h", **more: Any) -> dict[str, Any]:
    """A `[[watch]]` table with a strategy of `tests.pipeline.strategies`."""
    path = f"tests.pipeline.strategies:{strategy}"
    return {"instruments": instruments, "timeframe": timeframe, "source": "feed", "strategy": path, **more}


@contextmanager
def deploy(
    home: Path,
    watches: Sequence[Mapping[str, Any]],
    *,
    speed: float = 1.0,
    lead_s: float = 0.0,
    config: Mapping[str, str] = DURABLE,
    engine: Engine | None = None,
    **env: Any,
) -> Iterator[Deployment]:
    """A deployment with engine and API running, and no worker yet.

    Args:
        home: an empty directory.
        watches: the watchlist.
        speed: market seconds per wall second.
        lead_s: wall seconds until market time reaches `ORIGIN`.
        config: directives of the engine.
        engine: another one than a Valkey with that configuration.
        env: settings over `LIMITS`.
    """
    (home / "feed").mkdir()
    (home / "pipeline.toml").write_text(_toml(home / "feed", watches))
    with engine or Engine(config=config) as engine, Receiver(home / "posts.jsonl") as receiver:
        _begin_memory(engine)
        clock = Clock(datetime.now(UTC) + timedelta(seconds=lead_s), ORIGIN, speed)
        found = Deployment(home, engine, receiver, _environment(home, engine, receiver, clock) | env)
        try:
            yield found
        finally:
            found.close()


def _begin_memory(engine: Engine) -> None:
    # A store that has been in use for a day, so that no candle of these tests closed before its memory began.
    with engine.client() as client:
        seconds, _ = client.time()
        client.set("dedup:since", (seconds - 86_400) * 1000)


def _environment(home: Path, engine: Engine, receiver: Receiver, clock: Clock) -> dict[str, str]:
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV")
    own = {name: os.environ[name] for name in kept if name in os.environ}
    addresses = {
        "REDIS_URL": engine.url,
        "CELERY_RESULT_BACKEND": engine.url.removesuffix("/0") + "/1",
        "SIGNAL_API_URL": receiver.signals_url,
        "SIGNAL_LOOKUP_URL": f"{receiver.signals_url}/{{id}}",
        "WATCHLIST": str(home / "pipeline.toml"),
        "MARKET_CLOCK": str(clock),
        "WATCH_FROM": (ORIGIN - HOUR).isoformat(),
        "WATCH_UNTIL": ORIGIN.isoformat(),
    }
    return own | LIMITS | addresses | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def _toml(feed: Path, watches: Sequence[Mapping[str, Any]]) -> str:
    lines = ["[sources.feed]", 'kind = "csv"', f"path = {json.dumps(str(feed))}"]
    for table in watches:
        lines += ["[[watch]]", *(f"{name} = {_toml_value(value)}" for name, value in table.items())]
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {_toml_value(one)}" for name, one in value.items()) + "}"
    return json.dumps(value)
