"""Every misbehaviour of the reference API: a verdict never claims what the API's log does not show."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from dedup.delivery import HttpDelivery, Message, Verdict
from tasks.receiver import Fault, Receiver
from tasks.receiver.faults import Kind

MESSAGE = Message("sig_0123", b'{"id":"sig_0123","instrument":"GOLD"}')
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()

FAULTS: list[tuple[Fault, Verdict]] = [
    (Fault("drip", seconds=0.1), Verdict.UNKNOWN),
    (Fault("drop_reply"), Verdict.UNKNOWN),
    (Fault("error_after_commit"), Verdict.UNKNOWN),
    (Fault("error_after_commit", status=502), Verdict.UNKNOWN),
    (Fault("error_after_commit", status=503), Verdict.UNKNOWN),
    (Fault("error_before_commit"), Verdict.UNKNOWN),
    (Fault("error_before_commit", status=504), Verdict.UNKNOWN),
    (Fault("error_before_commit", status=403), Verdict.REJECTED),
    (Fault("huge"), Verdict.POSTED),
    (Fault("redirect", location="file:///etc/passwd"), Verdict.REJECTED),
    (Fault("redirect", status=307, location="http://169.254.169.254/"), Verdict.REJECTED),
    (Fault("refuse", seconds=7), Verdict.REFUSED),
    (Fault("refuse", seconds=7, status=425), Verdict.REFUSED),
    (Fault("refuse", seconds=7, status=503), Verdict.REFUSED),
    (Fault("reset"), Verdict.UNKNOWN),
    (Fault("stall", seconds=30), Verdict.UNKNOWN),
    (Fault("stall_before_commit", seconds=30), Verdict.UNKNOWN),
    (Fault("truncate"), Verdict.UNKNOWN),
]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(tmp_path / "posts.jsonl", secrets=[SECRET]) as running:
        yield running


@pytest.fixture
def delivery(receiver: Receiver, deliver: Callable[..., HttpDelivery]) -> HttpDelivery:
    """Sends to the receiver, with its secret, and looks up there."""
    return deliver(receiver.signals_url, secrets=SECRET, lookup_url=receiver.signals_url)


def label(value: Any) -> str | None:
    return f"{value.kind}-{value.status or ''}" if isinstance(value, Fault) else None


def test_no_misbehaviour_is_left_out() -> None:
    """The table holds every kind that the receiver knows."""
    assert {fault.kind for fault, _ in FAULTS} == set(get_args(Kind))


@pytest.mark.parametrize(("fault", "verdict"), FAULTS, ids=label)
def test_a_misbehaviour(receiver: Receiver, delivery: HttpDelivery, fault: Fault, verdict: Verdict) -> None:
    """One POST arrives and the verdict is true: posted only with an effect, refused and rejected only without."""
    receiver.faults.put(fault)
    attempted = delivery.send(MESSAGE, 1)
    assert attempted.verdict is verdict
    (post,) = receiver.read().posts
    assert (post.key, post.webhook_id, post.attempt, post.body_bytes) == ("sig_0123", "sig_0123", "1", MESSAGE.body)
    if verdict is Verdict.POSTED:
        assert post.effect
    if verdict in {Verdict.REFUSED, Verdict.REJECTED}:
        assert not post.effect
    assert attempted.retry_after_s == (7.0 if verdict is Verdict.REFUSED else None)


@pytest.mark.parametrize("fault", [fault for fault, _ in FAULTS if not fault.kind.startswith("stall")], ids=label)
def test_sent_again_after_a_misbehaviour(receiver: Receiver, delivery: HttpDelivery, fault: Fault) -> None:
    """Where the API honours the key, the same message sent again is posted, has one effect and is found."""
    receiver.faults.put(fault)
    delivery.send(MESSAGE, 1)
    assert delivery.send(MESSAGE, 2).verdict is Verdict.POSTED
    assert receiver.read().effects == {"sig_0123": 1}
    assert delivery.look_up("sig_0123").verdict is Verdict.POSTED


def test_sent_again_while_the_first_is_under_way(receiver: Receiver, delivery: HttpDelivery) -> None:
    """A key in flight is unknown, with the API's wait: the first request may still have its effect, or fail."""
    receiver.faults.put(Fault("stall_before_commit", seconds=30))
    assert delivery.send(MESSAGE, 1).verdict is Verdict.UNKNOWN
    attempted = delivery.send(MESSAGE, 2)
    assert (attempted.verdict, attempted.status, attempted.retry_after_s) == (Verdict.UNKNOWN, 409, 1.0)
    assert delivery.look_up("sig_0123").reason == "404 Not Found: the API does not have it"


def test_many_at_once(receiver: Receiver, delivery: HttpDelivery) -> None:
    """One delivery shared by threads keeps their messages apart, and the log agrees with every verdict."""
    messages = [Message(f"sig_{number}", f'{{"id":"sig_{number}"}}'.encode()) for number in range(8)]
    verdicts: dict[str, Verdict] = {}

    def send(message: Message) -> None:
        verdicts[message.id] = delivery.send(message, 1).verdict

    receiver.faults.put(Fault("drop_reply", times=None, every=4))
    threads = [threading.Thread(target=send, args=(message,)) for message in messages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    struck = {post.key for post in receiver.read().posts if post.decision and post.decision.fault}
    assert len(struck) == 2
    assert {key for key, verdict in verdicts.items() if verdict is Verdict.UNKNOWN} == struck
    assert {key for key, verdict in verdicts.items() if verdict is Verdict.POSTED} == set(verdicts) - struck
    assert len(verdicts) == 8


def test_another_body_under_the_same_id(receiver: Receiver, delivery: HttpDelivery) -> None:
    """The API refuses another body under a used key for good."""
    delivery.send(MESSAGE, 1)
    attempted = delivery.send(Message(MESSAGE.id, b'{"id":"sig_0123","instrument":"SILVER"}'), 1)
    assert (attempted.verdict, attempted.status) == (Verdict.REJECTED, 422)
    assert receiver.read().effects == {"sig_0123": 1}


def test_the_wrong_secret(receiver: Receiver, deliver: Callable[..., HttpDelivery]) -> None:
    """A signature by another secret, or none, is rejected; while secrets are being changed one of them is enough."""
    other = "whsec_" + base64.b64encode(b"o" * 32).decode()
    for secrets, verdict in ((other, Verdict.REJECTED), ((), Verdict.REJECTED), ((other, SECRET), Verdict.POSTED)):
        assert deliver(receiver.signals_url, secrets=secrets).send(MESSAGE, 1).verdict is verdict


def test_a_receiver_that_is_away(receiver: Receiver, delivery: HttpDelivery) -> None:
    """While nobody listens nothing is sent, and the log shows no POST; afterwards it is posted."""
    receiver.pause()
    attempted = delivery.send(MESSAGE, 1)
    assert (attempted.verdict, attempted.reason) == (Verdict.NOT_SENT, "connect refused")
    receiver.resume()
    assert delivery.send(MESSAGE, 2).verdict is Verdict.POSTED
    assert [post.attempt for post in receiver.read().posts] == ["2"]
