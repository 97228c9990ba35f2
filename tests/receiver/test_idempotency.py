"""Idempotency-Key, as the IETF draft has it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.receiver import Fault, Receiver
from tests.receiver.posting import Sending, bare, body_of, head, post, read_all, status_of, until


def test_new_key_commits(receiver: Receiver) -> None:
    """A POST under a new key commits its signal and says 201 with the signal's id."""
    response = post(receiver, "one")
    assert (response.status_code, response.json()["id"]) == (201, "one")
    assert "Idempotent-Replayed" not in response.headers
    assert receiver.read().effects == {"one": 1}


def test_same_key_and_body_replays_the_first_answer(receiver: Receiver) -> None:
    """The same POST again is given the first answer, byte for byte, marked as replayed, and has no effect."""
    first, second = post(receiver, "one"), post(receiver, "one")
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert second.headers["Idempotent-Replayed"] == "true"
    log = receiver.read()
    assert log.effects == {"one": 1}
    assert [entry.effect for entry in log.posts] == [True, False]
    assert log.replays == 1


def test_quoted_and_bare_keys_are_the_same(receiver: Receiver) -> None:
    """A key is the same with the quotes of the draft as without."""
    post(receiver, "one", key="a-key")
    assert post(receiver, "one", key='"a-key"').headers["Idempotent-Replayed"] == "true"


def test_same_key_with_another_body_is_refused(receiver: Receiver) -> None:
    """A key that comes back with another body is 422, has no effect, and keeps its first answer."""
    post(receiver, "one", key="a-key")
    assert post(receiver, "two", key="a-key").status_code == 422
    assert receiver.read().effects == {"one": 1}
    assert post(receiver, "one", key="a-key").status_code == 201


def test_another_key_is_another_effect(receiver: Receiver) -> None:
    """The same signal under two keys has two effects, and both are counted under the signal's own id."""
    post(receiver, "one", key="a")
    post(receiver, "one", key="b")
    assert receiver.read().doubles == {"one": 2}


@pytest.mark.parametrize("kind", ["stall_before_commit", "stall"])
def test_key_in_flight_is_a_conflict(receiver: Receiver, kind: str) -> None:
    """While a request is being processed, another one with its key and body is 409 with Retry-After."""
    receiver.faults.put(Fault(kind, seconds=60))  # type: ignore[arg-type]
    first = Sending(lambda: post(receiver, "one", timeout=60))
    until(lambda: receiver.read().posts)
    second = post(receiver, "one")
    assert (second.status_code, second.headers["Retry-After"]) == (409, "1")
    receiver.stop()
    assert first.ended().error is not None


def test_key_in_flight_with_another_body_is_refused(receiver: Receiver) -> None:
    """While a request is being processed, another one with its key and another body is 422."""
    receiver.faults.put(Fault("stall_before_commit", seconds=60))
    first = Sending(lambda: post(receiver, "one", key="a-key", timeout=60))
    until(lambda: receiver.read().posts)
    assert post(receiver, "two", key="a-key").status_code == 422
    receiver.stop()
    first.ended()


def test_key_is_free_after_a_failure_before_the_commit(receiver: Receiver) -> None:
    """A POST that failed before its commit is worked on when it comes again."""
    receiver.faults.put(Fault("error_before_commit", status=502))
    assert post(receiver, "one").status_code == 502
    again = post(receiver, "one")
    assert again.status_code == 201
    assert "Idempotent-Replayed" not in again.headers


def test_racing_senders_have_one_effect(receiver: Receiver) -> None:
    """Of many senders of one signal at once exactly one has an effect; the others see a replay or a conflict."""
    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(lambda _: post(receiver, "one"), range(64)))
    assert {response.status_code for response in responses} <= {201, 409}
    log = receiver.read()
    assert log.effects == {"one": 1}
    assert len(log.posts) == 64
    assert [entry.seq for entry in log.posts] == list(range(1, 65))


@pytest.mark.parametrize("key", [None, '""', "k" * 256, "k\tk", "kéy"])
def test_unusable_key_is_refused(receiver: Receiver, key: str | None) -> None:
    """Without a key of 1 to 255 printable ASCII characters a POST is 400 and has no effect."""
    response = post(receiver, "one", key=key)
    assert response.status_code == 400
    assert "Idempotency-Key" in response.json()["error"]
    assert not receiver.read().effects


def test_two_keys_are_refused(receiver: Receiver) -> None:
    """A POST with two keys is 400, and both are in the log."""
    body = body_of("one")
    with bare(receiver) as connection:
        start = head(len(body)).removesuffix(b"\r\n")
        connection.sendall(start + b"Idempotency-Key: two\r\nConnection: close\r\n\r\n" + body)
        assert status_of(read_all(connection)) == 400
    assert receiver.read().posts[0].key == "one, two"


def test_plain_api_has_an_effect_every_time(log: Path) -> None:
    """A plain receiver ignores the key: the same POST twice is two effects, and no key is needed."""
    with Receiver(log, plain=True) as plain:
        statuses = [post(plain, "one", key=key).status_code for key in ("a", "a", None)]
        shown = post(plain, "one").status_code, plain.read()
    assert statuses == [201, 201, 201]
    assert shown[1].doubles == {"one": 4}


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b'{"id":"own"}', {"Idempotency_Key": "key", "webhook_id": "hook"}, "own"),
        (b'{"id":7}', {"Idempotency_Key": "key", "webhook_id": "hook"}, "key"),
        (b'{"id":""}', {"webhook_id": "hook"}, "hook"),
        (b"{}", {}, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
    ],
)
def test_signal_is_counted_under_its_own_id(log: Path, body: bytes, headers: dict[str, str], expected: str) -> None:
    """A signal's id is its body's, else the key, else the webhook's id, else the body's SHA-256."""
    with Receiver(log, plain=True) as plain:
        assert post(plain, key=None, body=body, **headers).json()["id"] == expected
        assert plain.read().ids == {expected}
