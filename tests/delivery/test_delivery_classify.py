"""The outcome table: what a complete reply means."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.delivery import Attempted, Verdict, classify

NOW = datetime(2026, 3, 9, 10, 15, 3, tzinfo=UTC)


def verdict(status: int, **headers: str) -> Verdict:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify(status, fields, "", NOW).verdict


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 226, 299])
def test_success_is_posted(status: int) -> None:
    """Every 2xx says that the API has the signal."""
    assert verdict(status) is Verdict.POSTED


def test_conflict_is_posted() -> None:
    """409 without Retry-After: the API already has it."""
    assert classify(409, {}, "", NOW) == Attempted(Verdict.POSTED, "409 Conflict: the API already has it", 409)


@pytest.mark.parametrize("retry_after", ["1", "Mon, 09 Mar 2026 10:15:13 GMT", "soon", ""])
def test_conflict_in_flight_is_unknown(retry_after: str) -> None:
    """409 with any Retry-After, readable or not: another request with the key is under way, and may yet fail."""
    assert verdict(409, retry_after=retry_after) is Verdict.UNKNOWN


@pytest.mark.parametrize("status", [408, 425, 429])
def test_refused_for_now(status: int) -> None:
    """408, 425 and 429 were not worked on; the API's wait is passed on where it names one."""
    assert classify(status, {}, "", NOW).verdict is Verdict.REFUSED
    assert classify(status, {}, "", NOW).retry_after_s is None
    assert classify(status, {"Retry-After": "7"}, "", NOW).retry_after_s == 7.0


def test_unavailable_with_a_wait_is_refused() -> None:
    """503 with Retry-After was turned away on purpose."""
    attempted = classify(503, {"Retry-After": "30"}, "", NOW)
    assert (attempted.verdict, attempted.retry_after_s) == (Verdict.REFUSED, 30.0)


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "soon"}, {"Retry-After": "-1"}, {"Retry-After": "1, 2"}])
def test_unavailable_without_a_wait_is_unknown(headers: dict[str, str]) -> None:
    """503 without a readable Retry-After may come from a proxy whose API took the signal."""
    assert classify(503, headers, "", NOW).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 405, 406, 407, 410, 411, 413, 415, 418, 422, 423, 451, 499]
)
def test_client_errors_are_rejected(status: int) -> None:
    """Any other 4xx is a no for good."""
    assert verdict(status) is Verdict.REJECTED
    assert verdict(status, retry_after="5") is Verdict.REJECTED


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399])
def test_redirects_are_rejected(status: int) -> None:
    """3xx is a wrong address: nothing is posted anywhere else."""
    attempted = classify(status, {"Location": "https://user:hunter22@other.example/path?token=x"}, "", NOW)
    assert attempted.verdict is Verdict.REJECTED
    assert "redirects are not followed" in attempted.reason
    assert "hunter22" not in attempted.reason


@pytest.mark.parametrize("status", [100, 101, 103, 199, 500, 501, 502, 504, 505, 507, 520, 599, 600, 999])
def test_everything_else_is_unknown(status: int) -> None:
    """An interim answer, any other 5xx and numbers beyond HTTP leave open what happened."""
    assert verdict(status) is Verdict.UNKNOWN


@given(status=st.integers(100, 999), retry_after=st.none() | st.text(max_size=40), body=st.text(max_size=300))
def test_only_a_refusal_may_be_sent_again(status: int, retry_after: str | None, body: str) -> None:
    """Whatever comes back, only 408, 425, 429 and 503 with a wait count as not taken; nothing raises."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    attempted = classify(status, headers, body, NOW)
    assert attempted.verdict is not Verdict.NOT_SENT
    assert attempted.status == status
    if attempted.verdict is Verdict.REFUSED:
        assert status in {408, 425, 429} or (status == 503 and attempted.retry_after_s is not None)
    if attempted.retry_after_s is not None:
        assert 0.0 <= attempted.retry_after_s <= 86_400.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 5 ", 5.0),
        ("007", 7.0),
        ("86401", 86_400.0),
        ("9" * 5_000, 86_400.0),
        ("Mon, 09 Mar 2026 10:15:13 GMT", 10.0),
        ("Monday, 09-Mar-26 10:15:13 GMT", 10.0),
        ("Mon Mar  9 10:15:13 2026", 10.0),
        ("Mon, 09 Mar 2026 12:15:13 +0200", 10.0),
        ("Mon, 09 Mar 2026 10:15:00 GMT", 0.0),
        ("Mon, 09 Mar 2099 10:15:00 GMT", 86_400.0),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("1e3", None),
        ("٣", None),
        ("soon", None),
        ("Mon, 09 Mar 2026", None),
        ("Mon, 99 Mar 2026 10:15:13 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", None),
    ],
)
def test_retry_after_is_read(text: str, seconds: float | None) -> None:
    """Seconds and dates are read and clamped to a day; what is malformed counts as absent."""
    assert classify(429, {"retry-after": text}, "", NOW).retry_after_s == seconds


@pytest.mark.parametrize("skew", [timedelta(hours=-3), timedelta(0), timedelta(minutes=10)])
def test_a_date_counts_from_the_replys_own_clock(skew: timedelta) -> None:
    """A server whose clock is off asks for the same wait as one whose clock is right."""
    theirs = NOW + skew
    headers = {
        "Date": format_datetime(theirs, usegmt=True),
        "Retry-After": format_datetime(theirs + timedelta(seconds=20), usegmt=True),
    }
    assert classify(429, headers, "", NOW).retry_after_s == 20.0


def test_names_of_headers_are_of_any_case() -> None:
    """HTTP does not mind the case of a header's name."""
    assert classify(503, {"RETRY-AFTER": "3"}, "", NOW).retry_after_s == 3.0


def test_the_reason_quotes_the_start_of_the_body() -> None:
    """A person reads why, on one printable line of bounded length."""
    assert classify(422, {}, "price:\n\t too\x00low", NOW).reason == "422 Unprocessable Entity: price: too low"
    assert len(classify(422, {}, "x" * 10_000, NOW).reason) < 300
    assert classify(404, {}, "  \n", NOW).reason == "404 Not Found"


def test_an_outcome_survives_pickling() -> None:
    """Celery may send it between processes."""
    attempted = classify(429, {"Retry-After": "7"}, "busy", NOW)
    assert pickle.loads(pickle.dumps(attempted)) == attempted
