"""One claim against what people write by hand: a bare SET NX, and EXISTS then SET."""

from __future__ import annotations

from itertools import count

from bench.engine import engine
from bench.figures import Figure, medians_us
from dedup.rules import CandleRules, new_token
from dedup.stores.connect import connect
from dedup.stores.redis import RedisStore


def figures() -> list[Figure]:
    """Median time of a claim on a key that nobody holds, as a ratio."""
    with engine() as url:
        client = connect(url)
        store, rules, numbers = RedisStore(client), CandleRules(), count()

        def key() -> str:
            return f"candle:GOLD:15m:{next(numbers)}"

        def claim() -> object:
            return store.run(rules.claim(key(), new_token()))

        def set_nx() -> object:
            return client.set(key(), new_token(), nx=True, px=rules.ttl_ms)

        def exists_then_set() -> object:
            name = key()
            return client.exists(name) or client.set(name, new_token(), px=rules.ttl_ms)

        found = medians_us({"claim": claim, "set_nx": set_nx, "exists_then_set": exists_then_set})
        client.close()
    return [
        Figure("claim against SET NX", found["claim"], found["set_nx"], "µs", 1.10),
        Figure("claim against EXISTS then SET", found["claim"], found["exists_then_set"], "µs", 0.60),
    ]
