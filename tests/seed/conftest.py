"""A process of its own for every test: its configuration, and what it keeps in memory, begin anew."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import dedup
import dedup.aio
from dedup import backend
from tasks.receiver import Receiver
from tests.engines import Engine
from tests.seed.flavours import FLAVOURS, Flavour


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Receiver]:
    """The API that signals are posted to."""
    with Receiver(tmp_path / "posts.jsonl") as running:
        yield running


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing configured, nothing kept in memory, no store made."""
    monkeypatch.setattr(backend, "_shared", backend._Shared())
    dedup.configure()
    yield
    dedup.close_caches()
    dedup.configure()


@pytest.fixture
def engine(process: None, empty_valkey: Engine, api: Receiver) -> Engine:
    """A server without a key; the library is configured for it and for the API."""
    dedup.configure(redis_url=empty_valkey.url, signal_api_url=api.signals_url)
    return empty_valkey


@pytest.fixture
async def closing() -> AsyncIterator[None]:
    """Connections of the test's event loop are given back at its end."""
    yield
    await dedup.aio.close_caches()


@pytest.fixture(params=sorted(FLAVOURS))
async def flavour(request: pytest.FixtureRequest) -> AsyncIterator[Flavour]:
    """The blocking names, and the awaited ones."""
    yield FLAVOURS[request.param]
    await dedup.aio.close_caches()
