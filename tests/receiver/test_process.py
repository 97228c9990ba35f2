"""`python -m tasks.receiver`."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from tasks.receiver import Receiver, read_log
from tests.receiver.posting import Sending, body_of, post, until
from tests.receiver.test_signatures import NEW, OLD, signature

ROOT = Path(__file__).parents[2]


class Process(Receiver):
    """Where a receiver in another process can be reached; it is never started itself."""

    def __init__(self, process: subprocess.Popen[str], log: Path, port: int) -> None:
        super().__init__(log, port=port)
        self.process = process


def command(log: Path, *options: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "tasks.receiver", "--port", "0", "--log", str(log), *options]


@contextmanager
def running(log: Path, *options: str, shell: str = "") -> Iterator[Process]:
    port_file = log.with_suffix(".port")
    port_file.unlink(missing_ok=True)
    arguments = command(log, "--port-file", str(port_file), *options)
    if shell:
        arguments = ["bash", "-c", f'{shell}; exec "$@"', "bash", *arguments]
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: port_file.exists() or process.poll() is not None, 30)
        assert process.poll() is None, process.communicate()
        yield Process(process, log, int(port_file.read_text()))
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_it_is_told_to_end(log: Path, ending: signal.Signals) -> None:
    """The process writes its port file when it listens, says where, and ends with 0 on SIGTERM and SIGINT."""
    with running(log) as receiver:
        assert post(receiver, "one").status_code == 201
        receiver.process.send_signal(ending)
        out, err = receiver.process.communicate(timeout=10)
        assert (receiver.process.returncode, err) == (0, "")
    assert out == f"receiver: listening on {receiver.url}, log {log}\n"
    assert not log.with_suffix(".port").exists()
    assert read_log(log).effects == {"one": 1}


def test_killed_receiver_comes_back_with_all_it_answered(log: Path) -> None:
    """After kill -9 in the middle of POSTs, a new process knows every signal that the old one had committed."""
    with running(log) as receiver:
        for number in range(20):
            assert post(receiver, f"s{number}").status_code == 201
        stalled = {"kind": "stall", "seconds": 60}
        assert requests.put(f"{receiver.url}/faults", json=[stalled], timeout=5).status_code == 200
        sending = Sending(lambda: post(receiver, "stalled", timeout=60))
        until(lambda: "stalled" in read_log(log).effects)
        receiver.process.kill()
        assert sending.ended().error is not None
    with running(log) as receiver:
        replies = [post(receiver, each) for each in [*(f"s{number}" for number in range(20)), "stalled"]]
    assert {reply.headers.get("Idempotent-Replayed") for reply in replies} == {"true"}
    read = read_log(log)
    assert (len(read.effects), read.doubles, read.starts) == (21, {}, 2)


def test_options(log: Path, tmp_path: Path) -> None:
    """Secrets come from the command line and from a file, the body's cap and the plain mode from options."""
    (tmp_path / "secrets").write_text(f"{OLD}\n")
    options = ["--secret", NEW, "--secret-file", str(tmp_path / "secrets"), "--plain", "--fsync", "--max-body", "50"]
    body = body_of("one")
    with running(log, *options) as receiver:
        statuses = [post(receiver, "one", **signature(secret, body)).status_code for secret in (OLD, NEW)]
        assert statuses == [201, 201]
        assert post(receiver, "one").status_code == 401
        assert post(receiver, "one", body=b"x" * 51).status_code == 413
    assert read_log(log).doubles == {"one": 2}


def test_full_disk_is_said_and_nothing_more_is_done(log: Path) -> None:
    """Once the log could not be written, POSTs are 503 with Retry-After or 500 until a restart; every 201 is kept."""
    # One block of 1,024 bytes is all that this process may write to a file.
    with running(log, shell="ulimit -S -f 1") as receiver:
        responses = [post(receiver, f"s{number}") for number in range(8)]
        psutil.Process(receiver.process.pid).rlimit(psutil.RLIMIT_FSIZE, (1 << 30, psutil.RLIM_INFINITY))
        responses.append(post(receiver, "late"))
        assert requests.get(f"{receiver.url}/health", timeout=5).status_code == 200
    statuses = [response.status_code for response in responses]
    assert statuses[0] == 201
    assert statuses[-2:] == [503, 503]
    assert set(statuses) <= {201, 500, 503}
    assert all("Retry-After" in response.headers for response in responses if response.status_code == 503)
    read = read_log(log)
    assert read.ids == {f"s{number}" for number, status in enumerate(statuses) if status == 201}
    assert read.torn <= 1
    with running(log) as receiver:
        assert post(receiver, "late").status_code == 201


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--secret", "a"], "secret = '(not shown)'"),
        (["--port", "70000"], "70000"),
        (["--host", "no.such.host.invalid"], "no.such.host.invalid"),
        (["--log", "/nonexistent/log"], "/nonexistent/log"),
        (["--secret-file", "/dev/null"], "/dev/null"),
    ],
)
def test_what_cannot_start_says_why(log: Path, options: list[str], named: str) -> None:
    """A receiver that cannot start ends with 2 and one line that names the option or value."""
    done = subprocess.run([*command(log), *options], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("receiver: ")
    assert named in done.stderr
    assert done.stderr.count("\n") == 1
