"""Misbehaving on command: what each fault does to the sender, and what it leaves behind."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest
import requests

from tasks.receiver import Fault, Receiver
from tests.receiver.posting import Sending, bare, body_of, head, post, read_all, status_of, until


def test_drop_reply(receiver: Receiver) -> None:
    """`drop_reply` commits and closes the connection without a byte."""
    receiver.faults.put(Fault("drop_reply"))
    with bare(receiver) as connection:
        connection.sendall(head(len(body_of("one"))) + body_of("one"))
        assert read_all(connection) == b""
    log = receiver.read()
    assert (log.effects, log.statuses, log.faults) == ({"one": 1}, {None: 1}, {"drop_reply": 1})
    assert post(receiver, "one").headers["Idempotent-Replayed"] == "true"


def test_reset(receiver: Receiver) -> None:
    """`reset` commits and ends the connection with a TCP reset, not with an orderly end."""
    receiver.faults.put(Fault("reset"))
    with bare(receiver) as connection:
        connection.sendall(head(len(body_of("one"))) + body_of("one"))
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    log = receiver.read()
    assert (log.effects, log.statuses) == ({"one": 1}, {None: 1})


@pytest.mark.parametrize(("status", "answered"), [(None, 500), (504, 504), (400, 400)])
def test_error_after_commit(receiver: Receiver, status: int | None, answered: int) -> None:
    """`error_after_commit` commits and answers 500, or the status that it is given, without Retry-After."""
    receiver.faults.put(Fault("error_after_commit", status=status))
    response = post(receiver, "one")
    assert (response.status_code, "Retry-After" in response.headers) == (answered, False)
    log = receiver.read()
    assert (log.effects, log.statuses) == ({"one": 1}, {answered: 1})


@pytest.mark.parametrize(("status", "answered"), [(None, 500), (503, 503), (409, 409)])
def test_error_before_commit(receiver: Receiver, status: int | None, answered: int) -> None:
    """`error_before_commit` answers 500, or the status that it is given, without Retry-After, and has no effect."""
    receiver.faults.put(Fault("error_before_commit", status=status))
    response = post(receiver, "one")
    assert (response.status_code, "Retry-After" in response.headers) == (answered, False)
    log = receiver.read()
    assert (log.effects, log.statuses, log.faults) == ({}, {answered: 1}, {"error_before_commit": 1})


@pytest.mark.parametrize(
    ("status", "seconds", "answered", "after"), [(None, 1.0, 429, "1"), (503, 2.5, 503, "3"), (425, 0, 425, "0")]
)
def test_refuse(receiver: Receiver, status: int | None, seconds: float, answered: int, after: str) -> None:
    """`refuse` answers 429, or the status that it is given, with Retry-After in whole seconds, and has no effect."""
    receiver.faults.put(Fault("refuse", status=status, seconds=seconds))
    response = post(receiver, "one")
    assert (response.status_code, response.headers["Retry-After"]) == (answered, after)
    assert not receiver.read().effects


def test_redirect(receiver: Receiver) -> None:
    """`redirect` answers 302 to the place that it is given and has no effect."""
    receiver.faults.put(Fault("redirect", location="http://127.0.0.1:1/x"))
    response = post(receiver, "one")
    assert (response.status_code, response.headers["Location"]) == (302, "http://127.0.0.1:1/x")
    assert not receiver.read().effects


def test_stall(receiver: Receiver) -> None:
    """`stall` commits at once and answers after the seconds it is given."""
    receiver.faults.put(Fault("stall", seconds=0.5))
    began = time.monotonic()
    sending = Sending(lambda: post(receiver, "one"))
    until(lambda: receiver.read().effects)
    assert sending.response is None
    response = sending.ended().response
    assert response is not None
    assert response.status_code == 201
    assert time.monotonic() - began >= 0.5


def test_stall_before_commit(receiver: Receiver) -> None:
    """`stall_before_commit` commits only after the seconds it is given, and answers."""
    receiver.faults.put(Fault("stall_before_commit", seconds=0.5))
    assert post(receiver, "one").status_code == 201
    entry = receiver.read().posts[0]
    assert entry.decision is not None
    assert (entry.decision.at - entry.at).total_seconds() >= 0.5


def test_sender_that_gave_up_on_a_stall_is_served_on_coming_back(receiver: Receiver) -> None:
    """A sender whose read timed out finds the signal committed when the stall is over."""
    receiver.faults.put(Fault("stall", seconds=0.5))
    with pytest.raises(requests.ReadTimeout):
        post(receiver, "one", timeout=0.1)
    until(lambda: post(receiver, "one").headers.get("Idempotent-Replayed"))
    assert receiver.read().effects == {"one": 1}


def test_truncate(receiver: Receiver) -> None:
    """`truncate` commits, and closes before as many bytes have come as Content-Length says."""
    receiver.faults.put(Fault("truncate"))
    with bare(receiver) as connection:
        connection.sendall(head(len(body_of("one"))) + body_of("one"))
        reply_head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert status_of(reply_head) == 201
    promised = int(reply_head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
    assert 0 < len(body) < promised
    assert receiver.read().effects == {"one": 1}


def test_drip(receiver: Receiver) -> None:
    """`drip` commits and answers one byte at a time, its head included."""
    receiver.faults.put(Fault("drip", seconds=0.002))
    with bare(receiver) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(head(len(body_of("one"))) + body_of("one"))
        pieces = []
        while not (pieces and pieces[-1].endswith(b"\n") and b"received_at" in b"".join(pieces)):
            pieces.append(connection.recv(65_536))
    assert len(pieces) > 10
    assert status_of(b"".join(pieces)) == 201
    assert receiver.read().effects == {"one": 1}


def test_huge(receiver: Receiver) -> None:
    """`huge` commits and answers with a body of the size it is given, which is JSON all the same."""
    receiver.faults.put(Fault("huge", size=3_000_000))
    response = post(receiver, "one")
    assert (response.status_code, len(response.content)) == (201, 3_000_000)
    assert json.loads(response.content)["id"] == "one"


def test_huge_ends_with_its_reader(receiver: Receiver) -> None:
    """A sender that reads only the start of a huge body and goes away leaves the receiver well."""
    receiver.faults.put(Fault("huge", size=1 << 40))
    with bare(receiver) as connection:
        connection.sendall(head(len(body_of("one"))) + body_of("one"))
        assert connection.recv(1_000).startswith(b"HTTP/1.1 201")
    assert post(receiver, "one").headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("kind", ["drop_reply", "reset"])
def test_fault_strikes_a_replay_too(receiver: Receiver, kind: str) -> None:
    """A lost reply can be lost again: the fault strikes a replay, which has no effect."""
    receiver.faults.put(Fault(kind, times=2))  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(requests.ConnectionError):
            post(receiver, "one")
    log = receiver.read()
    assert (log.effects, log.replays, log.statuses) == ({"one": 1}, 1, {None: 2})


def test_fault_after_the_commit_commits_nothing_that_is_refused(receiver: Receiver) -> None:
    """A fault after the commit strikes a POST that is refused as well, and gives it no effect."""
    receiver.faults.put(Fault("error_after_commit"))
    assert post(receiver, key=None).status_code == 500
    log = receiver.read()
    assert (log.effects, log.faults) == ({}, {"error_after_commit": 1})


def test_faults_stand_in_a_row(receiver: Receiver) -> None:
    """Faults strike in their order, each as often as it says, and then the receiver behaves."""
    receiver.faults.put(Fault("refuse", times=2), Fault("error_before_commit", status=502))
    assert [post(receiver, "one").status_code for _ in range(5)] == [429, 429, 502, 201, 201]


def test_every_nth_post_is_struck(receiver: Receiver) -> None:
    """A fault with `every` strikes each n-th POST, and with no `times` for ever."""
    receiver.faults.put(Fault("refuse", times=None, every=3))
    statuses = [post(receiver, f"s{number}").status_code for number in range(9)]
    assert statuses == [201, 201, 429] * 3


def test_fault_strikes_posts_only(receiver: Receiver) -> None:
    """Look-ups are answered, and spend no fault, while POSTs are struck."""
    receiver.faults.put(Fault("refuse"))
    assert requests.get(f"{receiver.signals_url}/one", timeout=5).status_code == 404
    assert post(receiver, "one").status_code == 429


def test_faults_from_outside(receiver: Receiver) -> None:
    """PUT sets the faults, GET shows them with their counts, DELETE clears them."""
    url = f"{receiver.url}/faults"
    put = requests.put(url, json={"kind": "refuse", "times": 2, "seconds": 7}, timeout=5)
    assert put.status_code == 200
    assert post(receiver, "one").headers["Retry-After"] == "7"
    shown = requests.get(url, timeout=5).json()["faults"]
    assert [(fault["kind"], fault["times"], fault["seen"], fault["struck"]) for fault in shown] == [("refuse", 2, 1, 1)]
    assert requests.delete(url, timeout=5).json() == {"faults": []}
    assert post(receiver, "one").status_code == 201


@pytest.mark.parametrize("wrap", [lambda faults: faults, lambda faults: {"faults": faults}])
def test_several_faults_from_outside(receiver: Receiver, wrap: object) -> None:
    """PUT takes a list of faults, bare or under `faults`."""
    assert callable(wrap)
    document = wrap([{"kind": "refuse"}, {"kind": "error_before_commit", "status": 504}])
    assert requests.put(f"{receiver.url}/faults", json=document, timeout=5).status_code == 200
    assert [post(receiver, "one").status_code for _ in range(3)] == [429, 504, 201]


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        (b'{"kind":"explode"}', "drop_reply"),
        (b'{"kind":"refuse","times":0}', "times"),
        (b'{"kind":"refuse","times":true}', "times"),
        (b'{"kind":"refuse","every":0}', "every"),
        (b'{"kind":"stall","seconds":-1}', "seconds"),
        (b'{"kind":"stall","seconds":1e999}', "seconds"),
        (b'{"kind":"stall","status":500}', "status"),
        (b'{"kind":"refuse","status":200}', "status"),
        (b'{"kind":"redirect"}', "location"),
        (b'{"kind":"redirect","location":"x\\r\\nSet-Cookie: a"}', "location"),
        (b'{"kind":"refuse","often":3}', "often"),
        (b"3", "array"),
        (b"{", "JSON"),
        (b"", "JSON"),
        (b"\xff", "JSON"),
    ],
)
def test_nonsense_is_no_fault(receiver: Receiver, sent: bytes, named: str) -> None:
    """A fault that makes no sense is 400, the answer names what is wrong, and the faults in force stay."""
    receiver.faults.put(Fault("refuse", seconds=5))
    response = requests.put(f"{receiver.url}/faults", data=sent, timeout=5)
    assert response.status_code == 400
    assert named in response.json()["error"]
    assert [planned.fault.seconds for planned in receiver.faults.plan] == [5]


def test_nonsense_is_no_fault_in_process() -> None:
    """A fault that makes no sense cannot be made in the process either."""
    with pytest.raises(ValueError, match="location"):
        Fault("redirect")
    with pytest.raises(ValueError, match="drop_reply"):
        Fault("explode")  # type: ignore[arg-type]


@pytest.mark.parametrize(("allow", "status"), [(False, 403), (True, 200)])
def test_faults_of_a_public_receiver_need_permission(log: Path, allow: bool, status: int) -> None:
    """A receiver on all addresses takes no faults from outside unless it was allowed to."""
    with Receiver(log, host="0.0.0.0", allow_faults=allow) as receiver:
        url = f"{receiver.url}/faults"
        statuses = [
            requests.put(url, json={"kind": "refuse"}, timeout=5).status_code,
            requests.get(url, timeout=5).status_code,
            requests.delete(url, timeout=5).status_code,
        ]
        assert statuses == [status] * 3
        assert post(receiver, "one").status_code == 201
