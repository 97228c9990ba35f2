"""docker-compose.yml started for real: recorded days replayed fast, workers and a beat killed under it."""

from __future__ import annotations

import re
import secrets
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
import requests
from project import ROOT, Project, build_image, clean_environment, free_ports, require_images, wait_until

from dedup.errors import StoreError
from tasks.evidence import Expected, Verdict, expect, judge
from tasks.receiver.log import ReceiverLog, read_log
from tasks.runtime import Pipeline, make_pipeline
from tasks.settings import Settings, load_settings

IMAGE = "candlelatch:test"
DAY_S = 1
LAST_DAY = "2012-11-10T00:00:00Z"
WORKERS, BEATS = 3, 2
STALL = {"kind": "stall", "times": 1, "seconds": 6}
# Longer than the demonstration's, so that on a busy machine there is time to find the worker that waits for the API.
DEADLINES = {"HTTP_DEADLINE": "8", "PUBLISH_TIME_LIMIT": "10", "PUBLISH_LEASE": "12"}

pytestmark = pytest.mark.timeout(1800)


@dataclass(frozen=True)
class Demo:
    """The running demonstration, and this process's own view of it.

    Attributes:
        settings: what `docker/demo-env` wrote, and the ports.
        line: the pipeline with the containers' settings, to read records.
        seen: figures for who runs the tests with `-s`.
    """

    project: Project
    settings: dict[str, str]
    line: Pipeline
    folder: Path
    seen: dict[str, str]

    @property
    def api(self) -> str:
        """The reference API."""
        return f"http://127.0.0.1:{self.settings['RECEIVER_PORT']}"

    @property
    def flower(self) -> str:
        """Flower."""
        return f"http://127.0.0.1:{self.settings['FLOWER_PORT']}"

    def log(self) -> ReceiverLog:
        """Every POST that reached the API so far, from the API's own log."""
        [receiver] = self.project.containers("receiver")
        return read_log(self.project.fetch(receiver, "/var/lib/candlelatch/posts.jsonl", self.folder / "posts.jsonl"))

    def expected(self, until: datetime | None = None) -> Expected:
        """What the bars ask for up to a market moment, by default the end of the replay."""
        settings = self.line.settings
        assert settings.watch_from is not None
        assert settings.watch_until is not None
        last = min(until or settings.watch_until, settings.watch_until)
        return expect(self.line.watchlist, settings.watch_from, last, settings.signal_max_age or 0.0)

    def verdict(self, expected: Expected) -> Verdict:
        """What came of it."""
        log = self.log()
        return judge(self.line, expected, log.effects, len(log.posts))

    def settled(self, expected: Expected) -> bool:
        """Whether nothing of it is open: every candle is worked, and every signal's record says what became of it."""
        signals = self.line.signals
        keys = [signals.key(s.instrument, s.candle_start, s.timeframe, s.strategy) for s in expected.signals.values()]
        try:
            records = [peeked.record for peeked in signals.peek_many(keys)]
            return all(record is not None and record.settled for record in records) and self.verdict(expected).settled
        except StoreError:
            return False


@pytest.fixture(scope="module")
def compose() -> list[str]:
    """Compose with an engine that answers and both base images."""
    return require_images()


