"""What the demonstration does to its own pipeline: the faults that make other pipelines post twice or lose work."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
import requests

from tasks.stack import ENGINE, WORKERS, Stack, engine_answers, wait_until
from tasks.supervisor import Supervisor


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is done to the pipeline.

    Attributes:
        at_s: when, wall seconds from the beginning of the replay.
        name: for the live view and the report.
        strike: does it, and says in words what it did.
        measured: tell how long the pipeline took to recover.
    """

    at_s: float
    name: str
    strike: Callable[[Stack, Supervisor], str]
    measured: bool = False


def scenario() -> list[Fault]:
    """The faults of `make demo`, in order."""
    return [
        Fault(8, "lost replies", _misbehave({"kind": "drop_reply", "times": 2}, "drops 2 replies after committing")),
        Fault(16, "500s", _misbehave({"kind": "error_after_commit", "times": 2}, "answers 500 twice after committing")),
        Fault(24, "kill -9 of a worker", kill_worker_in_flight, measured=True),
        Fault(40, "429s", _misbehave({"kind": "refuse", "times": 2, "seconds": 1}, "says 429 twice")),
        Fault(46, "kill -9 of the engine", restart_engine, measured=True),
        Fault(58, "resets", _misbehave({"kind": "reset", "times": 2}, "resets 2 connections after committing")),
        Fault(64, "SIGSTOP of a worker", stop_worker_in_flight, measured=True),
    ]


def _misbehave(fault: dict[str, Any], words: str) -> Callable[[Stack, Supervisor], str]:
    def strike(stack: Stack, _: Supervisor) -> str:
        _tell(stack, fault)
        return f"the API {words}"

    return strike


def _tell(stack: Stack, fault: dict[str, Any]) -> None:
    requests.put(f"{stack.api_url}/faults", json=fault, timeout=3).raise_for_status()


def kill_worker_in_flight(stack: Stack, supervisor: Supervisor) -> str:
    """Wait for a worker that is in the middle of a POST, and SIGKILL it with all its children."""
    name = _worker_in_flight(stack, supervisor)
    supervisor.kill(name)
    return f"kill -9 of {name} and its children, a POST in flight"


def stop_worker_in_flight(stack: Stack, supervisor: Supervisor) -> str:
    """SIGSTOP a worker in the middle of a POST until its claim has been taken over, then let it go on."""
    name = _worker_in_flight(stack, supervisor)
    lease_s = float(stack.env["PUBLISH_LEASE"])
    supervisor[name].signal(signal.SIGSTOP)
    time.sleep(lease_s + 2)
    supervisor[name].signal(signal.SIGCONT)
    return f"SIGSTOP of {name} for {lease_s + 2:g} s, beyond its lease, a POST in flight"


def _worker_in_flight(stack: Stack, supervisor: Supervisor, patience_s: float = 20) -> str:
    """Let the API stall after committing, and find the worker that waits for it."""
    _tell(stack, {"kind": "stall", "times": 1, "seconds": 2.5})
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        for name in WORKERS:
            if _talks_to(supervisor[name].pid, stack.receiver_port):
                time.sleep(0.3)  # long enough for the POST to be on the API's side
                return name
        time.sleep(0.02)
    return WORKERS[0]


def _talks_to(pid: int, port: int) -> bool:
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
        return any(
            one.raddr and one.raddr.port == port and one.status == psutil.CONN_ESTABLISHED
            for member in family
            for one in member.net_connections(kind="tcp")
        )
    except (psutil.Error, OSError):
        return False


def restart_engine(stack: Stack, supervisor: Supervisor) -> str:
    """SIGKILL the engine; the supervisor starts it on the same data."""
    supervisor.kill(ENGINE)
    time.sleep(0.2)
    took_s = wait_until(lambda: engine_answers(stack), 30, "the engine after its restart")
    return f"kill -9 of the engine, which was back after {took_s + 0.2:.1f} s"
