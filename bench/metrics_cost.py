"""What metrics cost a candle: `evaluate_candle` without a signal, counted and not, block by block in one process.

`python -m bench.metrics_cost` prints CPU time a task, of the least disturbed block. The store is a real Valkey.
There is no broker in it and no pool, so that the difference is not lost in what both have in common.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from bench.engine import engine
from bench.throughput import INSTRUMENTS, WATCHLIST

BLOCKS, TASKS = 25, 60


def main() -> None:
    """Run blocks of both in turn and print them."""
    with engine() as url, tempfile.TemporaryDirectory() as folder:
        watchlist = Path(folder) / "pipeline.toml"
        names = ", ".join(f'"I{number}"' for number in range(INSTRUMENTS))
        watchlist.write_text(WATCHLIST.format(instruments=names), encoding="utf-8")
        os.environ |= {"REDIS_URL": url, "WATCHLIST": str(watchlist), "HORIZON": "864000", "SIGNAL_TTL": "8640000"}
        os.environ |= {"SIGNAL_API_URL": "http://127.0.0.1:9/signals", "METRICS_PORT": "1", "TMPDIR": folder}
        off, on = _measure()
    print(f"CPU a candle: {off * 1e6:.0f} us, with metrics {on * 1e6:.0f} us, ratio {on / off:.3f}")


def _measure() -> tuple[float, float]:
    from tasks import endings
    from tasks.metrics_server import MetricsServer
    from tasks.runtime import observe, pipeline

    # Without a level outcomes are neither formatted nor written.
    endings.log.setLevel("ERROR")
    server = MetricsServer(pipeline().settings, {"1m"})
    found: dict[bool, list[float]] = {False: [], True: []}
    calls = _calls()
    for number in range(2 * BLOCKS):
        counted = number % 2 == 1
        observe(server.metrics if counted else None)
        found[counted].append(_block(calls))
    return min(found[False]), min(found[True])


def _block(calls: Iterator[dict[str, str]]) -> float:
    """CPU seconds a task; the first two tasks connect and are not counted."""
    from tasks.candles import evaluate_candle

    for _ in range(2):
        assert evaluate_candle.apply(kwargs=next(calls)).get()["outcome"] == "evaluated"
    began = time.process_time()
    for _ in range(TASKS):
        evaluate_candle.apply(kwargs=next(calls))
    return (time.process_time() - began) / TASKS


def _calls() -> Iterator[dict[str, str]]:
    """Arguments of candles that nobody has worked yet."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    for minute in count(10):
        start = (now - timedelta(minutes=minute)).isoformat().replace("+00:00", "Z")
        for number in range(INSTRUMENTS):
            yield {"instrument": f"I{number}", "timeframe": "1m", "candle_start": start}


if __name__ == "__main__":
    main()
