"""An environment without settings, and a watchlist to go with those that a test sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.settings import Settings

Environment = Callable[..., None]

WATCHLIST = """
[sources.feed]
kind = "csv"
path = "/nowhere/{instrument}-{timeframe}.csv"

[[watch]]
instruments = ["GOLD"]
timeframe = "15m"
source = "feed"
strategy = "ema_cross"
"""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    """Set environment variables, over a working directory without `.env` and an environment without settings."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)

    def set_all(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_all


@pytest.fixture
def watchlist(tmp_path: Path) -> Path:
    """A watchlist that loads."""
    path = tmp_path / "pipeline.toml"
    path.write_text(WATCHLIST)
    return path
