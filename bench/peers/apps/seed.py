"""The seed's algorithm: EXISTS, then SET; in memory where Redis is away.

`PEERS_SEED=publisher`: its publisher alone (look, POST, mark). `whole`: its candle cache before that (look, mark).
"""

from __future__ import annotations

import os

import redis

from bench.peers.working import AUTORETRY, make_app, post, store_client

app = make_app()
WHOLE = os.environ.get("PEERS_SEED") == "whole"


class Cache:
    """Marks with a TTL, in Redis, or in this process where that cannot be reached."""

    def __init__(self, ttl_s: int) -> None:
        self._redis, self._memory, self._ttl_s = store_client(), set[str](), ttl_s

    def exists(self, key: str) -> bool:
        """Whether it is marked."""
        try:
            return bool(self._redis.exists(key))
        except redis.RedisError:
            return key in self._memory

    def set(self, key: str) -> None:
        """Mark it."""
        self._memory.add(key)
        try:
            self._redis.set(key, "processed", ex=self._ttl_s)
        except redis.RedisError:
            return


candles, signals = Cache(3600), Cache(86_400)


@app.task(name="work", **AUTORETRY)
def work(job: str, closed_at: str) -> str:
    """Look, mark, go on; look, POST, mark."""
    if WHOLE:
        if candles.exists(f"candle:{job}:15m:{closed_at}"):
            return "skipped"
        candles.set(f"candle:{job}:15m:{closed_at}")
    if signals.exists(f"signal:publish:{job}:{closed_at}"):
        return "skipped"
    post(job)
    signals.set(f"signal:publish:{job}:{closed_at}")
    return "posted"
