"""The log: what is written, when, and how it reads."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dedup.errors import InvalidInput, InvalidSetting
from tasks.receiver import Fault, Receiver, read_log
from tests.receiver.posting import Sending, bare, body_of, head, post, until


def lines_of(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_post_is_written_down_as_it_came(receiver: Receiver) -> None:
    """The log holds arrival time, number, key, webhook id, attempt, size, hash and body of every POST."""
    before = datetime.now(UTC)
    body = body_of("one", note="Gärtner")
    post(receiver, "one", body=body, key="a-key", webhook_id="hook", X_Attempt="3")
    entry = receiver.read().posts[0]
    assert (entry.seq, entry.key, entry.webhook_id, entry.attempt) == (1, "a-key", "hook", "3")
    assert (entry.size, entry.declared) == (len(body), str(len(body)))
    assert (entry.body_bytes, entry.body) == (body, body.decode())
    assert entry.sha256 == hashlib.sha256(body).hexdigest()
    assert before <= entry.at <= datetime.now(UTC)
    assert entry.at.utcoffset() == timedelta(0)


def test_decision_follows_the_post(receiver: Receiver, log: Path) -> None:
    """The second line of a POST says its effect, its signal's id and its status."""
    post(receiver, "one")
    start, arrived, decided = lines_of(log)
    assert (start["event"], arrived["event"], decided["event"]) == ("start", "post", "decision")
    assert arrived["seq"] == decided["seq"] == 1
    assert (decided["effect"], decided["id"], decided["status"]) == (True, "one", 201)
    assert (decided["fault"], decided["replayed"], decided["error"]) == (None, False, None)


def test_post_is_in_the_log_before_anything_is_decided(receiver: Receiver, log: Path) -> None:
    """While a POST is stalled before its commit its arrival is in the log, and no decision."""
    receiver.faults.put(Fault("stall_before_commit", seconds=60))
    sending = Sending(lambda: post(receiver, "one", timeout=60))
    until(lambda: receiver.read().posts)
    assert [line["event"] for line in lines_of(log)] == ["start", "post"]
    assert [entry.key for entry in receiver.read().undecided] == ["one"]
    receiver.stop()
    sending.ended()


def test_effect_is_in_the_log_before_the_answer(receiver: Receiver) -> None:
    """While a POST is stalled after its commit its effect is in the log."""
    receiver.faults.put(Fault("stall", seconds=60))
    sending = Sending(lambda: post(receiver, "one", timeout=60))
    until(lambda: receiver.read().effects == {"one": 1})
    assert sending.is_alive()
    receiver.stop()
    sending.ended()


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (lambda receiver: post(receiver, key=None), 400),
        (lambda receiver: post(receiver, body=b"[]"), 400),
        (lambda receiver: post(receiver, body=b"x" * 1_000), 413),
    ],
)
def test_refused_posts_are_in_the_log(log: Path, spoil: Callable[[Receiver], object], status: int) -> None:
    """A POST that is refused is in the log with its status and the reason, and without an effect."""
    with Receiver(log, max_body=500) as receiver:
        spoil(receiver)
        entry = receiver.read().posts[0]
    assert entry.decision is not None
    assert (entry.status, entry.effect, bool(entry.decision.error)) == (status, False, True)


def test_body_that_is_no_text_is_kept(receiver: Receiver) -> None:
    """The bytes of a body that is no UTF-8 can be had back from the log."""
    body = b'{"id":"\xff\x80\x00"}'
    assert post(receiver, body=body).status_code == 400
    assert receiver.read().posts[0].body_bytes == body


def test_body_that_broke_off_is_kept(receiver: Receiver) -> None:
    """A POST whose sender goes away half-way is in the log with what arrived, has no effect and spends no fault."""
    receiver.faults.put(Fault("drop_reply"))
    with bare(receiver) as connection:
        connection.sendall(head(100) + b'{"id":"one"}')
    until(lambda: receiver.read().statuses)
    entry = receiver.read().posts[0]
    assert (entry.declared, entry.size, entry.body, entry.status) == ("100", 12, '{"id":"one"}', 400)
    assert not entry.effect
    assert receiver.faults.plan[0].struck == 0


