"""The commands as processes, beside a real worker, engine and API."""

from __future__ import annotations

import getpass
import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from dedup.ops import Resolution
from dedup.timeframe import Candle
from tasks.receiver import Fault
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import CELERY, Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of

INSTRUMENTS = tuple(f"I{number}" for number in range(12))
WHY = ("--why", "asked the broker", "--who", "anna", "--yes")

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Told:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment that holds what is unknown and watches three hours, with a worker."""
    span = {"WATCH_FROM": (ORIGIN - 3 * HOUR).isoformat()}
    with deploy(tmp_path_factory.mktemp("cli"), [watch(*INSTRUMENTS)], **span) as deployment:
        deployment.worker()
        yield deployment


@pytest.fixture(scope="module")
def unused() -> Iterator[str]:
    """Instruments that no test has used yet."""
    return iter(INSTRUMENTS)


def celery(running: Deployment, *argv: str, app: str = "tasks") -> Told:
    """Call `celery -A tasks …`."""
    command = [*CELERY[:3], "-A", app, *argv]
    done = subprocess.run(
        command, env=running.env, cwd=running.home, capture_output=True, text=True, timeout=200, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Told(done.returncode, done.stdout, done.stderr)


def fed(running: Deployment, name: str) -> Candle:
    """The last closed candle of an instrument, with its bars."""
    running.feed(name, [ORIGIN + hours * HOUR for hours in range(-4, 1)])
    return candle_of(name)


def held(running: Deployment, name: str) -> Candle:
    """A candle whose signal is held: the API said 500, and had done nothing."""
    candle = fed(running, name)
    running.receiver.faults.put(Fault("error_before_commit"))
    running.run(candle)
    running.until(lambda: running.signal_outcome(candle) == "held", f"{name} to be held")
    running.receiver.faults.clear()
    return candle


def let_go(running: Deployment, candle: Candle) -> None:
    """A person lets a held signal be sent once more."""
    seen = running.signal_record(candle)
    assert seen is not None
    key = running.signal_key(candle)
    assert running.line.signals.resolve(key, seen, Resolution.RESEND, "anna", "asked the broker").acted


def test_resend(running: Deployment, unused: Iterator[str]) -> None:
    """Held signals that a person lets go, those of a store that forgot among them, are posted, once each."""
    doubted, forgotten = held(running, next(unused)), fed(running, next(unused))
    with running.engine.client() as client:
        remembered = client.get("dedup:since")
        seconds, _ = client.time()
        client.set("dedup:since", (seconds + 5) * 1000)
        running.run(forgotten)
        running.until(lambda: running.signal_outcome(forgotten) == "held", "the forgotten one to be held")
        ids = [running.signal(candle).id for candle in (doubted, forgotten)]
        told = celery(running, "signals", "resolve", *ids, "--as", "resend", *WHY, "--json")
        assert (told.code, [one["acted"] for one in told.document]) == (0, [True, True])
        for candle in (doubted, forgotten):
            running.until(lambda candle=candle: running.signal_outcome(candle) == "posted", "the signal to be posted")
        client.set("dedup:since", str(remembered))
    assert [post.attempt for post in running.posts(doubted)] == ["1", "2"]
    assert [post.attempt for post in running.posts(forgotten)] == ["2"]
    assert [running.effects(candle) for candle in (doubted, forgotten)] == [1, 1]
    record = running.signal_record(doubted)
    assert record is not None
    assert (record.by, record.by_why, record.in_doubt) == ("anna", "asked the broker", True)


def test_resolve_asks_at_a_terminal(running: Deployment, unused: Iterator[str]) -> None:
    """At a terminal a person is asked, and what they type decides; who is logged in said so."""
    candle = held(running, next(unused))
    command = [*CELERY, "signals", "resolve", running.signal(candle).id, "--as", "rejected", *WHY[:2]]
    keyboard, terminal = pty.openpty()
    try:
        os.write(keyboard, b"y\n")
        done = subprocess.run(
            command, stdin=terminal, env=running.env, cwd=running.home, capture_output=True, text=True, check=False
        )
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert (done.returncode, "Never post what is listed? [y/N]" in done.stderr) == (0, True)
    record = running.signal_record(candle)
    assert record is not None
    assert (record.outcome, record.by) == ("rejected", getpass.getuser())


def test_resend_is_for_one_delivery(running: Deployment, unused: Iterator[str]) -> None:
    """However many deliveries come when a person has let a signal go, one of them posts it."""
    candle = held(running, next(unused))
    signal = running.signal(candle)
    let_go(running, candle)
    results = [running.result(sent) for sent in [running.publish(signal) for _ in range(6)]]
    assert sorted({one["outcome"] for one in results} - {"busy"}) == ["duplicate", "posted"]
    assert [post.attempt for post in running.posts(candle)] == ["1", "2"]


def test_resend_that_fails_is_held_again(running: Deployment, unused: Iterator[str]) -> None:
    """Where nobody knows what became of that delivery either, the signal is held again, after one POST more."""
    candle = held(running, next(unused))
    signal = running.signal(candle)
    let_go(running, candle)
    running.receiver.faults.put(Fault("drop_reply"))
    results = [running.result(running.publish(signal))["outcome"] for _ in range(3)]
    running.receiver.faults.clear()
    assert results == ["held", "held", "held"]
    assert len(running.posts(candle)) == 2


def marks(told: Told) -> dict[str, str]:
    return {f"{one['instrument']} {one['start'][11:13]}": one["mark"] for one in told.document["outcomes"]}


def test_backfill(running: Deployment, unused: Iterator[str]) -> None:
    """A backfill evaluates what nobody has, posts what is fresh and never what has expired; with force it tries again
    what had no bar; nothing is posted twice."""
    whole, gappy = next(unused), next(unused)
    candle = fed(running, whole)
    running.feed(gappy, [ORIGIN + hours * HOUR for hours in (-4, -3, -2, 0)])
    argv = ("backfill", "--from", "150m", "--instrument", whole, "--instrument", gappy, "--wait", "--json")
    first = celery(running, *argv)
    assert first.document["counts"] == {"evaluate": 6}, first.out
    assert marks(first) == {
        f"{whole} 07": "expired",
        f"{whole} 08": "posted",
        f"{whole} 09": "posted",
        f"{gappy} 07": "expired",
        f"{gappy} 08": "posted",
        f"{gappy} 09": "missing",
    }
    assert (first.code, first.document["counts"]) == (1, {"evaluate": 6})
    running.feed(gappy, [ORIGIN + hours * HOUR for hours in range(-4, 1)], afresh=True)
    second = celery(running, *argv, "--force")
    assert (second.code, marks(second)) == (0, {f"{gappy} 09": "posted"})
    assert second.document["counts"] == {"done": 5, "redo": 1}
    start = ORIGIN - 3 * HOUR
    assert not running.posts(candle_of(whole, start))
    assert [running.effects(candle), len(running.posts(candle))] == [1, 1]


def test_status(running: Deployment, unused: Iterator[str]) -> None:
    """`celery -A tasks status` is the pipeline's picture."""
    name = next(unused)
    candle = fed(running, name)
    running.run(candle)
    running.until(lambda: running.signal_outcome(candle), "the signal")
    told = celery(running, "status", "--instrument", name, "--last", "3")
    assert told.code in (0, 1)
    row = next(line for line in told.out.splitlines() if line.startswith(name))
    assert row.split()[1].endswith("●")


