"""Clients of Redis, made from a URL with the time-outs that the protocol needs. They connect on first use.

`dedup.stores.address` lists the URLs. Behind Sentinels a client asks them for the primary with every new connection; a
Cluster is a `ClusterClient`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import redis
import redis.sentinel
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

from dedup.errors import InvalidSetting
from dedup.stores.address import Address, Kind, parse_address, redact
from dedup.stores.cluster_client import ClusterClient
from dedup.stores.packing import quickly

# Without these a half-open connection is never noticed and holds its worker for ever.
TIMEOUTS: dict[str, Any] = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0, "health_check_interval": 5}

# A foreign value may be binary, and a reason may hold what the file system made of a bad name: neither may raise.
ENCODING: dict[str, Any] = {"decode_responses": True, "encoding_errors": "backslashreplace"}

__all__ = ["TIMEOUTS", "SentinelClient", "check_url", "connect", "redact"]


class SentinelClient(redis.Redis):
    """A client of the primary that Sentinels name. It also closes the connections to them."""

    sentinels: Any

    def close(self) -> None:
        """Give back all connections. The client may be used again."""
        super().close()
        for one in self.sentinels.sentinels:
            one.close()


def connect(url: str, **options: Any) -> redis.Redis | ClusterClient:
    """A client for `url` (see `dedup.stores.address`). It connects on first use.

    Args:
        url: with user and password where the server wants them.
        options: for the client's connections, over the defaults given here.

    Raises:
        InvalidSetting: the URL is malformed, or has an option that the client does not know.
    """
    address = parse_address(url)
    with_retry = {"retry": retry_of(Retry), **options}
    match address.kind:
        case Kind.CLUSTER:
            return cluster(address, with_retry)
        case Kind.SENTINEL:
            return quickly(sentinel(address, with_retry))
    return quickly(made(redis.Redis, url, with_retry))


def cluster(address: Address, options: Mapping[str, Any]) -> ClusterClient:
    """A client of a Cluster."""
    client = ClusterClient(address.hosts, node_options(redis.connection, address, options))
    checked(lambda: client.node(address.hosts[0]), address.server_url())
    return client


def sentinel(address: Address, options: Mapping[str, Any]) -> SentinelClient:
    """A client of the primary that Sentinels name."""
    kwargs = node_options(redis.connection, address, options)
    module: Any = redis.sentinel
    sentinels = module.Sentinel(address.hosts, sentinel_kwargs=sentinel_options(address, kwargs, Retry))
    client: SentinelClient = checked(
        lambda: sentinels.master_for(address.service, SentinelClient, db=address.db, **kwargs), address.server_url()
    )
    client.sentinels = sentinels
    return client


def made(kind: Any, url: str, options: Mapping[str, Any]) -> Any:
    """A client of one server, of that kind, blocking or asynchronous.

    Raises:
        InvalidSetting: as `connect`.
    """
    return checked(lambda: kind.from_url(url, **{**ENCODING, **TIMEOUTS, **options}), url)


def checked(make: Callable[[], Any], url: str) -> Any:
    """A client whose connections take all their options: they would otherwise raise at the first use only.

    Raises:
        InvalidSetting: as `connect`.
    """
    try:
        client = make()
        client.connection_pool.connection_class(**client.get_connection_kwargs())
    except (ValueError, TypeError, redis.RedisError) as error:
        raise InvalidSetting("REDIS_URL", redact(url), str(error)) from None
    return client


def node_options(module: Any, address: Address, options: Mapping[str, Any]) -> dict[str, Any]:
    """What connections to servers are made with, of `redis.connection` or its asynchronous twin: no host, no database.

    Raises:
        InvalidSetting: an option with a value that cannot be.
    """
    url = address.server_url()
    try:
        parsed = module.parse_url(url)
    except ValueError as error:
        raise InvalidSetting("REDIS_URL", redact(url), str(error)) from None
    for name in ("host", "port", "db", "connection_class"):
        parsed.pop(name, None)
    return {**ENCODING, **TIMEOUTS, **({"ssl": True} if address.tls else {}), **parsed, **options}


def sentinel_options(address: Address, kwargs: Mapping[str, Any], retry: Any) -> dict[str, Any]:
    """What connections to Sentinels are made with: their own login, and the servers' time-outs and TLS.

    A Sentinel that does not answer is passed over at once: the client that asks them tries again by itself.
    """
    shared = {name: value for name, value in kwargs.items() if name.startswith(("socket_", "ssl"))}
    return {**shared, "retry": retry(NoBackoff(), 0), **address.sentinel_login.kwargs}


def retry_of(retry: Any) -> Any:
    """How often a command is sent again, of a client's own kind of `Retry`."""
    return retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 3)


def check_url(url: str) -> None:
    """Refuse a malformed URL.

    Raises:
        InvalidSetting: unknown scheme, no host, a port or database that is no number.
    """
    parse_address(url)
