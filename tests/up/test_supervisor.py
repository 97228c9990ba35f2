"""The supervisor: what it starts is kept running, and stopped with all its children."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tasks.supervisor import Spec, Supervisor

PARENT = (
    "import subprocess, sys, time; "
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    "print(child.pid, flush=True); time.sleep(600)"
)


def spec(name: str, code: str = "import time; time.sleep(600)") -> Spec:
    return Spec(name, [sys.executable, "-c", code], dict(os.environ))


def wait_for(holds: Callable[[], bool], timeout_s: float = 15) -> bool:
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.02)
    return False


def test_process_that_exits_is_started_again(tmp_path: Path) -> None:
    """What exits by itself is started again and counted."""
    with Supervisor(tmp_path) as supervisor:
        supervisor.add(spec("short", "raise SystemExit(1)"))
        assert wait_for(lambda: supervisor["short"].starts >= 3)
        assert supervisor.restarts()["short"] >= 2


def test_kill_takes_the_children_along(tmp_path: Path) -> None:
    """`kill` is SIGKILL to a process and its children, and another one follows."""
    with Supervisor(tmp_path) as supervisor:
        member = supervisor.add(spec("parent", PARENT))
        assert wait_for(lambda: member.log_path.read_text().count("\n") == 1)
        first, child = member.pid, int(member.log_path.read_text())
        supervisor.kill("parent")
        assert wait_for(lambda: member.running and member.pid != first)
        assert wait_for(lambda: not psutil.pid_exists(child))


def test_orphans_of_a_process_that_exits_are_killed(tmp_path: Path) -> None:
    """Children that outlive their process are gone before it is started again: two workers never share a name."""
    with Supervisor(tmp_path) as supervisor:
        member = supervisor.add(spec("parent", PARENT))
        assert wait_for(lambda: member.log_path.read_text().count("\n") == 1)
        child = int(member.log_path.read_text())
        os.kill(member.pid, signal.SIGKILL)
        assert wait_for(lambda: member.starts == 2)
        assert wait_for(lambda: not psutil.pid_exists(child))


def test_stop_leaves_nothing_behind(tmp_path: Path) -> None:
    """After the end nothing that was started runs, not even what ignores SIGTERM's child."""
    with Supervisor(tmp_path) as supervisor:
        members = [supervisor.add(spec("one", PARENT)), supervisor.add(spec("two"))]
        assert wait_for(lambda: members[0].log_path.read_text().count("\n") == 1)
        pids = [int(members[0].log_path.read_text()), *(member.pid for member in members)]
    assert wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids), 2)


def test_held_down_process_stays_down(tmp_path: Path) -> None:
    """What is held down is not started again before it is released."""
    with Supervisor(tmp_path) as supervisor:
        member = supervisor.add(spec("one"))
        supervisor.hold_down("one")
        supervisor.kill("one")
        assert wait_for(lambda: not member.running)
        assert not wait_for(lambda: member.running, 1.5)
        supervisor.release("one")
        assert wait_for(lambda: member.running)


def test_process_that_refuses_its_configuration_stays_down(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Exit code 78 says that a restart does not help: it is not started again, and the log says where to look."""
    with Supervisor(tmp_path) as supervisor:
        refusing = supervisor.add(spec("refusing", "raise SystemExit(78)"))
        crashing = supervisor.add(spec("crashing", "raise SystemExit(1)"))
        assert wait_for(lambda: crashing.starts >= 3)
        assert (refusing.starts, refusing.running) == (1, False)
    assert [record.getMessage() for record in caplog.records] == [
        f"refusing refuses its configuration: {refusing.log_path} says why"
    ]
