"""The tests of `tests.pipeline.test_cluster` once more, on nodes that are containers.

Broker and result backend are pytest-celery's Redis containers, the worker is the image of this project, and the API
that it posts to is a container too. All of it is in a network of the test's own and gone at its end.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from project import ROOT, build_image, clean_environment, require_images
from pytest_celery import (
    CeleryTestBackend,
    CeleryTestBroker,
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerContainer,
    RedisContainer,
    RedisTestBackend,
    RedisTestBroker,
)

import docker
from dedup.timeframe import Candle
from tasks.app import celery_config
from tasks.receiver.log import ReceiverLog, read_log
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import QUEUES, Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of
from tests.pipeline.nodes import PipelineSetup
from tests.pipeline.test_cluster import test_candle_sent_to_cluster_is_posted as test_candle_sent_to_cluster_is_posted
from tests.pipeline.test_cluster import test_cluster_comes_up as test_cluster_comes_up
from tests.pipeline.test_cluster import test_message_survives_killed_broker as test_message_survives_killed_broker
from tests.pipeline.test_cluster import (
    test_work_waits_for_killed_worker_to_come_back as test_work_waits_for_killed_worker_to_come_back,
)

IMAGE = "candlelatch:test"
REDIS_IMAGE = os.environ.get("REDIS_IMAGE", "redis:7-alpine")
CHECKOUT = "/checkout"

# The docker client leaves sockets to the garbage collector.
pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@dataclass
class Network:
    """A network of containers that end with it."""

    client: docker.DockerClient
    name: str

    def run(self, image: str, command: list[str], **options: Any) -> Any:
        """Start a container."""
        return self.client.containers.run(
            image, command, detach=True, network=self.name, labels={"candlelatch-test": self.name}, **options
        )

    def close(self) -> None:
        """Remove the containers with their volumes, then the network."""
        for container in self.client.containers.list(all=True, filters={"label": f"candlelatch-test={self.name}"}):
            container.remove(force=True, v=True)
        self.client.networks.get(self.name).remove()
        self.client.close()


class DurableRedis(RedisContainer):
    """A Redis that keeps what it acknowledged."""

    @classmethod
    def command(cls, *args: str, **_: Any) -> list[str]:
        """What production asks for."""
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction", "--save", ""]
        return ["redis-server", "--protected-mode", "no", *durable, *args]

    @property
    def port(self) -> int:
        """The port on this machine, also where the tests themselves run in a container."""
        self.reload()
        found: int = self.ports["6379/tcp"][0]
        return found


class ImageWorker(CeleryWorkerContainer):
    """A worker of the project's image."""

    @classmethod
    def worker_name(cls) -> str:
        """The part of its node name before the @."""
        return "worker1"

    @classmethod
    def worker_queue(cls) -> str:
        """Its queues."""
        return QUEUES

    @classmethod
    def command(cls, *args: str, **_: Any) -> list[str]:
        """The image's own command, under that name."""
        name = f"--hostname={cls.worker_name()}@%h"
        lone = ["--concurrency=2", "--loglevel=info", "--without-mingle", "--without-gossip"]
        return ["celery", "-A", "tasks", "worker", name, f"--queues={QUEUES}", *lone, *args]


@dataclass(frozen=True)
class ApiContainer:
    """The reference API, read by its log."""

    name: str
    log: Path

    def read(self) -> ReceiverLog:
        """Every POST that reached it."""
        return read_log(self.log)


@pytest.fixture(scope="module", autouse=True)
def image() -> str:
    """The project's image."""
    compose = require_images()
    build_image(compose, IMAGE)
    return IMAGE


