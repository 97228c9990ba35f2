"""Clients of Redis, made from a URL with the time-outs that the protocol needs. They connect on first use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from dedup.errors import InvalidSetting

_BEGINNINGS = ("redis://", "rediss://", "unix://")

# Without these a half-open connection is never noticed and holds its worker for ever.
TIMEOUTS: dict[str, Any] = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0, "health_check_interval": 5}


# A foreign value may be binary, and a reason may hold what the file system made of a bad name: neither may raise.
ENCODING: dict[str, Any] = {"decode_responses": True, "encoding_errors": "backslashreplace"}

_LOGIN = re.compile(r"\A([A-Za-z+]*://)?(?:([^:/?#@]*):)?.*@", re.DOTALL)
_QUERY_SECRET = re.compile(r"(?i)([?&][^=&]*pass[^=&]*=)[^&]*")


def connect(url: str, **options: Any) -> redis.Redis:
    """A client for `url` (``redis://``, ``rediss://``, ``unix://``). It connects on first use.

    Args:
        url: with user and password where the server wants them.
        options: for `redis.Redis.from_url`, over the defaults given here.

    Raises:
        InvalidSetting: the URL is malformed, or has an option that the client does not know.
    """
    client: redis.Redis = made(redis.Redis, Retry, url, options)
    return client


def made(kind: Any, retry: Any, url: str, options: Mapping[str, Any]) -> Any:
    """A client of that kind, blocking or asynchronous, each with its own `Retry`.

    Raises:
        InvalidSetting: as `connect`.
    """
    check_url(url)
    defaults = {"retry": retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 3), **ENCODING, **TIMEOUTS}
    try:
        client = kind.from_url(url, **{**defaults, **options})
        # An option that no connection takes would otherwise raise at the first use only.
        client.connection_pool.connection_class(**client.get_connection_kwargs())
    except (ValueError, TypeError, redis.RedisError) as error:
        raise InvalidSetting("REDIS_URL", redact(url), str(error)) from None
    return client


def check_url(url: str) -> None:
    """Refuse a malformed URL.

    Raises:
        InvalidSetting: unknown scheme, no host, a port or database that is no number.
    """
    remedy = f"write {' or '.join(_BEGINNINGS)}…, as in redis://localhost:6379/0"
    try:
        parts = urlsplit(url)
        bad = not url.startswith(_BEGINNINGS) or (parts.scheme != "unix" and not parts.hostname)
        port = parts.port
    except ValueError:
        bad, port = True, None
        parts = urlsplit("")
    database = parts.path.strip("/")
    if bad or port == 0 or (parts.scheme != "unix" and database and not database.isdigit()):
        raise InvalidSetting("REDIS_URL", redact(url), remedy)


def redact(url: str) -> str:
    """The URL without its password. It need not be well-formed: a password with a ``/`` in it splits wrongly."""
    in_query = _QUERY_SECRET.search(url)
    if in_query is not None and "@" in url[in_query.start() :]:
        # Where the login ends can no longer be told.
        return "***"
    without_login = _LOGIN.sub(lambda login: f"{login[1] or ''}{login[2] or ''}:***@", url)
    return _QUERY_SECRET.sub(r"\1***", without_login)
