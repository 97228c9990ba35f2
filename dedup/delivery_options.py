"""Where signals are posted to, and how: checked once, before anything is sent."""

from __future__ import annotations

import base64
import binascii
import math
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from dedup.errors import InvalidSetting
from dedup.http_outcome import shown_url

SECRET_PREFIX = "whsec_"  # noqa: S105 the prefix that Standard Webhooks gives every secret
SECRET_BYTES = range(24, 65)
ID_PLACE = "{id}"
OWN_HEADERS = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "content-type", "expect", "host", "te", "trailer"),
        *("transfer-encoding", "upgrade", "user-agent"),
        *("idempotency-key", "webhook-id", "webhook-signature", "webhook-timestamp", "x-attempt"),
    }
)
"""Headers that delivery sets itself, in lower case."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_FIELD_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", re.ASCII)
_MAKE_SECRET = "python -c \"import base64,os;print('whsec_'+base64.b64encode(os.urandom(32)).decode())\""  # noqa: S105


@dataclass(frozen=True, slots=True, repr=False)
class DeliveryOptions:
    """How signals reach the API. No repr and no error shows a secret, a header's value or more of a URL than its host.

    Attributes:
        url: http or https; signals are posted there. A user and password in it become basic authentication.
        secrets: Standard Webhooks secrets, `whsec_` and the base64 of 24 to 64 bytes. With several, every message
            carries one signature for each, so that the API can change its secret. One string may hold several,
            separated by white space. Without any, messages are not signed.
        lookup_url: where a GET tells whether the API has an id, as in `https://host/signals/{id}`. Without `{id}` the
            id becomes the last part of the path.
        deadline_s: seconds for one attempt from name resolution to the last byte of the reply.
        connect_timeout_s: seconds of it for name resolution, TCP and TLS together. None: two fifths of the deadline.
        max_response_bytes: no more of a body is read.
        ca_bundle: file or directory of certificates to trust instead of the public ones. TLS is always verified.
        headers: sent along with every request, such as Authorization.
        user_agent: names this client to the API.

    Raises:
        InvalidSetting: names the setting and the remedy.
    """

    url: str
    secrets: Sequence[str] = ()
    lookup_url: str | None = None
    deadline_s: float = 10.0
    connect_timeout_s: float | None = None
    max_response_bytes: int = 65_536
    ca_bundle: str | Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    user_agent: str = "candlelatch"

    def __post_init__(self) -> None:
        secrets = self.secrets.split() if isinstance(self.secrets, str) else self.secrets
        object.__setattr__(self, "secrets", tuple(secrets))
        object.__setattr__(self, "headers", dict(self.headers))
        _check_url("SIGNAL_API_URL", self.url)
        _check_secrets(self.secrets)
        if self.lookup_url is not None:
            _check_lookup_url(self.lookup_url)
        _check_headers(self.headers, self.user_agent)
        self._check_limits()

    def __repr__(self) -> str:
        lookup = None if self.lookup_url is None else shown_url(self.lookup_url)
        return (
            f"DeliveryOptions(url={shown_url(self.url)!r}, secrets=<{len(self.secrets)}>, lookup_url={lookup!r}, "
            f"deadline_s={self.deadline_s!r}, connect_timeout_s={self.connect_timeout_s!r}, "
            f"max_response_bytes={self.max_response_bytes!r}, ca_bundle={self.ca_bundle!r}, "
            f"headers={sorted(self.headers)!r}, user_agent={self.user_agent!r})"
        )

    @property
    def connect_s(self) -> float:
        """Seconds for name resolution, TCP and TLS together."""
        return self.deadline_s * 0.4 if self.connect_timeout_s is None else self.connect_timeout_s

    def lookup_address(self, signal_id: str) -> str | None:
        """The URL to GET for one id. None where no look-up is set."""
        if self.lookup_url is None:
            return None
        name = quote(signal_id, safe="")
        if ID_PLACE in self.lookup_url:
            return self.lookup_url.replace(ID_PLACE, name)
        return f"{self.lookup_url.rstrip('/')}/{name}"

    def tls_context(self) -> ssl.SSLContext:
        """A context that verifies certificates and host names.

        Raises:
            InvalidSetting: `ca_bundle` is missing or holds no certificate.
        """
        if self.ca_bundle is None:
            return ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH)
        bundle = Path(self.ca_bundle)
        place = {"capath" if bundle.is_dir() else "cafile": str(bundle)}
        try:
            return ssl.create_default_context(**place)  # type: ignore[arg-type]
        except (OSError, ValueError) as error:
            remedy = f"name a readable PEM file or directory of certificates ({type(error).__name__})"
            raise InvalidSetting("SIGNAL_API_CA_BUNDLE", str(bundle), remedy) from None

    def confidential(self) -> frozenset[str]:
        """Strings that an API may echo and that no reason may repeat."""
        found = set(self.secrets) | {secret.removeprefix(SECRET_PREFIX) for secret in self.secrets}
        found.update(word for value in self.headers.values() for word in (value, *value.split()))
        for url in filter(None, (self.url, self.lookup_url)):
            found.update(_confidential_parts(url))
        return frozenset(text for text in found if len(text) >= 4 and ID_PLACE not in text)

    def _check_limits(self) -> None:
        if not (math.isfinite(self.deadline_s) and self.deadline_s > 0):
            raise InvalidSetting("deadline_s", self.deadline_s, "give a positive number of seconds")
        if not (0 < self.connect_s < self.deadline_s):
            remedy = f"give a positive number of seconds below deadline_s = {self.deadline_s:g}"
            raise InvalidSetting("connect_timeout_s", self.connect_s, remedy)
        if self.max_response_bytes < 1:
            raise InvalidSetting("max_response_bytes", self.max_response_bytes, "give a positive number of bytes")


def _check_url(setting: str, url: str) -> None:
    if any(char.isspace() or not char.isprintable() for char in url):
        raise InvalidSetting(setting, "(hidden)", "leave out white space and control characters")
    if not _is_http_url(url):
        raise InvalidSetting(setting, shown_url(url), "write an http or https address, as in https://host/signals")


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
            return False
        parts.hostname.encode("idna")
        requests.Request("GET", url).prepare()
    except (ValueError, requests.RequestException):
        # Their messages repeat the address, credentials and all.
        return False
    return True


def _check_lookup_url(url: str) -> None:
    _check_url("SIGNAL_LOOKUP_URL", url.replace(ID_PLACE, "id"))
    if ID_PLACE in urlsplit(url).netloc:
        raise InvalidSetting("SIGNAL_LOOKUP_URL", shown_url(url), f"put {ID_PLACE} into the path or the query")
    if ID_PLACE not in url and ("?" in url or "#" in url):
        remedy = f"with a query, say where the id goes: write {ID_PLACE} there"
        raise InvalidSetting("SIGNAL_LOOKUP_URL", shown_url(url), remedy)


def _check_secrets(secrets: Sequence[str]) -> None:
    for secret in secrets:
        problem = _secret_problem(secret)
        if problem:
            remedy = f"{problem}; make one with: {_MAKE_SECRET}"
            raise InvalidSetting("SIGNAL_API_SECRET", "(hidden)", remedy)


def _secret_problem(secret: str) -> str | None:
    if not secret.startswith(SECRET_PREFIX):
        return f"a secret begins with {SECRET_PREFIX}"
    encoded = secret.removeprefix(SECRET_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return f"what follows {SECRET_PREFIX} is base64"
    if len(key) not in SECRET_BYTES:
        return f"a secret holds {SECRET_BYTES[0]} to {SECRET_BYTES[-1]} bytes, this one {len(key)}"
    return None


def _check_headers(headers: Mapping[str, str], user_agent: str) -> None:
    for name, value in {**headers, "User-Agent": user_agent}.items():
        if not _TOKEN.fullmatch(name):
            raise InvalidSetting("headers", "(a name that HTTP does not allow)", "write names such as Authorization")
        if name.lower() in OWN_HEADERS and name != "User-Agent":
            raise InvalidSetting("headers", name, "leave it out: it is set for every request")
        if not _FIELD_VALUE.fullmatch(value):
            remedy = "give a value of printable ASCII characters, without white space around it"
            raise InvalidSetting("headers", f"{name}: (hidden)", remedy)


def _confidential_parts(url: str) -> set[str]:
    parts = urlsplit(url)
    found = {text for text in (parts.username, parts.password) if text}
    found.update(value for _, value in parse_qsl(parts.query))
    # A long part of a path is a token more often than a word.
    found.update(part for part in parts.path.split("/") if len(part) >= 16)
    return found | {unquote(text) for text in found}