@pytest.fixture(scope="module")
def demo(compose: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Three workers, two beats, Flower, Redis and the reference API, healthy and with signals flowing.

    The image stays, so that the next run builds on its layers; all the rest is removed.
    """
    folder = tmp_path_factory.mktemp("compose")
    flower, receiver, engine = map(str, free_ports(3))
    ports = {"FLOWER_PORT": flower, "RECEIVER_PORT": receiver, "TEST_REDIS_PORT": engine, "CANDLELATCH_IMAGE": IMAGE}
    env_file = folder / "demo.env"
    env_file.write_text("SIGNAL_API_URL=http://receiver:8099/signals\nFLOWER_BASIC_AUTH=a:b\n")
    project = Project(compose, f"candlelatch-test-{secrets.token_hex(4)}", env_file, clean_environment(**ports))
    seen: dict[str, str] = {}
    began = time.monotonic()
    build_image(compose, IMAGE)
    seen["build"] = f"{time.monotonic() - began:.1f} s"
    settings = demo_settings() | ports
    env_file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    try:
        began = time.monotonic()
        project.compose("up", "-d", "--scale", f"worker={WORKERS}", timeout_s=300)
        seen["up"] = f"{time.monotonic() - began:.1f} s"
        wait_until(lambda: set(project.health().values()) == {"healthy"}, 180, f"healthy: {project.health()}")
        seen["all healthy"] = f"{time.monotonic() - began:.1f} s"
        line = make_pipeline(own_settings(settings))
        with closing(line.store):
            running = Demo(project, settings, line, folder, seen)
            wait_until(lambda: requests.get(f"{running.api}/signals", timeout=5).json()["effects"] >= 3, 120, "signals")
            yield running
    except BaseException:
        print(project.compose("logs", "--no-color", "--tail", "40"))
        raise
    finally:
        print("\n".join(f"{name}: {figure}" for name, figure in seen.items()))
        project.down()


def demo_settings() -> dict[str, str]:
    """What `docker/demo-env` writes, with an earlier end and longer deadlines."""
    written = subprocess.run(
        [ROOT / "docker" / "demo-env", str(DAY_S)], capture_output=True, text=True, check=True, timeout=20
    ).stdout
    return dict(line.split("=", 1) for line in written.splitlines()) | DEADLINES | {"WATCH_UNTIL": LAST_DAY}


def own_settings(settings: dict[str, str]) -> Settings:
    """The containers' settings with addresses that this process reaches."""
    known = {name.lower(): value for name, value in settings.items() if name.lower() in Settings.model_fields}
    redis_url = f"redis://:{settings['REDIS_PASSWORD']}@127.0.0.1:{settings['TEST_REDIS_PORT']}/0"
    return load_settings(_env_file=None, **known | {"redis_url": redis_url, "watchlist": ROOT / "tasks" / "demo.toml"})


def test_every_container_is_healthy(demo: Demo) -> None:
    """Every health check passes, of as many containers as were asked for."""
    health = demo.project.health()
    assert set(health.values()) == {"healthy"}
    assert len(demo.project.containers("worker")) == WORKERS
    assert len(demo.project.containers("beat")) == BEATS
    assert len(health) == WORKERS + BEATS + 3


def test_no_process_is_root(demo: Demo) -> None:
    """No process of any container runs as root, nor with a capability."""
    for container in demo.project.containers():
        said = demo.project.inside(container, "cat /proc/[0-9]*/status 2>/dev/null || true")
        # The engine's own helper, on its way to becoming a health check, is none of the container's processes yet.
        status = "".join(one for one in re.split(r"(?m)^(?=Name:)", said) if not one.startswith("Name:\trunc"))
        ids = {number for line in re.findall(r"^[UG]id:(.*)$", status, re.MULTILINE) for number in line.split()}
        assert ids, container
        assert "0" not in ids, demo.project.named(container)
        assert set(re.findall(r"^CapEff:\s*(\w+)$", status, re.MULTILINE)) == {"0" * 16}


def test_flower_asks_for_a_password(demo: Demo) -> None:
    """Flower answers 401 without credentials and with wrong ones, and 200 with those that were set."""
    user, _, password = demo.settings["FLOWER_BASIC_AUTH"].partition(":")
    assert requests.get(demo.flower, timeout=10).status_code == 401
    wrong = {"Authorization": f"Basic {b64encode(f'{user}:wrong'.encode()).decode()}"}
    assert requests.get(demo.flower, headers=wrong, timeout=10).status_code == 401
    assert requests.get(demo.flower, auth=(user, password), timeout=10).status_code == 200


def test_redis_keeps_what_it_acknowledged(demo: Demo) -> None:
    """Redis asks for its password, forces every write to the disk and never drops a key."""
    [engine] = demo.project.containers("redis")
    assert "NOAUTH" in demo.project.inside(engine, "redis-cli ping")
    wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}
    for name, value in wanted.items():
        said = demo.project.inside(engine, f"REDISCLI_AUTH=$REDIS_PASSWORD redis-cli config get {name}")
        assert said.split("\n")[:2] == [name, value]


