"""What a chaos run runs on: engine, API, proxies, workers and beats, under a supervisor that starts again what dies.

::

    worker1 ──proxy── engine (broker and store)        workers ──proxy── API
    worker2 ──proxy── engine (store)
    worker2, worker3 ─ engine
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
import requests
from celery import Celery

from dedup.errors import StoreError
from tasks.app import QUEUES, celery_config
from tasks.receiver import ReceiverLog, read_log
from tasks.runtime import Pipeline, make_pipeline
from tasks.settings import Settings, inherited_environment, load_settings
from tasks.supervisor import Spec, Supervisor
from tests.chaos.judge import Fate, Name, Policy
from tests.chaos.market import Market
from tests.chaos.schedule import BEATS, PROXIED, WORKERS
from tests.engines import DURABLE, free_port, valkey_binary
from tests.pipeline.nodes import leash
from tests.pipeline.proxy import Proxy
from tests.pipeline.waiting import eventually

ROOT = Path(__file__).parents[2]
ENGINE, API = "engine", "api"
CELERY = (*leash(), sys.executable, "-m", "celery", "-A", "tasks")
UP_S = 60.0
IN_FLIGHT_S = 15.0

LIMITS: Mapping[str, str] = {
    "HTTP_DEADLINE": "2",
    "PUBLISH_TIME_LIMIT": "4",
    "PUBLISH_LEASE": "5",
    "CANDLE_TIME_LIMIT": "4",
    "CANDLE_LEASE": "5",
    "VISIBILITY_TIMEOUT": "20",
    "SWEEP_GRACE": "2",
    # Nothing here kills its worker by itself, and what is struck often is no less due.
    "MAX_FAILURES": "100",
}
"""Short, so that a run sees many leases run out."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a run promises.

    Attributes:
        policy: `ON_UNKNOWN`.
        plain: whether the API ignores Idempotency-Key, so that every POST it takes has an effect.
        horizon_s: how long after its close a candle may be worked, wall seconds; as long a signal stays fresh.
        sweep_s: each beat sweeps once in this time.
    """

    policy: Policy
    plain: bool
    horizon_s: float
    sweep_s: float


class World:
    """One deployment. A context manager: on entry the engine and the API answer, on exit nothing runs.

    Args:
        home: an empty directory, which holds every file.
    """

    def __init__(self, home: Path, market: Market, terms: Terms) -> None:
        self.home, self.market, self.terms = home, market, terms
        self.supervisor = Supervisor(home)
        self._engine_port, self._api_port = free_port(), free_port()
        self.post_proxy = Proxy(self._api_port)
        self.store_proxies = {name: Proxy(self._engine_port) for name in PROXIED}
        self._closing = ExitStack()

    @property
    def redis_url(self) -> str:
        """The engine's own address."""
        return f"redis://127.0.0.1:{self._engine_port}/0"

    @property
    def api_url(self) -> str:
        """The API's own address."""
        return f"http://127.0.0.1:{self._api_port}"

    @cached_property
    def env(self) -> dict[str, str]:
        """What every process of the pipeline gets, workers behind proxies aside."""
        (self.home / "pipeline.toml").write_text(self.market.watchlist())
        first, last = self.market.span
        fresh_s = str(self.terms.horizon_s * self.market.speed)
        return {
            **inherited_environment(),
            **LIMITS,
            "REDIS_URL": self.redis_url,
            "SIGNAL_API_URL": f"http://127.0.0.1:{self.post_proxy.port}/signals",
            "ON_UNKNOWN": self.terms.policy,
            "WATCHLIST": str(self.home / "pipeline.toml"),
            "MARKET_CLOCK": self.market.clock,
            "WATCH_FROM": first.isoformat(),
            "WATCH_UNTIL": last.isoformat(),
            "HORIZON": fresh_s,
            "SIGNAL_MAX_AGE": fresh_s,
            "SWEEP_INTERVAL": str(self.terms.sweep_s),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }

    @cached_property
    def line(self) -> Pipeline:
        """The run's own view, with the settings that the workers have."""
        given = {name.lower(): value for name, value in self.env.items() if name.lower() in Settings.model_fields}
        return make_pipeline(load_settings(_env_file=None, **given))

    @cached_property
    def app(self) -> Celery:
        """A client of the broker."""
        app = Celery("chaos", set_as_current=False)
        app.conf.update(celery_config(self.line.settings))
        return app

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for proxy in (self.post_proxy, *self.store_proxies.values()):
                stack.enter_context(proxy)
            stack.enter_context(self.supervisor)
            self._start_services()
            stack.callback(self.line.store.close)
            stack.callback(self.app.close)
            self._closing = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def _start_services(self) -> None:
        (self.home / "engine").mkdir()
        directives = {"port": self._engine_port, "bind": "127.0.0.1", "dir": self.home / "engine", "save": '""'}
        words = [str(word) for pair in directives.items() for word in (f"--{pair[0]}", pair[1])]
        words += [word for name, value in DURABLE.items() for word in (f"--{name}", value)]
        self.supervisor.add(Spec(ENGINE, [*leash(), valkey_binary(), *words], inherited_environment()))
        receiver = ["-m", "tasks.receiver", "--port", str(self._api_port), "--log", str(self.log_path)]
        receiver += ["--plain"] if self.terms.plain else []
        env = {**inherited_environment(), "PYTHONPATH": str(ROOT)}
        self.supervisor.add(Spec(API, [*leash(), sys.executable, *receiver], env))
        eventually(self.engine_answers, "the engine", UP_S)
        eventually(self.api_answers, "the API", UP_S)
        # Before any candle closes, as the first worker does it.
        self.line.signals.begin()

    def start_pipeline(self) -> None:
        """Start workers and beats."""
        for name in WORKERS:
            argv = [*CELERY, "worker", "-n", f"{name}@%h", "-c", "2", "-l", "info", "-Q", ",".join(QUEUES)]
            argv += ["--without-mingle", "--without-gossip"]
            self.supervisor.add(Spec(name, argv, {**self.env, **self._detour(name)}))
        for name in BEATS:
            self.supervisor.add(Spec(name, [*CELERY, "beat", "-l", "info"], self.env))

    def _detour(self, worker: str) -> dict[str, str]:
        proxy = self.store_proxies.get(worker)
        if proxy is None:
            return {}
        detour = {"REDIS_URL": proxy.through(self.redis_url)}
        # Broker and store of one worker go astray together, of the other apart.
        return detour if worker == WORKERS[0] else {**detour, "CELERY_BROKER_URL": self.redis_url}

    def stop_pipeline(self) -> None:
        """Stop workers and beats, and wait until nothing that they said is on its way any more."""
        self.supervisor.stop([*WORKERS, *BEATS])
        with contextlib.suppress(AssertionError):
            eventually(lambda: not self.post_proxy.connections, "the last POSTs", IN_FLIGHT_S)

    @property
    def log_path(self) -> Path:
        """The API's log."""
        return self.home / "posts.jsonl"

    def api_log(self) -> ReceiverLog:
        """What the API's log says now."""
        return read_log(self.log_path)

    def client(self) -> redis.Redis:
        """A client of the engine that gives up soon."""
        client: redis.Redis = redis.Redis(
            port=self._engine_port, decode_responses=True, socket_timeout=3, socket_connect_timeout=3
        )
        return client

    def engine_answers(self) -> bool:
        """Whether the engine answers, its data loaded."""
        try:
            with self.client() as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False

    def api_answers(self) -> bool:
        """Whether the API answers."""
        return bool(self.api_totals())

    def api_totals(self) -> dict[str, Any]:
        """The API's own counts; empty while it does not answer."""
        try:
            found: dict[str, Any] = requests.get(f"{self.api_url}/health", timeout=2).json()
        except (requests.RequestException, ValueError):
            return {}
        return found

    def waiting(self) -> dict[str, int]:
        """How many messages wait in each queue; empty while the engine does not answer."""
        try:
            with self.client() as client:
                return {name: int(client.llen(name)) for name in QUEUES}
        except (redis.RedisError, OSError):
            return {}

    def fates(self, names: Iterable[Name]) -> dict[Name, Fate]:
        """How the store says that signals ended.

        Raises:
            StoreError: it does not answer.
        """
        asked = list(names)
        keys = [self.key(name) for name in asked]
        found: dict[Name, Fate] = {}
        for name, peeked in zip(asked, self.line.signals.peek_many(keys), strict=True):
            record = peeked.record
            if record is None or not record.settled:
                found[name] = Fate()
            else:
                found[name] = Fate("held" if record.held else record.outcome, record.reason)
        return found

    def unsettled(self, names: Iterable[Name]) -> list[Name]:
        """Those of the signals that are open in the store, all of them while it does not answer."""
        asked = list(names)
        try:
            return [name for name, fate in self.fates(asked).items() if not fate.outcome]
        except StoreError:
            time.sleep(0.5)
            return asked

    def key(self, name: Name) -> str:
        """A signal's key."""
        start = datetime.fromisoformat(name.candle_start)
        return self.line.signals.key(name.instrument, start, name.timeframe, name.strategy)

    def stored(self, names: Iterable[Name]) -> dict[Name, str]:
        """The records of signals as they stand, for a person to read."""
        with self.client() as client:
            return {name: str(client.get(self.key(name))) for name in names}
