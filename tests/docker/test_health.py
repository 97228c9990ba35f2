"""How a container tells that it is well: heartbeats of real processes, and the check that reads them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from project import ROOT, clean_environment, wait_until

from tasks.heartbeat import WORKER_GOOD_S, beat_good_s, vouch
from tasks.settings import load_settings
from tests.engines import Engine

WATCHLIST = """
[sources.recorded]
kind = "replay"

[[watch]]
instruments = ["IBM"]
timeframe = "1d"
source = "recorded"
strategy = "rsi"
"""

PROCESSES = {
    "worker": ["worker", "--concurrency=1", "--queues=none", "--without-mingle", "--without-gossip"],
    "beat": ["beat"],
}


def check(*arguments: str, **env: str) -> int:
    """Exit code of the image's health check."""
    argv = [ROOT / "docker" / "healthcheck", *arguments]
    env = clean_environment(**env)
    return subprocess.run(argv, check=False, env=env, capture_output=True, timeout=20).returncode


@contextmanager
def running(name: str, engine: Engine, folder: Path) -> Iterator[Path]:
    """A worker or a beat with a broker of its own; gives its heartbeat file."""
    (folder / "pipeline.toml").write_text(WATCHLIST)
    env = clean_environment(
        REDIS_URL=engine.url,
        WATCHLIST=str(folder / "pipeline.toml"),
        SIGNAL_API_URL="http://127.0.0.1:9/signals",
        SWEEP_INTERVAL="1",
        HEARTBEAT_FILE=str(folder / "heartbeat"),
        PYTHONPATH=str(ROOT),
    )
    argv = [sys.executable, "-m", "celery", "-A", "tasks", *PROCESSES[name]]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            yield folder / "heartbeat"
        finally:
            os.killpg(process.pid, 9)
            process.wait()


def advances(file: Path, within_s: float) -> bool:
    """Whether a heartbeat comes within so many seconds."""
    before = file.stat().st_mtime_ns
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if file.stat().st_mtime_ns != before:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_a_process_vouches_for_itself_while_it_has_a_broker(name: str, tmp_path: Path) -> None:
    """Workers and beats are healthy soon after their start and stop vouching once their broker is gone."""
    with Engine() as engine, running(name, engine, tmp_path) as file:
        wait_until(file.exists, 60, f"the first heartbeat of the {name}")
        assert check("heartbeat", HEARTBEAT_FILE=str(file)) == 0
        assert advances(file, 20)
        engine.kill()
        time.sleep(2)
        assert not advances(file, 6)


def test_a_process_that_vouched_for_itself_is_healthy(tmp_path: Path) -> None:
    """A heartbeat is good for a while."""
    file = tmp_path / "heartbeat"
    vouch(file, WORKER_GOOD_S)
    assert check("heartbeat", HEARTBEAT_FILE=str(file)) == 0


def test_a_process_whose_heartbeat_ran_out_is_not_healthy(tmp_path: Path) -> None:
    """Past its time a heartbeat counts for nothing."""
    file = tmp_path / "heartbeat"
    vouch(file, -2)
    assert check("heartbeat", HEARTBEAT_FILE=str(file)) == 1


def test_a_process_that_never_vouched_is_not_healthy(tmp_path: Path) -> None:
    """Without a heartbeat a container is not healthy."""
    assert check("heartbeat", HEARTBEAT_FILE=str(tmp_path / "none")) == 1


def test_one_lost_sweep_does_not_make_a_beat_unhealthy() -> None:
    """A message of beat is good for longer than two of its sweeps take."""
    assert beat_good_s(15) > 2 * 15


def test_a_heartbeat_that_cannot_be_written_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A heartbeat file that cannot be written is logged with its name, and the process goes on."""
    vouch(tmp_path / "no folder" / "heartbeat", WORKER_GOOD_S)
    assert "no folder" in caplog.text


def test_outside_a_container_nothing_is_written() -> None:
    """Without HEARTBEAT_FILE there is no heartbeat."""
    assert load_settings(_env_file=None).heartbeat_file is None
    vouch(None, WORKER_GOOD_S)


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing: pytest shows what matters."""


def test_a_server_is_healthy_when_it_answers_200() -> None:
    """The check over HTTP takes 200 for healthy, and neither another status nor a closed port."""
    with HTTPServer(("127.0.0.1", 0), _Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = str(server.server_port)
        try:
            assert check("http", port, "/health") == 0
            assert check("http", port, "/busy") == 1
        finally:
            server.shutdown()
            thread.join()
    assert check("http", port, "/health") == 1
