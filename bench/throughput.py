"""`evaluate_candle` without a signal against a bare Celery task that does one INCR: the same worker, in turn."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

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
            rates = _measure(url)
        finally:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
    return [Figure("evaluate_candle against a bare INCR task", rates["ours"], rates["bare"], "tasks/s", 0.90, False)]


def _start_worker(env: dict[str, str], folder: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "celery", "-A", "bench.bare", "worker", "-P", "solo", "-l", "warning"]
    command += ["-Q", "control,candles,publish", "--without-mingle", "--without-gossip", "--without-heartbeat"]
    log = (Path(folder) / "worker.log").open("wb")
    return subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def _measure(url: str) -> dict[str, float]:
    from bench.bare import incr
    from tasks.app import app
    from tasks.candles import evaluate_candle

    client = redis.Redis.from_url(url, socket_timeout=None)
    found: dict[str, list[float]] = {"ours": [], "bare": []}
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=2)
    minutes = iter(range(1, 1_000_000))
    _drain(client, incr, [{} for _ in range(200)], app)
    for _ in range(ROUNDS):
        candles = []
        for _ in range(TASKS // INSTRUMENTS):
            begin = (start - timedelta(minutes=next(minutes))).isoformat().replace("+00:00", "Z")
            candles += [
                {"instrument": f"I{number}", "timeframe": "1m", "candle_start": begin} for number in range(INSTRUMENTS)
            ]
        found["ours"].append(_drain(client, evaluate_candle, candles, app))
        found["bare"].append(_drain(client, incr, [{} for _ in range(TASKS)], app))
    client.close()
    return {name: statistics.median(values) for name, values in found.items()}


def _drain(client: redis.Redis, task: object, calls: list[dict[str, str]], app: object) -> float:
    """Enqueue everything while the worker is stopped from finishing first, then time it until a last task ran."""
    from bench.bare import finish

    queue = "candles"
    client.delete("bench:finished")
    began_key = client.incr("bench:gate")
    with app.producer_or_acquire() as producer, producer.batch(500):  # type: ignore[attr-defined]
        finish.apply_async(kwargs={"gate": int(began_key)}, queue=queue, producer=producer)
        for kwargs in calls:
            task.apply_async(kwargs=kwargs, queue=queue, producer=producer)  # type: ignore[attr-defined]
        finish.apply_async(kwargs={"gate": 0}, queue=queue, producer=producer)
    marks = [float(client.blpop(["bench:finished"], timeout=300)[1]) for _ in range(2)]
    return len(calls) / (marks[1] - marks[0])
