"""The engine, which is store and broker at once, fails under load: what is lost with it is held, and not posted twice.

All of it under `hold`. Each test looks at one deployment; they run side by side.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.engines import DURABLE, Engine, valkey_binary
from tests.faults.conftest import Recovered
from tests.faults.loading import INSTRUMENTS, MINUTES, Load, Tally, loaded
from tests.pipeline.preloaded import Preloaded
from tests.topology.sentinels import Sentinels, wait_for

EVERY_SECOND = {**DURABLE, "appendfsync": "everysec"}
NOT_KEPT = {"appendonly": "no", "maxmemory-policy": "noeviction"}
OUTAGE_S = 2.0

pytestmark = pytest.mark.timeout(600)


def kill(load: Load) -> None:
    """SIGKILL, and a start on what is left on the disk."""
    load.deployment.engine.kill()
    load.deployment.engine.start()


def flush(load: Load) -> None:
    """FLUSHALL."""
    with load.deployment.engine.client() as client:
        client.flushall()


def flush_scripts(load: Load) -> None:
    """SCRIPT FLUSH, again and again for a while."""
    with load.deployment.engine.client() as client:
        until = time.monotonic() + OUTAGE_S
        while time.monotonic() < until:
            client.script_flush()
            load.notes["flushes"] = load.notes.get("flushes", 0) + 1


def fill_memory(load: Load) -> None:
    """No write is taken for a while: `maxmemory` is reached, and nothing may be evicted."""
    with load.deployment.engine.client() as client:
        client.config_set("maxmemory", "1mb")
        load.notes["refused"] = refused(client)
        time.sleep(OUTAGE_S)
        client.config_set("maxmemory", "0")


def fill_disk(load: Load) -> None:
    """The append-only file cannot grow for a while."""
    engine = load.deployment.engine
    pid = engine.pid
    size = max(file.stat().st_size for file in engine.data_dir.rglob("*.aof"))
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size + 1, hard))
    with engine.client(retry=None) as client:
        load.notes["refused"] = refused(client)
    time.sleep(OUTAGE_S)
    load.notes["engine ended"] = not engine.running
    if engine.running:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    else:
        engine.start()


def fail_over(load: Load) -> None:
    """The primary is killed, and its replica takes over."""
    sentinels: Sentinels = load.notes["sentinels"]
    sentinels.primary.kill()
    wait_for(sentinels.failed_over, "the failover", 60.0)


def refused(client: redis.Redis) -> str:
    """The error of a write; empty where it is taken."""
    for _ in range(100):
        try:
            client.set("one more", "x")
        except redis.RedisError as error:
            return str(error)
        time.sleep(0.02)
    return ""


@dataclass(frozen=True)
class Case:
    """One deployment, and what happens to it."""

    fault: Callable[[Load], None]
    words: str
    options: dict[str, Any] = field(default_factory=dict)


CASES = {
    "always": Case(kill, "kill -9 of the engine under load, AOF always"),
    "everysec": Case(kill, "kill -9 of the engine under load, AOF everysec", {"config": EVERY_SECOND}),
    "no AOF": Case(kill, "kill -9 of the engine under load, no AOF", {"config": NOT_KEPT}),
    "FLUSHALL": Case(flush, "FLUSHALL under load"),
    "SCRIPT FLUSH": Case(flush_scripts, "SCRIPT FLUSH for 2 s under load"),
    "out of memory": Case(fill_memory, "engine out of memory (noeviction) for 2 s under load"),
    "disk full, always": Case(fill_disk, "engine's disk full for 2 s under load, AOF always (it ends)"),
    "disk full, everysec": Case(
        fill_disk, "engine's disk full for 2 s under load, AOF everysec", {"config": EVERY_SECOND}
    ),
    "failover": Case(fail_over, "failover to the replica under load"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Load, Tally]]]:
    """Every case, when everything in it is settled."""
    with ExitStack() as stack:
        # An engine that is started again is leashed to the thread that does it, which must outlive the run.
        pool = stack.enter_context(ThreadPoolExecutor(len(CASES)))
        preloaded = stack.enter_context(Preloaded())
        loads = {name: start(stack, name, tmp_path_factory.mktemp("run"), preloaded) for name in CASES}
        running = {name: pool.submit(run, load, CASES[name].fault) for name, load in loads.items()}
        yield {name: (loads[name], one.result()) for name, one in running.items()}


def run(load: Load, fault: Callable[[Load], None]) -> Tally:
    """Let it happen in mid-work, and wait for the end."""
    load.ready()
    load.under_way()
    load.strike(fault)
    return load.settle()


def start(stack: ExitStack, name: str, home: Path, preloaded: Preloaded) -> Load:
    """A deployment with its processes starting."""
    options = dict(CASES[name].options)
    notes: dict[str, Any] = {}
    if CASES[name].fault is fill_disk:
        options["engine"] = stack.enter_context(Engine(patient_binary(home), options.pop("config", DURABLE)))
    if CASES[name].fault is fail_over:
        sentinels = stack.enter_context(Sentinels(valkey_binary(), DURABLE))
        notes["sentinels"] = sentinels
        options |= {"engine": sentinels.primary, "REDIS_URL": sentinels.url, "CELERY_RESULT_BACKEND": ""}
    load = stack.enter_context(loaded(home, preloaded, **options))
    load.notes |= notes
    load.start()
    return load


def patient_binary(home: Path) -> str:
    """The engine, which is told of a file that may not grow by an error and not by a signal, as of a full disk."""
    path = home / "engine"
    path.write_text(f'#!/bin/sh\ntrap "" XFSZ\nexec {valkey_binary()} "$@"\n')
    path.chmod(0o755)
    return os.fspath(path)


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_lost(runs: dict[str, tuple[Load, Tally]], recovered: Recovered, name: str) -> None:
    """Every candle is evaluated, and every signal is posted or held with its reason."""
    _, tally = runs[name]
    assert tally.candles == {"evaluated": len(INSTRUMENTS) * MINUTES}
    assert set(tally.signals) <= {"posted", "held"}
    assert tally.signals.total() == len(INSTRUMENTS) * MINUTES
    assert all(tally.reasons)
    recovered(CASES[name].words, tally.recovery_s)


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_posted_twice(runs: dict[str, tuple[Load, Tally]], name: str) -> None:
    """No signal is in more than one POST."""
    assert runs[name][1].posts == 1


@pytest.mark.parametrize("name", ["always", "SCRIPT FLUSH", "out of memory"])
def test_nothing_is_held_for_forgetting(runs: dict[str, tuple[Load, Tally]], name: str) -> None:
    """A store that keeps what it acknowledged holds nothing back as forgotten: at most a POST that it interrupted."""
    reasons = runs[name][1].reasons
    assert not any("memory began" in reason for reason in reasons)


@pytest.mark.parametrize("name", ["everysec", "no AOF", "FLUSHALL", "failover"])
def test_what_may_be_forgotten_is_held(runs: dict[str, tuple[Load, Tally]], name: str) -> None:
    """A store that may have forgotten holds what closed before, says so, and posts what closes afterwards."""
    tally = runs[name][1]
    if name in ("no AOF", "FLUSHALL"):
        assert tally.signals["held"] > 0
    assert all("memory began" in reason or "lease ran out" in reason for reason in tally.reasons)
    assert set(tally.remembered) <= {"posted"}


def test_faults_took_effect(runs: dict[str, tuple[Load, Tally]]) -> None:
    """The memory was full, the disks were full, and the scripts were flushed while work went on."""
    notes = {name: load.notes for name, (load, _) in runs.items()}
    assert "OOM" in notes["out of memory"]["refused"] or "maxmemory" in notes["out of memory"]["refused"]
    assert notes["disk full, always"]["engine ended"]
    assert "MISCONF" in notes["disk full, everysec"]["refused"]
    assert notes["SCRIPT FLUSH"]["flushes"] > 1