def test_evidence_is_counted(receiver: Receiver) -> None:
    """The log counts effects, doubles, statuses and faults, and finds a candle that was signalled under two ids."""
    receiver.faults.put(Fault("refuse"), Fault("drop_reply"))
    post(receiver, "one")
    with pytest.raises(OSError, match="without response"):
        post(receiver, "one")
    post(receiver, "one")
    post(receiver, "two")
    post(receiver, "two", key="again")
    log = receiver.read()
    assert (log.effects, log.ids, log.doubles) == ({"one": 1, "two": 2}, {"one", "two"}, {"two": 2})
    assert (log.statuses, log.faults) == ({429: 1, None: 1, 201: 3}, {"refuse": 1, "drop_reply": 1})
    assert log.effects_by("instrument") == {("GOLD",): 3}
    assert (log.starts, log.torn, log.replays, log.undecided) == (1, 0, 1, ())


def test_log_survives_pickling(receiver: Receiver) -> None:
    """What was read can be handed to another process."""
    post(receiver, "one")
    log = receiver.read()
    assert pickle.loads(pickle.dumps(log)) == log


@pytest.mark.parametrize("keep", [1, 0.5, 0.999])
def test_torn_last_line_is_tolerated(log: Path, keep: float) -> None:
    """A last line that ends anywhere in its middle counts as torn, and is nothing that happened."""
    with Receiver(log) as receiver:
        post(receiver, "one")
        post(receiver, "two")
    whole = log.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    length = 1 if keep == 1 else int(len(last) * keep)
    log.write_bytes(whole[: len(whole) - len(last) + length])
    read = read_log(log)
    assert (read.torn, read.effects, len(read.posts), len(read.undecided)) == (1, {"one": 1}, 2, 1)


@pytest.mark.parametrize("cut", [1, 20])
def test_torn_line_stays_torn_after_a_restart(log: Path, cut: int) -> None:
    """A restart leaves a torn line torn, writes on behind it, and the signal in it can be sent again."""
    with Receiver(log) as receiver:
        post(receiver, "one")
    log.write_bytes(log.read_bytes()[:-cut])
    with Receiver(log) as receiver:
        again = post(receiver, "one")
        read = receiver.read()
    assert "Idempotent-Replayed" not in again.headers
    assert (read.torn, read.starts, read.effects) == (1, 2, {"one": 1})
    assert [entry.seq for entry in read.posts] == [1, 2]


@pytest.mark.parametrize("line", ['{"event":"decision","seq":9}', '{"event":"other"}', '{"seq":1}', '{"event":"post"}'])
def test_foreign_line_is_an_error(log: Path, line: str) -> None:
    """A whole line that no receiver writes is an error that names the file and the line, also at a start."""
    with Receiver(log):
        pass
    log.write_text(log.read_text() + line + "\n")
    with pytest.raises(InvalidInput, match=r"posts\.jsonl:2"):
        read_log(log)
    with pytest.raises(InvalidInput, match=r"posts\.jsonl:2"):
        Receiver(log).start()


def test_doubled_line_is_an_error(log: Path) -> None:
    """A decision that stands in the log twice is an error, because it would count an effect twice or hide one."""
    with Receiver(log) as receiver:
        post(receiver, "one")
    text = log.read_text()
    log.write_text(text + text.splitlines(keepends=True)[-1])
    with pytest.raises(InvalidInput, match=r"posts\.jsonl:4"):
        read_log(log)


def test_log_has_one_writer(receiver: Receiver, log: Path) -> None:
    """A second receiver on the same log is refused, and the message names the log."""
    with pytest.raises(InvalidSetting, match=r"posts\.jsonl"):
        Receiver(log).start()
    assert post(receiver, "one").status_code == 201


def test_missing_log_is_an_error(tmp_path: Path) -> None:
    """Reading a log that is not there is an error and not an empty log."""
    with pytest.raises(FileNotFoundError):
        read_log(tmp_path / "none")


def test_log_is_only_appended_to(log: Path) -> None:
    """What is once in the log stays as it is, through POSTs and restarts."""
    with Receiver(log, fsync=True) as receiver:
        post(receiver, "one")
    before = log.read_bytes()
    with Receiver(log) as receiver:
        post(receiver, "two")
    assert log.read_bytes().startswith(before)