def test_status_of_another_app_is_celerys(running: Deployment) -> None:
    """For another app in the same environment `celery status` is Celery's own, which lists workers."""
    told = celery(running, "status", "--help", app="celery")
    assert (told.code, "--destination" in told.out, "--watch" in told.out) == (0, True, False)


def test_commands_are_listed(running: Deployment) -> None:
    """`celery -A tasks --help` names every command of the pipeline."""
    told = celery(running, "--help")
    listed = {line.split()[0] for line in told.out.splitlines() if line.startswith("  ") and line.split()}
    assert {"up", "doctor", "status", "signals", "candles", "backfill", "watchlist", "chart"} <= listed


def test_sweep_sends_what_was_let_go(running: Deployment, unused: Iterator[str]) -> None:
    """What a person let go while the broker was away is enqueued by the sweep."""
    candle = held(running, next(unused))
    let_go(running, candle)
    running.sweep_until(lambda: running.signal_outcome(candle) == "posted", "the sweep to have it posted")
    assert len(running.posts(candle)) == 2
    assert celery(running, "status", "--last", "1", "--json").document["swept_s"] is not None


def looks(client: redis.Redis) -> int:
    """How often somebody has looked through all signals: nobody else does so by SCAN."""
    calls: int = client.info("commandstats").get("cmdstat_scan", {"calls": 0})["calls"]
    return calls


def test_status_is_watched(running: Deployment) -> None:
    """`--watch` goes on until Ctrl-C, through an outage of Redis, and ends with 0."""
    command = [*CELERY, "status", "--watch", "--every", "0.2", "--last", "1"]
    # Tests that a shell runs in the background ignore SIGINT, and a child would inherit that.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    with (running.home / "watch.log").open("wb") as log:
        watching = subprocess.Popen(command, env=running.env, cwd=running.home, stdout=log, stderr=log)
    signal.signal(signal.SIGINT, ours)
    try:
        with running.engine.client() as client:
            running.until(lambda: looks(client) > 2, "a few looks")
            running.engine.freeze()
            with pytest.raises(subprocess.TimeoutExpired):
                watching.wait(2)
            running.engine.thaw()
            before = looks(client)
            running.until(lambda: looks(client) > before + 2, "looks again")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 0
        assert "Traceback" not in (running.home / "watch.log").read_text()
    finally:
        running.engine.thaw()
        watching.kill()
        watching.wait()
