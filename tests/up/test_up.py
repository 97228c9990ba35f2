"""`celery -A tasks up`: the whole pipeline as processes, and gone at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tasks.receiver.log import read_log


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_stops_everything_that_was_started(tmp_path: Path, how: signal.Signals) -> None:
    """Ctrl-C or SIGTERM ends `up` with 0, and engine, API, workers with their children, beats and Flower with it."""
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    command = [sys.executable, "-m", "celery", "-A", "tasks", "up", "--day", "0.5", "--home", str(tmp_path / "run")]
    with (tmp_path / "up.log").open("wb") as log:
        up = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ))
    try:
        family = _signals_flow(up, tmp_path / "run" / "receiver.jsonl")
        up.send_signal(how)
        assert up.wait(40) == 0, (tmp_path / "up.log").read_text()
        gone, alive = psutil.wait_procs(family, timeout=5)
        assert (len(gone), alive) == (len(family), [])
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
        if up.poll() is None:
            up.kill()
            up.wait()


def _signals_flow(up: subprocess.Popen[bytes], log: Path) -> list[psutil.Process]:
    """Wait until signals reach the API, and tell every process below `up`."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if log.exists() and len(read_log(log).ids) >= 3:
            family = psutil.Process(up.pid).children(recursive=True)
            # engine with its server, API, two workers with two children each, two beats, Flower
            assert len(family) >= 12
            return family
        time.sleep(0.1)
    raise AssertionError("no signal reached the API")
