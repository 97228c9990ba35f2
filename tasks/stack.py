"""The whole pipeline as processes on this machine: engine, reference API, workers, beats, Flower.

For `celery -A tasks up`: a look around, a demonstration, a test. In production Compose, systemd or Kubernetes keep the
same processes running.
"""

from __future__ import annotations

import secrets
import socket
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import redis
import requests

from tasks.clock import Clock
from tasks.settings import inherited_environment
from tasks.supervisor import Spec, Supervisor

ENGINE, RECEIVER, FLOWER = "engine", "receiver", "flower"
WORKERS = ("worker1", "worker2")
BEATS = ("beat1", "beat2")
DAY_S = 86_400.0

FLOWER_COLUMNS = "name,state,args,result,uuid,received,runtime,worker"
"""Flower's ``tasks_columns``: those of its list that tell what a task was about and how it ended."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Which recorded days are replayed, and how fast.

    Attributes:
        first: the market moment at which the replay begins.
        last: candles that close after it are not worked.
        day_s: wall seconds that a day of the market takes.
        lead_s: wall seconds from now to the beginning, for processes to start.
    """

    first: datetime
    last: datetime
    day_s: float
    lead_s: float

    def clock(self) -> Clock:
        """Market time, beginning `lead_s` from now."""
        return Clock(datetime.now(UTC) + timedelta(seconds=self.lead_s), self.first, DAY_S / self.day_s)


@dataclass(frozen=True)
class Stack:
    """Addresses, files and environment of one run.

    Attributes:
        home: everything that the run writes is below it.
        env: what every Celery process gets.
    """

    home: Path
    clock: Clock
    replay: Replay
    engine_port: int
    receiver_port: int
    flower_port: int
    api_secret: str
    flower_password: str
    env: dict[str, str]

    @property
    def redis_url(self) -> str:
        """The engine's address."""
        return f"redis://127.0.0.1:{self.engine_port}/0"

    @property
    def api_url(self) -> str:
        """The reference API's base address."""
        return f"http://127.0.0.1:{self.receiver_port}"

    @property
    def receiver_log(self) -> Path:
        """Every POST that reached the API."""
        return self.home / "receiver.jsonl"

    def client(self) -> redis.Redis:
        """A plain client of the engine."""
        return redis.Redis(port=self.engine_port, decode_responses=True, socket_timeout=2)


def make_stack(home: Path, replay: Replay) -> Stack:
    """Choose ports and secrets, and write down the environment."""
    engine_port, receiver_port, flower_port = _free_ports(3)
    secret = "whsec_" + b64encode(secrets.token_bytes(24)).decode()
    clock = replay.clock()
    env = inherited_environment() | {
        "REDIS_URL": f"redis://127.0.0.1:{engine_port}/0",
        "WATCHLIST": str(Path(__file__).parent / "demo.toml"),
        "MARKET_CLOCK": str(clock),
        "WATCH_FROM": replay.first.isoformat(),
        "WATCH_UNTIL": replay.last.isoformat(),
        # In market time: nothing of the replay is ever too old, and a signal stays fresh for 40 s of wall time.
        "HORIZON": str(DAY_S * 180 / replay.day_s),
        "SIGNAL_MAX_AGE": str(DAY_S * 40 / replay.day_s),
        "SIGNAL_API_URL": f"http://127.0.0.1:{receiver_port}/signals",
        "SIGNAL_API_SECRET": secret,
        "SIGNAL_LOOKUP_URL": f"http://127.0.0.1:{receiver_port}/signals/{{id}}",
        "ON_UNKNOWN": "resend",
        "HTTP_DEADLINE": "3",
        "PUBLISH_TIME_LIMIT": "6",
        "PUBLISH_LEASE": "8",
        "CANDLE_TIME_LIMIT": "6",
        "CANDLE_LEASE": "8",
        "SWEEP_INTERVAL": "2",
        "SWEEP_GRACE": "2",
        "PYTHONUNBUFFERED": "1",
    }
    return Stack(home, clock, replay, engine_port, receiver_port, flower_port, secret, secrets.token_urlsafe(9), env)


def start_services(stack: Stack, supervisor: Supervisor) -> None:
    """Start the engine and the reference API, and wait until they answer."""
    python = [sys.executable, "-m"]
    engine = ["tasks.engine", "--port", str(stack.engine_port), "--dir", str(stack.home / "engine")]
    supervisor.add(Spec(ENGINE, [*python, *engine], stack.env))
    receiver = ["tasks.receiver", "--port", str(stack.receiver_port), "--log", str(stack.receiver_log)]
    # By file: a command line is there for everyone to read.
    secret_file = stack.home / "receiver.secret"
    secret_file.touch(mode=0o600)
    secret_file.write_text(stack.api_secret, encoding="utf-8")
    receiver += ["--secret-file", str(secret_file)]
    supervisor.add(Spec(RECEIVER, [*python, *receiver], stack.env))
    wait_until(lambda: answers(f"{stack.api_url}/health"), 30, "the reference API")
    wait_until(lambda: engine_answers(stack), 30, "the engine")


def start_pipeline(stack: Stack, supervisor: Supervisor) -> None:
    """Start workers, beats and Flower."""
    celery = [sys.executable, "-m", "celery", "-A", "tasks"]
    for name in WORKERS:
        worker = ["worker", "-n", f"{name}@%h", "-c", "2", "-l", "info", "--without-mingle", "--without-gossip"]
        supervisor.add(Spec(name, [*celery, *worker, "-Q", "control,candles,publish"], stack.env))
    for name in BEATS:
        supervisor.add(Spec(name, [*celery, "beat", "-l", "info"], stack.env))
    # By the environment, for the same reason.
    flower = ["flower", "--address=127.0.0.1", f"--port={stack.flower_port}"]
    login = f"candlelatch:{stack.flower_password}"
    flower_env = stack.env | {"FLOWER_BASIC_AUTH": login, "FLOWER_TASKS_COLUMNS": FLOWER_COLUMNS}
    supervisor.add(Spec(FLOWER, [*celery, *flower], flower_env))


def engine_answers(stack: Stack) -> bool:
    """Whether the engine answers PING."""
    try:
        with stack.client() as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False


def answers(url: str) -> bool:
    """Whether a URL answers."""
    try:
        return requests.get(url, timeout=1).ok
    except requests.RequestException:
        return False


def wait_until(holds: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Wait until something holds and say how many seconds that took.

    Raises:
        TimeoutError: it did not come to hold; names `what`.
    """
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > timeout_s:
            raise TimeoutError(f"{what} did not come up within {timeout_s:g} s")
        time.sleep(0.1)
    return time.monotonic() - began


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports
