"""What the receiver takes: its bounds, its routes, its look-ups."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from tasks.receiver import Receiver
from tests.receiver.posting import bare, body_of, head, post, read_all, status_of


def exchange(receiver: Receiver, sent: bytes) -> bytes:
    with bare(receiver) as connection:
        connection.sendall(sent)
        return read_all(connection)


def test_body_at_the_cap_is_taken(log: Path) -> None:
    """A body of as many bytes as are allowed is taken."""
    body = body_of("one")
    with Receiver(log, max_body=len(body)) as receiver:
        assert post(receiver, body=body).status_code == 201
        assert post(receiver, "two", body=body + b" ").status_code == 413


def test_sender_of_a_long_body_gets_to_see_the_refusal(receiver: Receiver) -> None:
    """A sender that pushes megabytes at the receiver reads 413, not a broken connection, and nothing is kept."""
    with bare(receiver) as connection:
        connection.sendall(head(8_000_000) + b"x" * 8_000_000)
        assert status_of(connection.recv(65_536)) == 413
    entry = receiver.read().posts[0]
    assert (entry.status, entry.declared, entry.size, entry.body) == (413, "8000000", 0, "")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (head(None), 411),
        (head(None).removesuffix(b"\r\n") + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 411),
        (head(2).removesuffix(b"\r\n") + b"Transfer-Encoding: chunked\r\n\r\n{}", 411),
        (head(2).removesuffix(b"\r\n") + b"Content-Length: 3\r\n\r\n{}", 400),
        (head("two"), 400),
        (head("-1"), 400),
        (head(""), 400),
        (head("9" * 5_000), 413),
        (head(1 << 40), 413),
    ],
)
def test_length_has_to_be_known(receiver: Receiver, sent: bytes, status: int) -> None:
    """A POST without one Content-Length, or too large a one, is refused and its connection closed; it is in the log."""
    with bare(receiver) as connection:
        connection.sendall(sent)
        connection.shutdown(1)
        reply = read_all(connection)
    assert status_of(reply) == status
    assert reply.count(b"HTTP/1.1") == 1
    read = receiver.read()
    assert (read.statuses, read.effects) == ({status: 1}, {})


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"null", b"NaN", b'{"a":NaN}', b"[" * 100_000, b"\xff"])
def test_body_has_to_be_a_json_object(receiver: Receiver, body: bytes) -> None:
    """A body that is anything but a JSON object is 400, has no effect, and the key stays free."""
    assert post(receiver, body=body).status_code == 400
    assert post(receiver, "one").status_code == 201


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"BREW /signals HTTP/1.1\r\n\r\n", 501),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_what_is_no_http_is_refused(receiver: Receiver, sent: bytes, status: int) -> None:
    """A request that cannot be understood is refused with a JSON document, and the receiver stays well."""
    reply = exchange(receiver, sent)
    assert status_of(reply) == status
    assert b'{"error":' in reply
    assert post(receiver, "one").status_code == 201


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/signal"), ("POST", "/"), ("POST", "/signals/x"), ("PUT", "/signals"), ("DELETE", "/x")],
)
def test_unknown_places_are_404(receiver: Receiver, method: str, path: str) -> None:
    """Anything but the routes is 404 and leaves no trace in the log."""
    response = requests.request(method, receiver.url + path, data=b"{}", timeout=5)
    assert response.status_code == 404
    assert not receiver.read().posts


def test_connection_serves_many_requests(receiver: Receiver) -> None:
    """One connection carries requests one after the other, also those that are refused for what they say."""
    with bare(receiver) as connection:
        sent = b"".join(head(len(body_of(each)), key=each) + body_of(each) for each in ("a", "b", "c"))
        connection.sendall(sent + head(2, key="d") + b"[]" + head(None))
        replies = read_all(connection)
    assert replies.count(b"HTTP/1.1 201") == 3
    assert replies.count(b"HTTP/1.1 400") == 1
    assert replies.count(b"HTTP/1.1 411") == 1


def test_old_http_gets_its_answer_and_an_end(receiver: Receiver) -> None:
    """A sender of HTTP/1.0 has its signal committed and the connection closed."""
    body = body_of("one")
    reply = exchange(receiver, head(len(body)).replace(b"HTTP/1.1", b"HTTP/1.0") + body)
    assert status_of(reply) == 201
    assert b"Connection: close" in reply


@pytest.mark.parametrize("signal_id", ["one", "ema:GOLD:15m:2025-01-01T10:15:00", "a/b c%20?#é"])
def test_look_up(receiver: Receiver, signal_id: str) -> None:
    """A signal is 404 until it is committed and 200 from then on, whatever its id looks like."""
    url = f"{receiver.signals_url}/{requests.utils.quote(signal_id, safe='')}"
    assert requests.get(url, timeout=5).status_code == 404
    post(receiver, signal_id, key="key")
    found = requests.get(url, timeout=5)
    assert (found.status_code, found.json()["id"], found.json()["effects"]) == (200, signal_id, 1)


def test_list(receiver: Receiver) -> None:
    """The list counts POSTs, effects and signals, and shows the signals committed last."""
    for signal_id, key in [("a", "a"), ("a", "a"), ("b", "b"), ("b", "again"), ("c", "c")]:
        post(receiver, signal_id, key=key)
    listed = requests.get(f"{receiver.signals_url}?limit=2", timeout=5).json()
    assert (listed["posts"], listed["effects"], listed["signals"]) == (5, 4, 3)
    assert [(each["id"], each["effects"]) for each in listed["latest"]] == [("b", 2), ("c", 1)]
    assert requests.get(f"{receiver.signals_url}?limit=0", timeout=5).json()["latest"] == []
    assert len(requests.get(receiver.signals_url, timeout=5).json()["latest"]) == 3


@pytest.mark.parametrize("limit", ["-1", "x", "10001", "٣", "9" * 5_000])
def test_list_is_bounded(receiver: Receiver, limit: str) -> None:
    """A list of anything but 0 to 10000 signals is 400."""
    assert requests.get(f"{receiver.signals_url}?limit={limit}", timeout=5).status_code == 400


def test_health(receiver: Receiver) -> None:
    """Health says ok, and how much there is."""
    post(receiver, "one")
    response = requests.get(f"{receiver.url}/health", timeout=5)
    assert response.json() == {"status": "ok", "posts": 1, "effects": 1, "signals": 1}