def test_lost_host_costs_neither_a_double_nor_a_signal(demo: Demo) -> None:
    """A host is lost, with a beat and a worker in the middle of a POST; another worker crashes: no double, no loss."""
    project = demo.project
    killed = kill_worker_in_flight(demo)
    project.kill(project.containers("beat")[0])
    demo.seen["recovery after the lost host"] = f"{recovery_s(demo):.1f} s"
    assert project.inspect(killed)["State"]["ExitCode"] == 137

    survivor = next(one for one in project.containers("worker") if one != killed)
    restarts = project.inspect(survivor)["RestartCount"]
    project.crash(survivor)
    demo.seen["recovery after the crash"] = f"{recovery_s(demo):.1f} s"
    wait_until(lambda: project.inspect(survivor)["RestartCount"] > restarts, 60, "the crashed worker runs again")

    # Not before the end: a recording shows a bar only once its candle has closed.
    time.sleep(max(0.0, demo.line.clock.seconds_until(demo.line.settings.watch_until)))
    expected = demo.expected()
    wait_until(lambda: demo.settled(expected), 90, "every candle and signal settled")
    verdict = demo.verdict(expected)
    log = demo.log()
    repeated = {post.key for post in log.posts if sum(other.key == post.key for other in log.posts) > 1}
    demo.seen["candles evaluated"] = f"{verdict.evaluated} of {len(expected.candles)}"
    demo.seen["signals posted"] = f"{len(verdict.posted)} of {len(expected.signals)}"
    demo.seen["POSTs"] = f"{verdict.posts}, {len(repeated)} signals more than once"
    demo.seen["expired, held, rejected"] = f"{len(verdict.expired)}, {len(verdict.held)}, {len(verdict.rejected)}"
    demo.seen["doubles, lost"] = f"{len(verdict.doubled)}, {len(verdict.lost)}"
    assert len(expected.signals) > 20
    assert verdict.doubled == ()
    assert verdict.lost == ()
    assert verdict.good
    # On a machine that is too busy some come up too late to be posted; none is without an end.
    assert len(verdict.posted) + len(verdict.expired) == len(expected.signals)
    assert len(verdict.posted) > 20
    # Without a repeated POST the kill would have missed the moment that this is about.
    assert repeated


def test_stopped_workers_end_their_work_themselves(demo: Demo) -> None:
    """Workers that are told to stop are gone before they would be killed."""
    running = [one for one in demo.project.containers("worker") if demo.project.inspect(one)["State"]["Running"]]
    assert running
    began = time.monotonic()
    demo.project.compose("stop", "worker")
    demo.seen["stop"] = f"{time.monotonic() - began:.1f} s"
    for container in running:
        assert demo.project.inspect(container)["State"]["ExitCode"] != 137


def kill_worker_in_flight(demo: Demo) -> str:
    """Let the API stall after a commit, and SIGKILL the container that waits for its answer."""
    for _ in range(5):
        before = stalled(demo)
        requests.put(f"{demo.api}/faults", json=STALL, timeout=5).raise_for_status()
        wait_until(partial(more_stalled, demo, before), 60, "a POST that the API stalls")
        if container := demo.project.talking_to(8099, "worker"):
            demo.project.kill(container)
            return container
    raise TimeoutError("no worker was seen in the middle of a POST")


def stalled(demo: Demo) -> int:
    """How many POSTs the API has stalled."""
    return demo.log().faults.get("stall", 0)


def more_stalled(demo: Demo, before: int) -> bool:
    """Whether that became more."""
    return stalled(demo) > before


def recovery_s(demo: Demo) -> float:
    """Seconds from now until nothing is open of what has closed by now."""
    expected = demo.expected(demo.line.clock.now())
    return wait_until(lambda: demo.settled(expected), 90, "recovery")
