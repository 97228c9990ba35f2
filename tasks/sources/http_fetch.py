"""One GET: capped, in time, unredirected, and silent about secrets."""

from __future__ import annotations

import http.client
import os
import ssl
import threading
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import HTTPError

from dedup.errors import SourceError
from dedup.http_deadline import KeptConnection, Reply
from dedup.http_failure import classify_failure

_SHOWN_CHARS = 200
_SECRET_CHARS = 6


class Fetcher:
    """Fetches bodies over HTTP, over one connection per process and thread, which is kept.

    Neither proxies nor credentials are taken from the environment; cookies are not kept.

    Args:
        headers: sent with every request. They may hold secrets and are never shown.
        secrets: other texts that must not be shown.
        timeout_s: seconds from name resolution until the whole body must be there, however it drips.
        max_bytes: of a body.
    """

    def __init__(self, headers: Mapping[str, str], secrets: Iterable[str], timeout_s: float, max_bytes: int) -> None:
        own = {"Accept": "application/json", "User-Agent": "candlelatch"}
        # A compressed body could grow a thousandfold when it is read.
        self._headers = {**own, **headers, "Accept-Encoding": "identity"}
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
        kept, failure = self._connection(url), ""
        try:
            request = requests.Request("GET", url, headers=self._headers).prepare()
            reply = kept.exchange(request, self._timeout_s, self._max_bytes)
        except (requests.RequestException, HTTPError, http.client.HTTPException, OSError) as error:
            failure = classify_failure(error, kept.flight).reason
        if failure:
            # Raised out here so that the URL, which the library's error quotes, is in no traceback.
            raise SourceError(f"{host}: {failure} (timeout_s = {self._timeout_s:g})")
        self._check(reply, host)
        return reply.body

    def hide(self, text: str) -> str:
        """`text` with every secret in it replaced by three stars."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def close(self) -> None:
        """Close this thread's connection. The next request opens a new one."""
        _, kept = getattr(self._local, "held", (0, None))
        if kept is not None:
            kept.close()
            del self._local.held

    def _connection(self, url: str) -> KeptConnection:
        # A connection must not be shared with the process this one was forked from.
        pid, kept = getattr(self._local, "held", (0, None))
        if kept is None or pid != os.getpid():
            secure = urlsplit(url).scheme == "https"
            kept = KeptConnection(ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH) if secure else None)
            self._local.held = (os.getpid(), kept)
        return kept

    def _check(self, reply: Reply, host: str) -> None:
        coding = reply.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in {"", "identity"}:
            raise SourceError(f"{host} answered with Content-Encoding {coding[:40]!r}, which was not asked for")
        if not reply.whole:
            raise SourceError(f"{host}: answered more than {self._max_bytes} bytes; ask for less, or raise max_bytes")
        if reply.status != 200:
            shown = self.hide(reply.body[:4096].decode("utf-8", "replace"))[:_SHOWN_CHARS]
            raise SourceError(f"{host} answered {reply.status}{_hint(reply)}: {shown!r}")


def _hint(reply: Reply) -> str:
    if 300 <= reply.status < 400:
        return " (redirects are not followed; write the final address)"
    wait = reply.headers.get("Retry-After", "")
    return f" (Retry-After {wait})" if wait.isascii() and wait.isdecimal() and len(wait) < 10 else ""
