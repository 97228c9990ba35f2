"""Asks servers what `dedup.preflight` judges. Reads only; whatever is forbidden or away is a fact, no error."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from redis import exceptions as redis_errors

from dedup.errors import StoreError
from dedup.preflight import ServerFacts
from dedup.stores.address import redact
from dedup.stores.cluster_client import ClusterClient
from dedup.stores.connect import SentinelClient, connect
from dedup.stores.slots import SLOTS, mark_in
from dedup.stores.translate import translated

R = TypeVar("R")

PINGS = 5
CONFIG = ("append*", "min-*", "maxmemory*", "save")


def inspect_all(url: str, since_key: str, **options: Any) -> list[ServerFacts]:
    """The facts of the server behind a URL, or of every primary of a Cluster.

    Args:
        url: as in `dedup.stores.address`.
        since_key: the mark of when the store's memory began.
        options: of the client.

    Raises:
        InvalidSetting: the URL is malformed.
    """
    client = connect(url, **options)
    try:
        if isinstance(client, ClusterClient):
            return _inspect_cluster(client, url, since_key)
        return [inspect(client, redact(url), since_key)]
    finally:
        client.close()


def inspect(client: Any, address: str, since_key: str) -> ServerFacts:
    """The facts of one server.

    Args:
        client: a blocking one.
        address: for people, without a password.
        since_key: the mark of when the store's memory began.
    """
    sentinels = _sentinels(client) if isinstance(client, SentinelClient) else None
    try:
        with translated():
            latency_ms = statistics.median(_timed(client.ping) for _ in range(PINGS))
            before_s = time.time()
            seconds, micros = client.time()
            between_s = (before_s + time.time()) / 2
    except StoreError as error:
        return ServerFacts(address, error=str(error), sentinels=sentinels)
    now_s = int(seconds) + int(micros) / 1e6
    return ServerFacts(
        address,
        info=_allowed(client.info),
        config=_config(client),
        skew_ms=(now_s - between_s) * 1000,
        latency_ms=latency_ms,
        now_ms=int(now_s * 1000),
        mark=_allowed(lambda: client.get(since_key)),
        waits_for_aof=_knows(client, "waitaof"),
        cluster_state=_cluster_state(client),
        sentinels=sentinels,
    )


def _inspect_cluster(client: ClusterClient, url: str, since_key: str) -> list[ServerFacts]:
    try:
        with translated():
            client.ready()
    except StoreError as error:
        return [ServerFacts(redact(url), error=str(error))]
    marks: dict[tuple[str, int], str] = {}
    for slot in range(SLOTS):
        mark = mark_in(slot, since_key)
        marks.setdefault(client.host_of(mark), mark)
    return [
        inspect(client.node(host), f"{host[0]}:{host[1]}", marks.get(host, since_key)) for host in client.primaries()
    ]


def _timed(call: Callable[[], object]) -> float:
    """How long a call takes, ms."""
    began_s = time.perf_counter()
    call()
    return (time.perf_counter() - began_s) * 1000


def _allowed(call: Callable[[], R]) -> R | None:
    """The answer, None where it is refused."""
    try:
        return call()
    except redis_errors.RedisError:
        return None


def _config(client: Any) -> Mapping[str, str] | None:
    found: dict[str, str] = {}
    for pattern in CONFIG:
        part = _allowed(lambda pattern=pattern: client.config_get(pattern))  # type: ignore[misc]
        if part is None:
            return None
        found |= part
    return found


def _knows(client: Any, command: str) -> bool | None:
    told = _allowed(lambda: client.execute_command("COMMAND LIST", "FILTERBY", "PATTERN", command))
    return None if told is None else command in told


def _cluster_state(client: Any) -> str:
    told = _allowed(lambda: client.execute_command("CLUSTER INFO"))
    if told is None:
        return ""
    lines = told if isinstance(told, dict) else dict(line.split(":", 1) for line in str(told).split())
    return str(lines.get("cluster_state", ""))


def _sentinels(client: SentinelClient) -> tuple[int, int]:
    named = client.sentinels.sentinels
    return sum(1 for one in named if _allowed(one.ping)), len(named)
