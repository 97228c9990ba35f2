"""Deployments, and pytest-celery's cluster over local processes.

pytest-celery shadows `celery_worker` and the rest with fixtures that start Docker containers. Here they are local
processes. This file alone says so: where its fixtures do not apply, `test_cluster` runs in containers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from pytest_celery import CeleryTestBackend, CeleryTestBroker, CeleryTestSetup, CeleryTestWorker

from dedup.timeframe import Candle
from tasks.app import celery_config
from tasks.receiver import Receiver
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of
from tests.pipeline.nodes import PipelineSetup, backend_node, broker_node, worker_node

Deploy = Callable[..., Deployment]


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deploy]:
    """Start a deployment with watches and options as named; it ends with the test."""
    with ExitStack() as stack:

        def start(*watches: dict[str, Any], **options: Any) -> Deployment:
            return stack.enter_context(deploy(tmp_path, watches, **options))

        yield start


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Deployment]:
    """What the cluster's nodes belong to: it watches GOLD and SILVER, whose candles have closed."""
    with deploy(tmp_path, [watch("GOLD", "SILVER")]) as deployment:
        for instrument in ("GOLD", "SILVER"):
            deployment.feed(instrument, [ORIGIN - HOUR, ORIGIN])
        yield deployment


@pytest.fixture
def signal_api(cluster: Deployment) -> Receiver:
    """The API that the cluster's workers post to."""
    return cluster.receiver


@pytest.fixture
def candles(cluster: Deployment) -> tuple[Candle, Candle]:
    """Two closed candles on the cluster's watchlist, each of which has one signal."""
    return candle_of("GOLD"), candle_of("SILVER")


@pytest.fixture
def celery_broker(cluster: Deployment) -> CeleryTestBroker:
    """The engine as the broker."""
    return broker_node(cluster.engine)


@pytest.fixture
def celery_backend(cluster: Deployment) -> CeleryTestBackend:
    """The engine as the result backend."""
    return backend_node(cluster.engine)


@pytest.fixture
def celery_worker(cluster: Deployment, celery_setup_app: Celery) -> CeleryTestWorker:
    """A worker process."""
    return worker_node(cluster.worker(wait=False), celery_setup_app)


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
