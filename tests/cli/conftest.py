"""A pipeline's records as workers leave them, on a real engine, and its commands, called in this process.

The market is that of `tests.pipeline.feeds`: GOLD, SILVER and COPPER at an hour a candle, and it is two minutes past
`ORIGIN`. The clock runs, so that records are as old as they would be.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from dedup.cache import CandleCache, SignalPublishCache
from dedup.rules import SignalRules, new_token
from dedup.signals import Signal, digest
from dedup.stores.connect import connect
from dedup.stores.redis import RedisStore
from dedup.timeframe import Candle
from tasks.clock import Clock
from tasks.evaluation import make_signal
from tasks.runtime import Pipeline, forget_pipeline, make_pipeline
from tasks.settings import Settings, current_settings, load_settings
from tasks.strategies.protocol import Order
from tests.engines import Engine
from tests.pipeline.feeds import HEADER, HOUR, ORIGIN, candle_of, row_at

INSTRUMENTS = ("GOLD", "SILVER", "COPPER")
SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"
PASSWORD = "sesame-open"


@dataclass(frozen=True)
class Told:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@dataclass
class Desk:
    """Records and commands."""

    home: Path
    env: dict[str, str]
    monkeypatch: pytest.MonkeyPatch
    _lines: dict[frozenset[tuple[str, str]], Pipeline] = field(default_factory=dict)

    @property
    def line(self) -> Pipeline:
        at = frozenset(self.env.items())
        if at not in self._lines:
            given = {name.lower(): value for name, value in self.env.items() if name.lower() in Settings.model_fields}
            self._lines[at] = make_pipeline(load_settings(_env_file=None, **given))
        return self._lines[at]

    def close(self) -> None:
        """Give back the connections."""
        for line in self._lines.values():
            line.stores.close()

    def run(self, command: click.Command, *argv: str, typed: str | None = None, **changes: str) -> Told:
        """Call a command; `typed` is what the person at the keyboard types."""
        for name, value in {**self.env, **changes}.items():
            self.monkeypatch.setenv(name, value)
        result = CliRunner().invoke(command, list(argv), input=typed)
        unforeseen = result.exception and not isinstance(result.exception, SystemExit)
        assert not unforeseen, result.exception
        for secret in (SECRET.removeprefix("whsec_"), PASSWORD):
            assert secret not in result.output + result.stderr
        return Told(result.exit_code, result.stdout, result.stderr)

    def signal(self, candle: Candle, strategy: str = "buyer", max_age_s: float = 3000, price: str = "101.5") -> Signal:
        """The signal of a candle."""
        watch = self.line.watchlist.find(candle.instrument, str(candle.timeframe))
        assert watch is not None
        named = next(named for named in watch.strategies if named.label == strategy)
        return make_signal(named, candle, Order("buy", Decimal(price)), max_age_s)

    @property
    def candles(self) -> CandleCache:
        line = self.line
        return line.candles(next(iter(line.watchlist)).timeframe)

    @property
    def signals(self) -> SignalPublishCache:
        return self.line.signals

    def evaluated(self, candle: Candle, *signals: Signal, outcome: str = "evaluated", reason: str = "") -> str:
        """A candle that a worker has done."""
        key, token = self.candles.key(candle.instrument, candle.timeframe, candle.start), new_token()
        self.candles.claim(key, token)
        value = {"signals": [signal.fields() for signal in signals]} if signals else None
        self.candles.complete(key, token, outcome, value, reason)
        return key

    def key_of(self, signal: Signal) -> str:
        return self.signals.key(signal.instrument, signal.candle_start, signal.timeframe, signal.strategy)

    def publish(self, signal: Signal, outcome: str, reason: str = "read timeout") -> str:
        """A signal that a worker left as `posted`, `held`, `claimed`, …; its candle carries it."""
        cache, key, token = self.signals, self.key_of(signal), new_token()
        rules: SignalRules = cache.rules
        body = digest(signal.body())
        cache.ask([rules.claim(key, token, body)])
        if outcome == "posted":
            cache.ask([rules.posted(key, token, body, "201 Created")])
        elif outcome == "held":
            cache.ask([rules.doubt(key, token, body, reason, hold=True)])
        elif outcome == "released":
            cache.ask([rules.release(key, token, 5, reason)])
        elif outcome != "claimed":
            cache.ask([rules.decided(key, token, outcome, reason)])
        return key

    def worked(self, candle: Candle, outcome: str, **fields: Any) -> Signal:
        """A candle with one signal, and how that one ended."""
        signal = self.signal(candle, **fields)
        self.evaluated(candle, signal)
        self.publish(signal, outcome)
        return signal


def closed(instrument: str, hours_ago: int = 0) -> Candle:
    """The candle that closed so many hours before `ORIGIN`."""
    return candle_of(instrument, ORIGIN - (hours_ago + 1) * HOUR)


@pytest.fixture
def desk(empty_valkey: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A pipeline that has been running for a day."""
    for name in list(os.environ):
        if name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "feed").mkdir()
    for instrument in INSTRUMENTS:
        rows = [row_at(ORIGIN + hours * HOUR) for hours in range(-30, 1)]
        (tmp_path / "feed" / f"{instrument}-1h.csv").write_text(HEADER + "".join(rows))
    watchlist(tmp_path, [("buyer", "always_buy"), ("sleeper", "never")])
    clock = Clock(datetime.now(UTC) - timedelta(seconds=120), ORIGIN)
    env = {
        "REDIS_URL": empty_valkey.url,
        "SIGNAL_API_URL": f"http://user:{PASSWORD}@localhost:1/signals",
        "SIGNAL_API_SECRET": SECRET,
        "WATCHLIST": str(tmp_path / "pipeline.toml"),
        "MARKET_CLOCK": str(clock),
        "HORIZON": "14400",
        "SIGNAL_MAX_AGE": "3000",
    }
    store = RedisStore(connect(empty_valkey.url))
    store.put("dedup:since", "1000", 86_400_000)
    store.close()
    found = Desk(tmp_path, env, monkeypatch)
    _forget_settings()
    yield found
    found.close()
    _forget_settings()


def _forget_settings() -> None:
    """What commands read once in a process, as a process of their own would read it."""
    current_settings.cache_clear()
    forget_pipeline()


def watchlist(home: Path, strategies: Sequence[tuple[str, str]], source: str = "", calendar: str = "24/7") -> None:
    """Write a watchlist of the three instruments."""
    lines = ["[sources.feed]", 'kind = "csv"', f"path = {json.dumps(str(home / 'feed'))}", source]
    for label, strategy in strategies:
        path = f"tests.pipeline.strategies:{strategy}"
        lines += ["[[watch]]", f"instruments = {json.dumps(INSTRUMENTS)}", 'timeframe = "1h"', 'source = "feed"']
        lines += [f'strategy = "{path}"', f'name = "{label}"', f'calendar = "{calendar}"']
    (home / "pipeline.toml").write_text("\n".join(lines) + "\n")
