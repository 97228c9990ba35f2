"""Starting, stopping, pausing and starting again."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import psutil
import pytest
import requests

from dedup.errors import InvalidSetting
from tasks.receiver import Fault, Receiver
from tests.receiver.posting import Sending, bare, body_of, head, post, read_all, status_of, until


def refuses(receiver: Receiver) -> bool:
    """Whether a connection is refused; one that is cut in the moment of closing was not."""
    try:
        socket.create_connection(("127.0.0.1", receiver.port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False
    return False


def test_restart_remembers_what_was_committed(log: Path) -> None:
    """After a restart a committed signal is found, its key replays the same bytes, and numbers go on."""
    with Receiver(log) as receiver:
        first = post(receiver, "one")
        port = receiver.port
    with receiver:
        assert receiver.port == port
        again = post(receiver, "one")
        assert (again.status_code, again.content) == (201, first.content)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert post(receiver, "two", key="one").status_code == 422
        assert requests.get(f"{receiver.signals_url}/one", timeout=5).status_code == 200
        assert post(receiver, "three").json()["seq"] == 4
    read = receiver.read()
    assert (read.effects, read.starts) == ({"one": 1, "three": 1}, 2)


def test_plain_log_can_be_taken_up_by_an_idempotent_receiver(log: Path) -> None:
    """After a plain run that committed one key twice, the key replays its first answer."""
    with Receiver(log, plain=True) as plain:
        first, _ = post(plain, "one"), post(plain, "one")
    with Receiver(log) as receiver:
        again = post(receiver, "one")
        assert (again.content, again.headers["Idempotent-Replayed"]) == (first.content, "true")
        assert receiver.read().effects == {"one": 2}


def test_stalled_before_its_commit_is_not_committed_by_a_stop(log: Path) -> None:
    """A POST that waits for its commit when the receiver stops has no effect, and the log says why."""
    with Receiver(log) as receiver:
        receiver.faults.put(Fault("stall_before_commit", seconds=60))
        sending = Sending(lambda: post(receiver, "one", timeout=60))
        until(lambda: receiver.read().posts)
    assert isinstance(sending.ended().error, requests.ConnectionError)
    decision = receiver.read().posts[0].decision
    assert decision is not None
    assert (decision.effect, decision.status, decision.error) == (False, None, "the receiver stopped")
    with Receiver(log) as receiver:
        assert "Idempotent-Replayed" not in post(receiver, "one").headers


@pytest.mark.parametrize("kind", ["stall", "drip", "huge"])
def test_stop_ends_what_takes_its_time(log: Path, kind: str) -> None:
    """A stop breaks off stalls, drips and huge answers, and leaves no thread and no connection."""
    threads = set(threading.enumerate())
    receiver = Receiver(log).start()
    receiver.faults.put(Fault(kind, seconds=3_600, size=1 << 40))  # type: ignore[arg-type]
    with bare(receiver) as busy, bare(receiver) as idle, bare(receiver) as used:
        used.sendall(head(len(body_of("one")), path="/nowhere") + body_of("one"))
        assert used.recv(65_536).startswith(b"HTTP/1.1 404")
        busy.sendall(head(len(body_of("one"))) + body_of("one"))
        until(lambda: receiver.read().effects)
        receiver.stop()
        assert set(threading.enumerate()) == threads
        assert idle.recv(1) == used.recv(1) == b""
        assert refuses(receiver)
    ours = psutil.Process().net_connections(kind="tcp")
    assert not [each for each in ours if each.laddr.port == receiver.port]


def test_stop_lets_a_request_under_way_be_answered(log: Path) -> None:
    """A request whose body is still coming when the receiver stops is answered if the rest comes at once."""
    receiver = Receiver(log).start()
    body = body_of("one")
    with bare(receiver) as connection:
        connection.sendall(head(len(body)).removesuffix(b"\r\n") + b"Expect: 100-continue\r\n\r\n")
        assert status_of(connection.recv(65_536)) == 100
        stopping = threading.Thread(target=receiver.stop)
        stopping.start()
        until(lambda: refuses(receiver))
        connection.sendall(body)
        reply = read_all(connection)
        stopping.join(10)
    assert status_of(reply) == 201
    assert b"Connection: close" in reply
    assert receiver.read().effects == {"one": 1}


def test_stop_and_start_may_be_called_again(log: Path) -> None:
    """Stopping twice is stopping; starting twice is an error and changes nothing."""
    receiver = Receiver(log)
    receiver.stop()
    with receiver:
        with pytest.raises(RuntimeError, match="running"):
            receiver.start()
        assert post(receiver, "one").status_code == 201
    receiver.stop()


def test_stop_without_a_connection(log: Path) -> None:
    """A receiver that was never spoken to stops as well, also straight after its start."""
    threads = set(threading.enumerate())
    for _ in range(5):
        Receiver(log).start().stop()
    assert set(threading.enumerate()) == threads


def test_pause_refuses_connections(receiver: Receiver) -> None:
    """A paused receiver refuses connections and gives nobody else its port; resumed, it takes them on the same one."""
    post(receiver, "one")
    receiver.pause()
    assert refuses(receiver)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", receiver.port))
    receiver.resume()
    assert post(receiver, "one").headers["Idempotent-Replayed"] == "true"


def test_pause_closes_pooled_connections(receiver: Receiver) -> None:
    """A sender that keeps its connection does not get through to a paused receiver either."""
    with requests.Session() as session:
        headers = {"Idempotency-Key": "one"}
        session.post(receiver.signals_url, data=body_of("one"), headers=headers, timeout=5)
        receiver.pause()
        with pytest.raises(requests.ConnectionError):
            session.post(receiver.signals_url, data=body_of("one"), headers=headers, timeout=5)
    assert len(receiver.read().posts) == 1


def test_pause_ends_idle_connections(receiver: Receiver) -> None:
    """A connection that waits for its next request is closed by a pause at once."""
    with bare(receiver) as fresh, bare(receiver) as used:
        used.sendall(head(len(body_of("one"))) + body_of("one"))
        assert status_of(used.recv(65_536)) == 201
        receiver.pause()
        assert fresh.recv(1) == used.recv(1) == b""


def test_pause_answers_what_is_under_way(receiver: Receiver) -> None:
    """A request that is being worked on when the receiver is paused is answered, and its connection closed."""
    receiver.faults.put(Fault("stall", seconds=0.3))
    sending = Sending(lambda: post(receiver, "one"))
    until(lambda: receiver.read().posts)
    receiver.pause()
    response = sending.ended().response
    assert response is not None
    assert response.status_code == 201


def test_pauses_may_come_often(receiver: Receiver) -> None:
    """Pausing and resuming, twice in a row or many times, leaves one listening receiver."""
    for _ in range(5):
        receiver.pause()
        receiver.pause()
        receiver.resume()
        receiver.resume()
        assert requests.get(f"{receiver.url}/health", timeout=5).status_code == 200


def test_paused_receiver_can_be_stopped(log: Path) -> None:
    """A receiver may be stopped while it is paused, and started again."""
    receiver = Receiver(log).start()
    receiver.pause()
    receiver.stop()
    receiver.resume()
    with receiver:
        assert post(receiver, "one").status_code == 201


@pytest.mark.parametrize("port", [70_000, -1])
def test_impossible_port_is_an_error(log: Path, port: int) -> None:
    """A port that cannot be had is an error that names it, and the log is given up."""
    with pytest.raises(InvalidSetting, match=str(port)):
        Receiver(log, port=port).start()
    with Receiver(log):
        pass


def test_taken_port_is_an_error(receiver: Receiver, tmp_path: Path) -> None:
    """A port that another server has is an error that names it."""
    with pytest.raises(InvalidSetting, match=f"{receiver.port}.*in use"):
        Receiver(tmp_path / "other.jsonl", port=receiver.port).start()


def test_receiver_on_ipv6(log: Path) -> None:
    """A receiver may listen on IPv6, and its URL can be used as it stands."""
    with Receiver(log, host="::1") as receiver:
        assert receiver.url.startswith("http://[::1]:")
        assert post(receiver, "one").status_code == 201
