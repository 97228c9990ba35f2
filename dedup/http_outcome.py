"""What an answer of the API means for the signal. Pure: no I/O, no clock of its own.

=====================================================================  =========  ==================================
what came back                                                         verdict    what is then safe
=====================================================================  =========  ==================================
2xx; 409 without Retry-After                                           POSTED     nothing is left to do
408, 425, 429; 503 with a Retry-After that can be read                 REFUSED    send again, after what it says
3xx; any other 4xx                                                     REJECTED   sending the same again is no use
1xx; any other 5xx; 409 with any Retry-After; beyond 599               UNKNOWN    nothing: it may have been taken
no answer, and not one byte of the request was handed to the network   NOT_SENT   send again
no answer, or not all of it, after bytes may have left                 UNKNOWN    nothing: it may have been taken
=====================================================================  =========  ==================================

A Retry-After that cannot be read counts as absent, except beside a 409: there its mere presence says that another
request with this key is under way, and taking that for posted could lose the signal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus

from requests.structures import CaseInsensitiveDict

MAX_RETRY_AFTER_S = 86_400.0
MAX_EXCERPT_CHARS = 200

_REFUSED = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_DELTA_SECONDS = re.compile(r"[0-9]+", re.ASCII)


class Verdict(StrEnum):
    """What one attempt did to the world; the module's table says when."""

    POSTED = "posted"
    REJECTED = "rejected"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Attempted:
    """How one attempt ended.

    Attributes:
        verdict: what may be concluded.
        reason: one short readable line, such as `201 Created` or `connect refused`. Free of secrets.
        status: HTTP status, where a status line and all headers arrived.
        retry_after_s: seconds that the API asked for, 0 to 86,400; only with REFUSED, and UNKNOWN on a 409.
        duration_s: what the attempt took.
    """

    verdict: Verdict
    reason: str
    status: int | None = None
    retry_after_s: float | None = None
    duration_s: float = 0.0


def classify(status: int, headers: Mapping[str, str], body_start: str, now: datetime) -> Attempted:
    """The verdict on a complete reply.

    Args:
        status: HTTP status.
        headers: names in any case. `Retry-After`, `Date` and `Location` are looked at.
        body_start: start of the body, quoted in the reason of anything but POSTED. The caller has taken secrets out.
        now: tz-aware; what a date in `Retry-After` counts from where the reply has no `Date`.
    """
    fields = CaseInsensitiveDict(headers)
    retry_after_s = _retry_after_s(fields, now)
    if 200 <= status < 300:
        return Attempted(Verdict.POSTED, describe_status(status), status)
    if status == HTTPStatus.CONFLICT:
        return _conflict("Retry-After" in fields, retry_after_s)
    reason = with_excerpt(describe_status(status), body_start)
    if status in _REFUSED or (status == HTTPStatus.SERVICE_UNAVAILABLE and retry_after_s is not None):
        return Attempted(Verdict.REFUSED, reason, status, retry_after_s)
    if 300 <= status < 400:
        return Attempted(Verdict.REJECTED, _redirect_reason(status, fields.get("Location")), status)
    if 400 <= status < 500:
        return Attempted(Verdict.REJECTED, reason, status)
    return Attempted(Verdict.UNKNOWN, reason, status)


def describe_status(status: int) -> str:
    """`404 Not Found`, from the registry's phrases: what the server calls it is not trusted."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def excerpt(text: str, limit: int = MAX_EXCERPT_CHARS) -> str:
    """The start of a foreign text as one printable line."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def with_excerpt(reason: str, body_start: str) -> str:
    """The reason, and what the body says where it says something."""
    quoted = excerpt(body_start)
    return f"{reason}: {quoted}" if quoted else reason


def shown_url(url: str) -> str:
    """A URL as it may be shown: scheme and host. User, password, path and query can be credentials."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return f"(no scheme, {len(url)} characters)" if url else ""
    if "@" in rest:
        return excerpt(f"{scheme}://***", 80)
    host, *more = re.split(r"[/?#\\]", rest, maxsplit=1)
    return excerpt(f"{scheme}://{host}", 80) + ("/…" if more and more[0] else "")


def _conflict(in_flight: bool, retry_after_s: float | None) -> Attempted:
    status = int(HTTPStatus.CONFLICT)
    if in_flight:
        reason = f"{describe_status(status)}: another request with this key is under way"
        return Attempted(Verdict.UNKNOWN, reason, status, retry_after_s)
    return Attempted(Verdict.POSTED, f"{describe_status(status)}: the API already has it", status)


def _redirect_reason(status: int, location: str | None) -> str:
    to = f" to {shown_url(location)}" if location else ""
    return f"{describe_status(status)}{to}: redirects are not followed"


def _retry_after_s(fields: Mapping[str, str], now: datetime) -> float | None:
    text = fields.get("Retry-After", "").strip()
    if _DELTA_SECONDS.fullmatch(text):
        # Python refuses to read very long numbers; beyond ten digits it is the maximum anyway.
        return MAX_RETRY_AFTER_S if len(text) > 10 else _clamped(float(text))
    due = _http_date(text)
    if due is None:
        return None
    # Counting from the reply's own Date keeps a clock that differs between the two machines out of it.
    return _clamped((due - (_http_date(fields.get("Date", "")) or now)).total_seconds())


def _clamped(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
