"""The code in docs/library.md runs, and does what the page says."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import dedup
from tasks.receiver import Receiver
from tests.engines import Engine

PAGE = Path(__file__).parents[2] / "docs" / "library.md"
CLOSE = datetime(2025, 1, 1, 11, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("closing")


@pytest.fixture
def page(engine: Engine, api: Receiver) -> dict[str, Any]:
    """What the page's code defines, in the order of the page."""
    names: dict[str, Any] = {"REDIS_URL": engine.url, "SIGNAL_API_URL": api.signals_url}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(block, names)
    return names


async def test_candle_once(page: dict[str, Any]) -> None:
    """The first trigger works the candle, the second one leaves it alone."""
    assert [await page["on_tick"](CLOSE) for _ in range(2)] == ["worked", "left alone"]


async def test_candle_with_a_lease(page: dict[str, Any]) -> None:
    """A candle that failed is given again, one that was worked is not, and a late one says so."""
    with pytest.raises(ZeroDivisionError):
        page["on_tick_with_a_lease"](CLOSE, lambda candle: 1 / 0)
    late = CLOSE.replace(minute=5)
    assert page["on_tick_with_a_lease"](late, str) == "late"
    assert page["on_tick_with_a_lease"](CLOSE, str) == "duplicate (local)"


async def test_signal_once(page: dict[str, Any], api: Receiver) -> None:
    """The first publish posts, the second one is a duplicate."""
    outcomes = [(await page["publish"]({"instrument": "GOLD", "side": "buy"}, CLOSE))[0] for _ in range(2)]
    assert outcomes == ["posted", "duplicate"]
    assert len(api.read().posts) == 1


async def test_looking_and_clearing(page: dict[str, Any]) -> None:
    """What is claimed is listed, and what would go is counted."""
    await page["on_tick"](CLOSE)
    dedup.get_candle_cache().set("candle:GOLD:15m:2024-12-31T10:15:00", "processed")
    assert page["tidy"]() == (["candle:GOLD:15m:2025-01-01T10:45:00"], 1)
