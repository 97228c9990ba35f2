"""Every test of the contract runs against every store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from dedup.stores.protocol import Store
from tests.contract.subjects import ON_CLUSTER, ON_SERVER, SUBJECTS, Subject


@pytest.fixture(params=sorted(SUBJECTS))
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A store without a record, with its clock and its server."""
    yield from SUBJECTS[request.param](request)


@pytest.fixture
def store(subject: Subject) -> Store:
    """The store alone."""
    return subject.store


@pytest.fixture(params=sorted(SUBJECTS.keys() - ON_CLUSTER.keys()))
def with_one_mark(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A store with one mark of when its memory began. On a Cluster each slot has one (``tests/topology``)."""
    yield from SUBJECTS[request.param](request)


@pytest.fixture(params=sorted(ON_SERVER))
def on_server(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A store with a server behind it: for what only a server can do."""
    yield from ON_SERVER[request.param](request)


@pytest.fixture
def server(on_server: Subject) -> redis.Redis:
    """A client of that server."""
    assert on_server.client is not None
    return on_server.client
