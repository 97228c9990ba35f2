"""Workshops: one with a worker that all tests may use, and one of a test's own, whose worker it may kill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.celery_tasks.workshop import Workshop, workshop
from tests.engines import Engine


@pytest.fixture(scope="package")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A workshop with a worker of two processes. Tests use names of their own."""
    with Engine() as engine, workshop(tmp_path_factory.mktemp("shop"), engine, engine) as found:
        found.worker()
        yield found


@pytest.fixture
def own_shop(tmp_path: Path) -> Iterator[Workshop]:
    """A workshop without a worker yet, and with a store of its own."""
    with Engine() as broker, Engine() as store, workshop(tmp_path, broker, store) as found:
        yield found
