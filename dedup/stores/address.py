"""Where Redis is: one URL, taken apart. Pure: nothing connects.

=============================================================  =====================================================
URL                                                            what it names
=============================================================  =====================================================
``redis://[user:password@]host[:port][/db]``                   one server
``rediss://…``                                                 the same over TLS
``unix://[user:password@]/path/of/socket[?db=1]``              one server behind a Unix socket
``sentinel://[user:password@]host:port,host:port/service[/db]``  the primary that these Sentinels name; also written
                                                               ``redis+sentinel://``; ``rediss+sentinel://`` for TLS
``redis+cluster://[user:password@]host:port,host:port``        a Redis Cluster, by some of its nodes; also written
                                                               ``cluster://``; ``rediss+cluster://`` for TLS
=============================================================  =====================================================

User and password are those of the Redis servers; the Sentinels' own are ``?sentinel_username=`` and
``?sentinel_password=``. What else stands in the query is an option of the client, such as ``ssl_ca_certs`` or
``socket_timeout``. Celery's form of a Sentinel address is understood too:
``sentinel://host:port/db;sentinel://host:port/db?master_name=service``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from dedup.errors import InvalidSetting

_LOGIN = re.compile(r"\A([A-Za-z+]*://)?(?:([^:/?#@]*):)?.*@", re.DOTALL)
_QUERY_SECRET = re.compile(r"(?i)([?&][^=&]*pass[^=&]*=)[^&]*")

REMEDY = (
    "write redis://, rediss:// or unix://, sentinel://host:port,host:port/service or redis+cluster://host:port,host:port"
    ", as in redis://localhost:6379/0"
)
REDIS_PORT, SENTINEL_PORT = 6379, 26379


class Kind(StrEnum):
    """What stands behind an address."""

    SERVER = "server"
    SOCKET = "socket"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


SCHEMES: dict[str, tuple[Kind, bool]] = {
    "redis": (Kind.SERVER, False),
    "rediss": (Kind.SERVER, True),
    "unix": (Kind.SOCKET, False),
    "sentinel": (Kind.SENTINEL, False),
    "redis+sentinel": (Kind.SENTINEL, False),
    "rediss+sentinel": (Kind.SENTINEL, True),
    "cluster": (Kind.CLUSTER, False),
    "redis+cluster": (Kind.CLUSTER, False),
    "rediss+cluster": (Kind.CLUSTER, True),
}


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """A user and password; both empty where none is needed."""

    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Login({self.username!r}, {'***' if self.password else ''!r})"

    @property
    def kwargs(self) -> dict[str, str]:
        """As a client's options."""
        given = {"username": self.username, "password": self.password}
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True, slots=True)
class Address:
    """An address, taken apart.

    Attributes:
        kind: what stands behind it.
        tls: whether connections are encrypted.
        hosts: of the server, the Sentinels, or some of the Cluster's nodes; empty behind a socket.
        path: of the socket.
        db: number of the database.
        service: what the Sentinels call the primary and its replicas.
        login: at the Redis servers.
        sentinel_login: at the Sentinels.
        options: of the client, as they stand in the query.
    """

    kind: Kind
    tls: bool = False
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    db: int = 0
    service: str = ""
    login: Login = Login()
    sentinel_login: Login = Login()
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def server_url(self) -> str:
        """The plain URL of one server at the first host, with all options."""
        scheme = "rediss" if self.tls else "redis"
        host, port = self.hosts[0] if self.hosts else ("localhost", REDIS_PORT)
        query = f"?{urlencode(self.options)}" if self.options else ""
        login = f"{quote(self.login.username, safe='')}:{quote(self.login.password, safe='')}@"
        shown = f"[{host}]" if ":" in host else host
        return f"{scheme}://{login if self.login.kwargs else ''}{shown}:{port}/{self.db}{query}"


