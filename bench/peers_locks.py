"""Claim and complete against one cycle of what others offer. Needs the `peers` extra.

A lock cycle is take and give back: it forgets that the work was done. Claim and complete remember it.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from itertools import count
from urllib.parse import urlsplit

import redis

from bench.engine import engine
from bench.figures import Figure, medians_us
from dedup.rules import CandleRules, new_token
from dedup.stores.connect import connect
from dedup.stores.redis import RedisStore

GOAL = 1.0


def figures() -> list[Figure]:
    """Median time of a cycle on a fresh key, as ratios."""
    with engine() as url:
        cycles = {"candlelatch": _candlelatch(url), **_peers(url)}
        found = medians_us(cycles, rounds=40, calls=25)
    ours = found.pop("candlelatch")
    return [Figure(f"claim + complete against {name}", ours, theirs, "µs", GOAL) for name, theirs in found.items()]


def _candlelatch(url: str) -> Callable[[], object]:
    store, rules, numbers = RedisStore(connect(url)), CandleRules(), count()

    def cycle() -> object:
        key, token = f"candle:GOLD:15m:{next(numbers)}", new_token()
        store.run(rules.claim(key, token))
        return store.run(rules.complete(key, token, "evaluated"))

    return cycle


def _peers(url: str) -> dict[str, Callable[[], object]]:
    return {
        "celery-once": _celery_once(url),
        "celery-singleton": _celery_singleton(url),
        "redis-py Lock": _redis_lock(url),
        "Powertools idempotency": _powertools(url),
    }


def _celery_once(url: str) -> Callable[[], object]:
    from celery_once.backends.redis import Redis

    backend, numbers = Redis({"url": url, "default_timeout": 3600}), count()

    def cycle() -> object:
        key = f"once:{next(numbers)}"
        backend.raise_or_lock(key, 3600)
        return backend.clear_lock(key)

    return cycle


def _celery_singleton(url: str) -> Callable[[], object]:
    from celery_singleton.backends.redis import RedisBackend

    backend, numbers = RedisBackend(url), count()

    def cycle() -> object:
        key = f"singleton:{next(numbers)}"
        backend.lock(key, new_token(), 3600)
        return backend.unlock(key)

    return cycle


def _redis_lock(url: str) -> Callable[[], object]:
    client, numbers = redis.Redis.from_url(url), count()

    def cycle() -> object:
        lock = client.lock(f"lock:{next(numbers)}", timeout=3600)
        lock.acquire(blocking=False)
        return lock.release()

    return cycle


def _powertools(url: str) -> Callable[[], object]:
    os.environ.setdefault("AWS_LAMBDA_FUNCTION_NAME", "bench")
    logging.getLogger("aws_lambda_powertools").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig, idempotent_function
        from aws_lambda_powertools.utilities.idempotency.persistence.redis import RedisCachePersistenceLayer

        client = redis.Redis(port=urlsplit(url).port or 6379, decode_responses=True)
        layer = RedisCachePersistenceLayer(client=client)
        config = IdempotencyConfig(expires_after_seconds=3600)
    numbers = count()

    @idempotent_function(data_keyword_argument="job", persistence_store=layer, config=config)
    def work(job: dict[str, int]) -> dict[str, str]:
        return {"outcome": "evaluated"}

    def cycle() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return work(job={"number": next(numbers)})

    return cycle
