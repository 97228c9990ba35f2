"""A running receiver on a port of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.receiver import Receiver


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the log of the test's receivers is."""
    return tmp_path / "posts.jsonl"


@pytest.fixture
def receiver(log: Path) -> Iterator[Receiver]:
    """A receiver that honours Idempotency-Key and looks at no signatures."""
    with Receiver(log) as running:
        yield running
