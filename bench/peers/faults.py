"""The faults. Each is a function of a `World` that has no worker yet, and returns when nothing more will happen."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from bench.peers.cast import Peer
from bench.peers.terms import VISIBILITY_S
from bench.peers.world import SLOWLY, World
from tasks.receiver import Fault as Misbehaviour
from tests.pipeline.strikes import Strike
from tests.pipeline.waiting import eventually

KILLED_S = 60.0
OUTAGE_S = 4.0
STALL_S = 8.0
TWINS_S = 2.0
STOPPED_S = VISIBILITY_S + 8.0
"""Longer than every lease, and than the broker takes to deliver again."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        name: in the table.
        meaning: what is done, in words.
        happen: does it.
    """

    name: str
    meaning: str
    happen: Callable[[World, Peer], None]


def _nothing(world: World, _: Peer) -> None:
    world.worker()
    world.send()
    world.settle()


def _twins(world: World, _: Peer) -> None:
    # So slowly that the first ones' jobs are under way while the second ones are sent, on any machine.
    world.receiver.faults.put(Misbehaviour("stall", times=None, seconds=TWINS_S))
    # Two workers, so that both deliveries of a job find a free process at once.
    world.worker()
    world.worker("b")
    world.send(copies=2)
    world.settle()


def _late_twin(world: World, _: Peer) -> None:
    _nothing(world, _)
    world.send()
    world.settle()


def _killed_before(world: World, _: Peer) -> None:
    _killed_at(world, "before")


def _killed_after(world: World, _: Peer) -> None:
    _killed_at(world, "after")


def _killed_at(world: World, point: str) -> None:
    worker = world.worker(stops_at=point)
    world.send()
    world.until_stopped_at(point)
    worker.kill()
    world.go_on()
    world.worker()
    world.settle()


def _killed_in_flight(world: World, _: Peer) -> None:
    world.receiver.faults.put(Misbehaviour("stall", times=len(world.jobs), seconds=STALL_S), SLOWLY)
    # Stopped there first, so that all POST within the same moment.
    worker = world.worker(stops_at="before")
    world.send()
    world.until_stopped_at("before")
    world.go_on()
    world.until_posts(len(world.jobs))
    worker.kill()
    world.worker()
    world.settle()


def _claim_unheard(world: World, peer: Peer) -> None:
    world.worker()
    world.proxy.put(*(Strike("reset", "reply", needle=peer.needle(job).encode()) for job in world.jobs))
    world.send()
    world.settle()
    if len(world.proxy.struck) not in (len(world.jobs), 0):
        world.notes.append(f"{len(world.proxy.struck)} replies were lost, not {len(world.jobs)}")


def _forgotten(world: World, _: Peer) -> None:
    worker = world.worker()
    world.send()
    world.settle()
    world.engine.restart()
    # Otherwise what its processes remember would stand in for what Redis forgot.
    worker.kill()
    world.worker()
    world.send()
    world.settle()


def _stopped(world: World, _: Peer) -> None:
    worker = world.worker(stops_at="before")
    world.send()
    world.until_stopped_at("before")
    worker.kill("SIGSTOP")
    world.worker("b")
    time.sleep(STOPPED_S)
    world.go_on()
    # The children first: the parent would kill them for their time limit, before or after they have gone on.
    parent, *children = worker.family()
    for child in children:
        child.send_signal(signal.SIGCONT)
    time.sleep(1)
    parent.send_signal(signal.SIGCONT)
    world.settle()


def _failed_after(world: World, _: Peer) -> None:
    _answered(world, "error_after_commit")


def _failed_before(world: World, _: Peer) -> None:
    _answered(world, "error_before_commit")


def _answered(world: World, kind: str) -> None:
    world.receiver.faults.put(Misbehaviour(kind, times=len(world.jobs)), SLOWLY)  # type: ignore[arg-type]
    world.worker()
    world.send()
    world.settle()


def _store_away(world: World, _: Peer) -> None:
    world.worker()
    world.proxy.put(Strike("reset", "request", times=None))
    world.proxy.cut()
    senders = world.sending()
    time.sleep(OUTAGE_S)
    world.proxy.clear()
    for sender in senders:
        sender.wait(KILLED_S)
    world.settle()


def _limit_hit(world: World, _: Peer) -> None:
    world.worker(stops_at="before")
    world.send()
    working = world.until_stopped_at("before")
    eventually(lambda: not any(_lives(pid) for pid in working), "the time limit", KILLED_S, world.logs)
    world.go_on()
    world.settle()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


FAULTS = (
    Fault("no fault", "sent once, nothing goes wrong", _nothing),
    Fault("two beats", "sent by two processes at the same moment, each POST takes 2 s", _twins),
    Fault("second beat late", "sent again when the job is done", _late_twin),
    Fault("kill -9 before the POST", "the worker and its children, as every job is about to POST", _killed_before),
    Fault("kill -9, POST in flight", "the API has committed, the reply is not there yet", _killed_in_flight),
    Fault("kill -9 after the POST", "the reply was read, nothing is marked done or acknowledged yet", _killed_after),
    Fault("claim's reply lost", "Redis executed each claim, its connection is reset before the reply", _claim_unheard),
    Fault(
        "Redis forgot",
        "jobs done; Redis is killed and comes back empty, the worker too; sent again",
        _forgotten,
    ),
    Fault("SIGSTOP beyond the lease", "before the POST, SIGCONT when the redelivery has been worked", _stopped),
    Fault("500 after the commit", "the first ten POSTs", _failed_after),
    Fault("500, nothing committed", "the first ten POSTs", _failed_before),
    Fault("store away at the claim", "every request to the store is reset, 4 s long", _store_away),
    Fault("hard time limit", "every job hangs before its POST until Celery kills it", _limit_hit),
)
