"""The metrics of one worker: files of its processes, findings on the store, labels that no message makes up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import requests
from prometheus_client import CollectorRegistry

from dedup.errors import StoreUnavailable
from dedup.preflight import ServerFacts
from tasks.metrics import PipelineMetrics
from tasks.metrics_files import LOCK, PREFIX, LivingCollector, MetricsFolder
from tasks.settings import load_settings
from tasks.store_facts import StoreCollector, ask
from tests.engines import Engine, free_port
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.waiting import eventually

COUNTING = """
import os, sys, time
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
from prometheus_client import CollectorRegistry, Counter, Gauge
registry = CollectorRegistry()
Counter("done_total", "Done.", registry=registry).inc(3)
Gauge("busy", "Busy.", registry=registry, multiprocess_mode="livemax").set(1)
print("counted", flush=True)
time.sleep(600)
"""


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has counted 3, and is busy."""
    argv = [sys.executable, "-c", COUNTING, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "counted\n"
            yield process
        finally:
            process.kill()


def values(folder: Path) -> dict[str, float]:
    return {sample.name: sample.value for metric in LivingCollector(folder).collect() for sample in metric.samples}


def test_killed_process_leaves_its_counts_and_no_state(counting: subprocess.Popen[str], tmp_path: Path) -> None:
    """After SIGKILL what a process counted stays in the sum, and what it was doing is gone."""
    assert values(tmp_path) == {"done_total": 3, "busy": 1}
    counting.send_signal(signal.SIGKILL)
    counting.wait()
    assert values(tmp_path) == {"done_total": 3}


HOLDING = """
import os, signal, sys
from pathlib import Path
from tasks.metrics_files import MetricsFolder
folder = MetricsFolder(Path(sys.argv[1]))
print(folder.path, flush=True)
signal.pause()
"""


def test_folder_of_a_killed_worker_is_removed_by_the_next(tmp_path: Path) -> None:
    """A worker removes what killed ones left, leaves alone what is in use, and removes its own at its end."""
    argv = [sys.executable, "-c", HOLDING, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            used = Path(other.stdout.readline().strip())
            first = MetricsFolder(tmp_path)
            assert {one.name for one in tmp_path.iterdir()} == {used.name, first.path.name}
        finally:
            other.kill()
    second = MetricsFolder(tmp_path)
    assert {one.name for one in tmp_path.iterdir()} == {first.path.name, second.path.name}
    for folder in (first, second):
        folder.close()
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_being_made_is_left_alone(tmp_path: Path) -> None:
    """A folder without a lock yet belongs to a worker that is starting."""
    (tmp_path / f"{PREFIX}new").mkdir()
    folder = MetricsFolder(tmp_path)
    assert (tmp_path / f"{PREFIX}new").exists()
    assert (folder.path / LOCK).exists()
    folder.close()


def test_child_does_not_remove_its_parents_folder(tmp_path: Path) -> None:
    """A child that ends leaves the folder to its parent."""
    folder = MetricsFolder(tmp_path)
    child = os.fork()
    if child == 0:
        folder.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert folder.path.exists()
    folder.close()


def facts(collector: StoreCollector) -> dict[tuple[str, ...], float]:
    """Values by name and the labels that are not the server's."""
    return {
        (sample.name.removeprefix("candlelatch_"), *(v for k, v in sorted(sample.labels.items()) if k != "server")): (
            sample.value
        )
        for metric in collector.collect()
        for sample in metric.samples
    }


def about(engine: Engine) -> StoreCollector:
    settings = load_settings(_env_file=None, redis_url=engine.url)
    clock = iter(range(0, 10_000, 10))
    return StoreCollector(lambda: ask(settings), "server", lambda: next(clock))


def test_findings_on_the_store_are_metrics() -> None:
    """A server's mark, clock and eviction policy are seen as they are when asked, and as they become."""
    with Engine(config={"appendonly": "yes", "appendfsync": "always"}) as engine, engine.client() as client:
        collector = about(engine)
        before = facts(collector)
        assert (before["store_up",], before["memory_marked",]) == (1, 0)
        assert ("memory_since_timestamp_seconds",) not in before
        assert abs(before["clock_skew_seconds",]) < 1
        assert before["preflight_level", "maxmemory-policy"] == 0
        client.set("dedup:since", 1_700_000_000_000)
        client.config_set("maxmemory-policy", "allkeys-lru")
        after = facts(collector)
        assert (after["memory_marked",], after["memory_since_timestamp_seconds",]) == (1, 1_700_000_000)
        assert after["memory_began_info", "unknown"] == 1
        assert after["preflight_level", "maxmemory-policy"] == 1


def test_store_that_is_away_is_down() -> None:
    """A server that does not answer is down, at once, and nothing else is said of it."""
    with Engine() as engine:
        collector = about(engine)
        engine.stop()
        began_s = time.monotonic()
        found = facts(collector)
        assert found == {("store_up",): 0, ("preflight_level", "reachable"): 2}
        assert time.monotonic() - began_s < 8


def asked_often(ask: Callable[[], Sequence[ServerFacts]]) -> list[dict[tuple[str, ...], float]]:
    clock = iter((0, 0, 1, 20, 20, 20))
    collector = StoreCollector(ask, "server", lambda: next(clock))
    return [facts(collector) for _ in range(3)]


def test_several_that_scrape_ask_the_store_once() -> None:
    """What the store said is good for a few seconds."""
    asked: list[ServerFacts] = []

    def once_more() -> list[ServerFacts]:
        asked.append(ServerFacts("here", error="away"))
        return asked[-1:]

    assert len(asked_often(once_more)) == 3
    assert len(asked) == 2


def test_whatever_goes_wrong_with_the_store_leaves_the_rest() -> None:
    """A look at the store that raises says nothing about it, and does not end the scrape."""

    def broken() -> list[ServerFacts]:
        raise StoreUnavailable("unexpected")

    assert asked_often(broken) == [{}, {}, {}]


def test_message_cannot_make_up_a_label() -> None:
    """A timeframe that nobody watches, and a task that is none, become no label of their own."""
    registry = CollectorRegistry()
    metrics = PipelineMetrics(registry, {"1h"})
    for timeframe in ("1h", "7m", "x" * 300, ["1h"], None):
        metrics.ended("evaluate_candle", "error", {"timeframe": timeframe})
    metrics.ended("sell_everything", "bad_message", {})
    metrics.ended("sell_everything", "error", {})
    count = {
        tuple(sample.labels.values()): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "candlelatch_candles_total" and sample.value
    }
    assert count == {("error", "1h"): 1, ("error", "other"): 4}
    assert registry.get_sample_value("candlelatch_bad_messages_total") == 1
    assert not [metric for metric in registry.collect() if "sell" in str(metric.samples)]


def test_worker_without_a_port_serves_nothing_and_one_whose_port_is_taken_works(tmp_path: Path) -> None:
    """A worker whose port is taken says so and works; one without a port keeps no files."""
    with deploy(tmp_path, [watch("GOLD")]) as deployment:
        port = str(free_port())
        first = deployment.worker("first", processes=1, METRICS_PORT=port, TMPDIR=str(tmp_path))
        second = deployment.worker("second", processes=1, METRICS_PORT=port, TMPDIR=str(tmp_path), wait=False)
        third = deployment.worker("third", processes=1)
        second.ready()
        assert requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).ok
        deployment.until(lambda: f"no metrics at 127.0.0.1:{port}: Address already in use" in second.logs(), "a word")
        assert "metrics at" not in third.logs()
        first.kill("SIGTERM")
        second.kill("SIGTERM")
        for worker in (first, second):
            worker.wait()
        eventually(lambda: not list(tmp_path.glob(f"{PREFIX}*")), "their files to be gone")
