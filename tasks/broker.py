"""The broker in kombu's words, from the same URLs as `REDIS_URL` (`dedup.stores.address`). Pure: nothing connects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from dedup.errors import InvalidSetting
from dedup.stores.address import SCHEMES, Address, Kind, Login, parse_address, redact
from dedup.stores.connect import TIMEOUTS

AMQP_SCHEMES = ("amqp", "amqps", "pyamqp")
OFFERED = ("redis://", "rediss://", "unix://", "sentinel://", *(f"{scheme}://" for scheme in AMQP_SCHEMES))

_NUMBERS = {"socket_timeout": float, "socket_connect_timeout": float, "health_check_interval": int}
_CERT_REQS = {"required": "CERT_REQUIRED", "optional": "CERT_OPTIONAL", "none": "CERT_NONE"}
_FLAGS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True, slots=True, repr=False)
class Broker:
    """Where messages go.

    Attributes:
        url: as kombu writes it; it may hold a password.
        is_redis: whether kombu's Redis transport is behind it.
        options: of kombu's transport; what every Redis broker gets is not among them.
        tls: options of the TLS layer, None where connections are not encrypted, or the URL itself says how.
    """

    url: str
    is_redis: bool
    options: dict[str, Any] = field(default_factory=dict)
    tls: dict[str, Any] | None = None


def broker_of(url: str, setting: str) -> Broker:
    """The broker behind a URL.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://`` or ``sentinel://`` as `REDIS_URL` has them, or an AMQP URL.
        setting: its name in messages.

    Raises:
        InvalidSetting: no broker that Celery can use.
    """
    scheme = url.partition("://")[0]
    if scheme in AMQP_SCHEMES:
        _check_amqp(url, setting)
        return Broker(url, is_redis=False)
    if scheme not in SCHEMES:
        raise _no_broker(url, setting)
    try:
        address = parse_address(url)
    except InvalidSetting as error:
        raise InvalidSetting(setting, error.value, error.remedy) from None
    if address.kind is Kind.CLUSTER:
        raise _no_broker(url, setting)
    return Broker(_kombu_url(address), True, _options(address), _tls(address))


def backend_url(url: str) -> str:
    """A result backend's URL as Celery wants it: behind ``rediss://`` certificates are looked at, unless it says no.

    Celery itself asks for that to be written down.
    """
    base, _, query = url.partition("?")
    if not base.startswith("rediss://"):
        return url
    options = dict(parse_qsl(query, keep_blank_values=True))
    wanted = options.get("ssl_cert_reqs", "required")
    options["ssl_cert_reqs"] = _CERT_REQS.get(wanted.lower(), wanted)
    return f"{base}?{urlencode(options)}"


def _check_amqp(url: str, setting: str) -> None:
    try:
        parts = urlsplit(url.split(";", maxsplit=1)[0])
        good = bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise _no_broker(url, setting)


def _no_broker(url: str, setting: str) -> InvalidSetting:
    also = " in it or in CELERY_BROKER_URL" if setting == "REDIS_URL" else ""
    remedy = f"is no broker: write one of {', '.join(OFFERED)} with a host{also}; Celery has none on a Redis Cluster"
    return InvalidSetting(setting, redact(url), remedy)


def _kombu_url(address: Address) -> str:
    login = _login(address.login)
    if address.kind is Kind.SOCKET:
        return f"redis+socket://{login}{quote(address.path)}?virtual_host={address.db}"
    scheme = "sentinel" if address.kind is Kind.SENTINEL else "rediss" if address.tls else "redis"
    hosts = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in address.hosts]
    return ";".join(f"{scheme}://{login}{host}/{address.db}" for host in hosts)


def _login(login: Login) -> str:
    if not login.kwargs:
        return ""
    return f"{quote(login.username, safe='')}:{quote(login.password, safe='')}@"


def _options(address: Address) -> dict[str, Any]:
    given = dict(address.options)
    options: dict[str, Any] = {name: of(given[name]) for name, of in _NUMBERS.items() if name in given}
    if address.kind is Kind.SENTINEL:
        shared = {name: options.get(name, TIMEOUTS[name]) for name in ("socket_timeout", "socket_connect_timeout")}
        encrypted = {"ssl": True, **(_tls(address) or {})} if address.tls else {}
        options["master_name"] = address.service
        options["sentinel_kwargs"] = shared | encrypted | address.sentinel_login.kwargs
    return options


def _tls(address: Address) -> dict[str, Any] | None:
    if not address.tls:
        return None
    # kombu itself would not look at the certificate.
    found: dict[str, Any] = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    for name, text in address.options:
        if name.startswith("ssl_"):
            found[name] = _FLAGS.get(text.lower(), text) if name == "ssl_check_hostname" else text
    return found
