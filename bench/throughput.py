"""`evaluate_candle` without a signal against a bare Celery task that does one INCR: the same worker, in turn."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import redis

from bench.engine import engine
from bench.figures import Figure

TASKS = 2000
ROUNDS = 5
INSTRUMENTS = 20

WATCHLIST = """
[sources.flat]
kind = "bench.throughput:FlatSource"

[[watch]]
instruments = [{instruments}]
timeframe = "1m"
source = "flat"
strategy = "bench.throughput:never"
"""


class FlatSource:
    """Bars that never move."""

    def bars(self, candle: object, count: int) -> list[object]:
        """The candle alone."""
        from tasks.bars import Bar

        return [Bar(candle.start, 1.0, 1.0, 1.0, 1.0)]  # type: ignore[attr-defined]


def never(bars: object) -> None:
    """A strategy that wants nothing."""


def figures() -> list[Figure]:
    """Tasks per second, medians of some rounds each, as a ratio."""
    with engine() as url, tempfile.TemporaryDirectory() as folder:
        watchlist = Path(folder) / "pipeline.toml"
        names = ", ".join(f'"I{number}"' for number in range(INSTRUMENTS))
        watchlist.write_text(WATCHLIST.format(instruments=names), encoding="utf-8")
        env = os.environ | {
            "REDIS_URL": url,
            "WATCHLIST": str(watchlist),
            "SIGNAL_API_URL": "http://127.0.0.1:9/signals",
            "HORIZON": str(86_000 * 3),
            "SIGNAL_TTL": str(86_400 * 30),
        }
        os.environ.update(env)
        worker = _start_worker(env, folder)
        try:
            rates = _measure(url, worker)
        finally:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
    return [Figure("evaluate_candle against a bare INCR task", rates["ours"], rates["bare"], "tasks/s", 0.90, False)]


def _start_worker(env: dict[str, str], folder: str) -> subprocess.Popen[bytes]:
    # Celery's default pool with two children: how `up` and Compose run workers.
    command = [sys.executable, "-m", "celery", "-A", "bench.bare", "worker", "-c", "2", "-l", "warning"]
    command += ["-Q", "control,candles,publish", "--without-mingle", "--without-gossip", "--without-heartbeat"]
    with (Path(folder) / "worker.log").open("wb") as log:
        return subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def _measure(url: str, worker: subprocess.Popen[bytes]) -> dict[str, float]:
    from bench.bare import incr
    from tasks.candles import evaluate_candle

    found: dict[str, list[float]] = {"ours": [], "bare": []}
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=2)
    minutes = count(1)
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        _drain(client, worker, incr, [{}] * 200)
        for _ in range(ROUNDS):
            found["ours"].append(_drain(client, worker, evaluate_candle, _candles(start, minutes)))
            found["bare"].append(_drain(client, worker, incr, [{}] * TASKS))
    return {name: statistics.median(values) for name, values in found.items()}


def _candles(start: datetime, minutes: Iterator[int]) -> list[dict[str, str]]:
    """Arguments of `TASKS` candles that nobody has worked yet."""
    found = []
    for _ in range(TASKS // INSTRUMENTS):
        begin = (start - timedelta(minutes=next(minutes))).isoformat().replace("+00:00", "Z")
        for number in range(INSTRUMENTS):
            found.append({"instrument": f"I{number}", "timeframe": "1m", "candle_start": begin})
    return found


def _drain(client: redis.Redis, worker: subprocess.Popen[bytes], task: Any, calls: list[dict[str, str]]) -> float:
    """Enqueue everything while the worker is stopped, let it go, and time it until the last task has run."""
    from bench.bare import finish
    from tasks.app import app

    client.delete("bench:finished")
    os.killpg(worker.pid, signal.SIGSTOP)
    with app.producer_or_acquire() as producer, producer.batch(500):
        for kwargs in calls:
            task.apply_async(kwargs=kwargs, queue="candles", producer=producer)
        finish.apply_async(queue="candles", producer=producer)
    began = time.time()
    os.killpg(worker.pid, signal.SIGCONT)
    _, ended = client.blpop(["bench:finished"], timeout=300)
    return len(calls) / (float(ended) - began)
