"""What a record weighs in a server: many of them have to fit beside everything else."""

from __future__ import annotations

import pytest

from dedup.http_outcome import describe_status
from dedup.ops import Complete
from dedup.rules import CandleRules, SignalRules
from dedup.stores.connect import connect
from dedup.stores.redis import RedisStore
from tests.engines import Engine

TOKEN = "0123456789abcdef"
CANDLE = CandleRules().complete("candle:GOLD:15m:2025-01-01T10:15:00", TOKEN, "evaluated")
SIGNAL = SignalRules().posted(
    "signal:publish:GOLD:2025-01-01T10:15:00:15m:ema_cross", TOKEN, TOKEN, describe_status(201)
)


@pytest.mark.parametrize("op", [CANDLE, SIGNAL], ids=["candle", "signal"])
@pytest.mark.parametrize(("server", "most"), [("empty_valkey", {CANDLE: 160, SIGNAL: 224}), ("empty_redis7", {})])
def test_done_record_is_light(
    request: pytest.FixtureRequest, server: str, most: dict[Complete, int], op: Complete
) -> None:
    """A record that is DONE takes some 200 bytes, key and all: a million of them fit into a quarter of a gigabyte."""
    engine: Engine = request.getfixturevalue(server)
    store = RedisStore(connect(engine.url))
    store.run(op)
    assert engine.client().memory_usage(op.key) <= most.get(op, 240)
    store.close()