@pytest.fixture
def network() -> Iterator[Network]:
    """A network of the test's own."""
    found = Network(docker.from_env(), f"candlelatch-test-{secrets.token_hex(4)}")
    found.client.networks.create(found.name)
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Deployment]:
    """Watchlist, bars, clock and limits; its own engine and API stand idle."""
    home = tmp_path / "home"
    home.mkdir()
    with deploy(home, [watch("GOLD", "SILVER")]) as deployment:
        for instrument in ("GOLD", "SILVER"):
            deployment.feed(instrument, [ORIGIN - HOUR, ORIGIN])
        # The image's user is another one.
        for path in (home, home / "feed"):
            path.chmod(0o755)
        yield deployment


@pytest.fixture
def candles() -> tuple[Candle, Candle]:
    """Two closed candles on the cluster's watchlist, each of which has one signal."""
    return candle_of("GOLD"), candle_of("SILVER")


@pytest.fixture
def signal_api(network: Network, image: str, tmp_path: Path) -> ApiContainer:
    """The API that the cluster's workers post to."""
    folder = tmp_path / "api"
    folder.mkdir()
    folder.chmod(0o777)
    command = ["python", "-m", "tasks.receiver", "--host", "0.0.0.0", "--port", "8099", "--log", "/log/posts.jsonl"]
    found = network.run(image, command, volumes={str(folder): {"bind": "/log", "mode": "rw"}})
    return ApiContainer(found.id[:12], folder / "posts.jsonl")


def redis_node(network: Network) -> DurableRedis:
    """A Redis that is ready."""
    node = DurableRedis(network.run(REDIS_IMAGE, DurableRedis.command(), ports={"6379/tcp": None}))
    ready(node)
    return node


def ready(node: Any, timeout_s: float = 60) -> None:
    """Wait until a container is."""
    deadline = time.monotonic() + timeout_s
    while not node.ready():
        assert time.monotonic() < deadline, node.logs()
        time.sleep(0.1)


@pytest.fixture
def celery_broker(network: Network) -> CeleryTestBroker:
    """A container with Redis as the broker and the store of claims, which has been in use for a day."""
    node = redis_node(network)
    seconds, _ = node.client.time()
    node.client.set("dedup:since", (seconds - 86_400) * 1000)
    return RedisTestBroker(node)


@pytest.fixture
def celery_backend(network: Network) -> CeleryTestBackend:
    """A container with Redis as the result backend."""
    return RedisTestBackend(redis_node(network))


@pytest.fixture
def celery_worker(
    network: Network,
    image: str,
    cluster: Deployment,
    signal_api: ApiContainer,
    celery_broker: CeleryTestBroker,
    celery_backend: CeleryTestBackend,
    celery_setup_app: Celery,
) -> CeleryTestWorker:
    """A container of the project's image that works."""
    addresses = {
        "REDIS_URL": celery_broker.container.url,
        "CELERY_RESULT_BACKEND": celery_backend.container.url,
        "SIGNAL_API_URL": f"http://{signal_api.name}:8099/signals",
        "SIGNAL_LOOKUP_URL": f"http://{signal_api.name}:8099/signals/{{id}}",
        "PYTHONPATH": f"/opt/candlelatch:{CHECKOUT}",
    }
    env = {name: value for name, value in cluster.env.items() if name not in clean_environment()} | addresses
    shared = {str(cluster.home): str(cluster.home), str(ROOT / "tests"): f"{CHECKOUT}/tests"}
    volumes = {here: {"bind": there, "mode": "ro"} for here, there in shared.items()}
    found = network.run(image, ImageWorker.command(), environment=env, volumes=volumes)
    node = ImageWorker(found)
    ready(node)
    return CeleryTestWorker(node, celery_setup_app)


@pytest.fixture
def celery_setup_cls(cluster: Deployment) -> type[CeleryTestSetup]:
    """The setup whose app has the pipeline's queues and routes."""

    class Setup(PipelineSetup):
        config_of_pipeline = celery_config(cluster.line.settings)

    return Setup


@pytest.fixture
def celery_setup_app(celery_setup_app: Celery) -> Iterator[Celery]:
    """pytest-celery's app, closed at the end."""
    yield celery_setup_app
    celery_setup_app.close()
