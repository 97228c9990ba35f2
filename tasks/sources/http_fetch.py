"""One GET: capped, in time, unredirected, and silent about secrets."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from dedup.errors import SourceError

_CHUNK_BYTES = 65_536
_SHOWN_CHARS = 200
_SECRET_CHARS = 6


class Fetcher:
    """Fetches bodies over HTTP, with one session per process and thread, so that connections are kept.

    Neither proxies nor credentials are taken from the environment; cookies are not kept.

    Args:
        headers: sent with every request. They may hold secrets and are never shown.
        secrets: other texts that must not be shown.
        timeout_s: seconds until the whole body must be there. A server that sends its headers drop by drop can exceed
            it; one that sends its body so cannot by more than the same again.
        max_bytes: of a body.
    """

    def __init__(self, headers: Mapping[str, str], secrets: Iterable[str], timeout_s: float, max_bytes: int) -> None:
        self._headers = {"Accept": "application/json", **headers, "Accept-Encoding": "identity"}
        words = [word for value in headers.values() for word in (value, *value.split())]
        found = {text for text in (*words, *secrets) if len(text) >= _SECRET_CHARS}
        self._secrets = sorted(found, key=len, reverse=True)
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._local = threading.local()

    def get(self, url: str) -> bytes:
        """The body that `url` answers with status 200.

        Raises:
            SourceError: unreachable, too slow, too long, encoded, cut short, or another status. The message shows the
                host and neither the rest of the URL nor a header.
        """
        host = urlsplit(url).netloc
        deadline = time.monotonic() + self._timeout_s
        failure = ""
        try:
            response = self._session().get(url, timeout=self._timeout_s, stream=True, allow_redirects=False)
        except requests.RequestException as error:
            failure = _kind(error)
        if failure:
            # Raised out here so that the URL, which the library's error quotes, is in no traceback.
            raise SourceError(f"{host}: {failure}")
        try:
            body = self._read(response, host, deadline)
        except BaseException:
            response.close()
            raise
        if response.status_code != 200:
            shown = self.hide(body.decode("utf-8", "replace"))[:_SHOWN_CHARS]
            raise SourceError(f"{host} answered {response.status_code}{_hint(response)}: {shown!r}")
        return body

    def hide(self, text: str) -> str:
        """`text` with every secret in it replaced by three stars."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def close(self) -> None:
        """Close this thread's connections. The next request opens new ones."""
        _, session = getattr(self._local, "held", (0, None))
        if session is not None:
            session.close()
            del self._local.held

    def _session(self) -> requests.Session:
        # A connection must not be shared with the process this one was forked from.
        pid, session = getattr(self._local, "held", (0, None))
        if session is None or pid != os.getpid():
            session = requests.Session()
            session.trust_env = False
            session.headers.update(self._headers)
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            self._local.held = (os.getpid(), session)
        return session

    def _read(self, response: requests.Response, host: str, deadline: float) -> bytes:
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            raise SourceError(f"{host} answered with Content-Encoding {encoding!r}, which was not asked for")
        body, failure = bytearray(), ""
        try:
            while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
                body += chunk
                if len(body) > self._max_bytes:
                    failure = f"answered more than {self._max_bytes} bytes; ask for less, or raise max_bytes"
                elif time.monotonic() > deadline:
                    failure = f"did not send the whole reply within {self._timeout_s:g} s"
                if failure:
                    break
        except (HTTPError, OSError) as error:
            failure = f"the reply broke off: {type(error).__name__}"
        if failure:
            raise SourceError(f"{host}: {failure}")
        return bytes(body)


def _hint(response: requests.Response) -> str:
    if 300 <= response.status_code < 400:
        return " (redirects are not followed; write the final address)"
    wait = response.headers.get("Retry-After", "")
    return f" (Retry-After {wait})" if wait.isascii() and wait.isdecimal() else ""


def _kind(error: requests.RequestException) -> str:
    kinds = (
        (requests.exceptions.ConnectTimeout, "no connection in time"),
        (requests.exceptions.ReadTimeout, "no reply in time"),
        (requests.exceptions.SSLError, "the TLS connection failed; check the certificate"),
        (requests.exceptions.ConnectionError, "cannot connect, or the connection broke off"),
    )
    said = next((text for kind, text in kinds if isinstance(error, kind)), "the request failed")
    return f"{said} ({type(error).__name__})"