def parse_address(url: str) -> Address:
    """Take a URL apart.

    Raises:
        InvalidSetting: unknown scheme, no host, a port or database that is no number, Sentinels without a service.
    """
    try:
        return _parsed(url)
    except ValueError as error:
        remedy = error.remedy if isinstance(error, InvalidSetting) else REMEDY
        raise InvalidSetting("REDIS_URL", redact(url), remedy) from None


def redact(url: str) -> str:
    """The URL without its password. It need not be well-formed: a password with a ``/`` in it splits wrongly."""
    in_query = _QUERY_SECRET.search(url)
    if in_query is not None and "@" in url[in_query.start() :]:
        # Where the login ends can no longer be told.
        return "***"
    without_login = _LOGIN.sub(lambda login: f"{login[1] or ''}{login[2] or ''}:***@", url)
    return _QUERY_SECRET.sub(r"\1***", without_login)


def _malformed(remedy: str = REMEDY) -> InvalidSetting:
    """Without the URL, which `parse_address` shows without its password."""
    return InvalidSetting("REDIS_URL", "(hidden)", remedy)


def _parsed(url: str) -> Address:
    first, *others = [urlsplit(part) for part in url.split(";")]
    if first.scheme not in SCHEMES or not url.startswith(f"{first.scheme}://"):
        raise _malformed()
    kind, tls = SCHEMES[first.scheme]
    if others and (kind is not Kind.SENTINEL or any(other.scheme != first.scheme for other in others)):
        raise _malformed()
    # In Celery's form the options stand behind the last of the addresses.
    options = dict(parse_qsl((others or [first])[-1].query, keep_blank_values=True))
    login = _login(first)
    if kind is Kind.SOCKET:
        if not first.path:
            raise _malformed()
        return Address(kind, path=unquote(first.path), db=_db(options), login=login, options=_rest(options))
    port = SENTINEL_PORT if kind is Kind.SENTINEL else REDIS_PORT
    hosts = tuple(host for part in (first, *others) for host in _hosts(part, port))
    if kind is Kind.SENTINEL:
        return _sentinel(first.path, tls, hosts, login, options)
    if kind is Kind.SERVER and len(hosts) > 1:
        raise _malformed(f"names one server; {REMEDY}")
    db = _db(options, first.path)
    if kind is Kind.CLUSTER and db:
        raise _malformed("a Cluster has database 0 only: leave the number out")
    return Address(kind, tls, hosts, db=db, login=login, options=_rest(options))


def _sentinel(
    path: str, tls: bool, hosts: tuple[tuple[str, int], ...], login: Login, options: dict[str, str]
) -> Address:
    parts = [unquote(part) for part in path.strip("/").split("/") if part]
    service = options.pop("master_name", "") or options.pop("service_name", "")
    if not service and parts and not parts[0].isdigit():
        service = parts.pop(0)
    if not service:
        raise _malformed("name the service behind the Sentinels, as in sentinel://host:26379/mymaster/0")
    sentinel = Login(options.pop("sentinel_username", ""), options.pop("sentinel_password", ""))
    db = _db(options, "/".join(parts))
    return Address(Kind.SENTINEL, tls, hosts, "", db, service, login, sentinel, _rest(options))


def _login(parts: SplitResult) -> Login:
    return Login(unquote(parts.username or ""), unquote(parts.password or ""))


def _hosts(parts: SplitResult, default_port: int) -> list[tuple[str, int]]:
    found = []
    for one in parts.netloc.rpartition("@")[2].split(","):
        split = urlsplit(f"//{one}")
        if not split.hostname or split.port == 0:
            raise _malformed()
        found.append((unquote(split.hostname), split.port or default_port))
    return found


def _db(options: dict[str, str], path: str = "") -> int:
    # As in redis-py the query counts more than the path.
    text = options.pop("db", "") or path.strip("/")
    if text and not (text.isascii() and text.isdigit()):
        raise _malformed(f"the database is a number; {REMEDY}")
    return int(text or 0)


def _rest(options: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(options.items())
