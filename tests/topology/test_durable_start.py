"""A worker or a beat whose server cannot do what `DEDUP_DURABILITY` asks for does not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.refusal import EX_CONFIG
from tests.bad_input.starting import BEAT, WORKER, celery
from tests.engines import DURABLE, Engine
from tests.topology.conftest import server_binary

CANNOT = {
    "worker, server too old": (WORKER, "redis7", DURABLE, "the server does not know WAITAOF, which Redis has from 7.2"),
    "beat, no AOF": (BEAT, "valkey9", {}, "the server keeps no AOF: set appendonly yes"),
}


@pytest.mark.parametrize(("command", "name", "config", "says"), CANNOT.values(), ids=CANNOT)
def test_start_is_refused(
    tmp_path: Path, command: tuple[str, ...], name: str, config: dict[str, str], says: str
) -> None:
    """It ends at once with one line that names the setting, its value and the remedy, and nothing was claimed."""
    with Engine(server_binary(name), config) as engine:
        ended = celery(tmp_path, *command, REDIS_URL=engine.url, DEDUP_DURABILITY="aof")
        assert ended.returncode == EX_CONFIG
        assert f"refusing to start: DEDUP_DURABILITY = 'aof': {says}" in ended.stderr.splitlines()[-1]
        assert "Traceback" not in ended.stderr
        assert engine.client().keys("candle:*") + engine.client().keys("signal:*") == []
