"""The API's secret is changed under a stream of signals: none is rejected, none is lost, none goes twice."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.receiver import Receiver
from tests.engines import free_port
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of

OLD, NEW = ("whsec_" + b64encode(bytes([each]) * 32).decode() for each in (1, 2))
WORKERS = ("worker1", "worker2")
INSTRUMENTS = tuple(f"I{number:03}" for number in range(400))
EVERY_S = 0.15


@contextmanager
def stream(deployment: Deployment) -> Iterator[list[str]]:
    """Candles, one after the other, each of which has one signal; the instruments that were sent so far."""
    sent: list[str] = []
    enough = threading.Event()

    def send() -> None:
        for instrument in INSTRUMENTS:
            if enough.wait(EVERY_S):
                return
            deployment.evaluate(candle_of(instrument))
            sent.append(instrument)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield sent
    finally:
        enough.set()
        thread.join()


def restarted(deployment: Deployment, secrets: str) -> None:
    """Every worker, one after the other, stops softly and comes back with these secrets."""
    for name in WORKERS:
        before = deployment.processes.get(name)
        if before is not None:
            before.kill("SIGTERM")
            before.wait()
        deployment.worker(name, processes=1, SIGNAL_API_SECRET=secrets)


def more(deployment: Deployment, receiver: Receiver, count: int) -> None:
    """Wait until the API has taken some more signals."""
    before = len(receiver.read().effects)
    deployment.until(lambda: len(receiver.read().effects) >= before + count, "more signals")


@pytest.mark.timeout(300)
def test_secret_is_changed_under_way(tmp_path: Path) -> None:
    """Workers sign with both secrets, then the API takes the new one only, then workers drop the old one."""
    log, port = tmp_path / "api.jsonl", free_port()
    url = f"http://127.0.0.1:{port}/signals"
    # A POST under way while the reference API restarts has no answer: it is sent again, and counts once.
    settings = {"SIGNAL_API_URL": url, "ON_UNKNOWN": "resend", "SIGNAL_API_SECRET": OLD}
    with deploy(tmp_path, [watch(*INSTRUMENTS)], **settings) as deployment:
        for instrument in INSTRUMENTS:
            deployment.feed(instrument, [ORIGIN - HOUR, ORIGIN])
        with Receiver(log, port=port, secrets=[OLD]) as receiver:
            restarted(deployment, OLD)
            with stream(deployment) as sent:
                more(deployment, receiver, 5)
                restarted(deployment, f"{NEW} {OLD}")
                more(deployment, receiver, 5)
                receiver.stop()
                with Receiver(log, port=port, secrets=[NEW]) as changed:
                    more(deployment, changed, 5)
                    restarted(deployment, NEW)
                    more(deployment, changed, 5)
                    candles = [candle_of(instrument) for instrument in list(sent)]
                    deployment.sweep_until(
                        lambda: all(deployment.signal_outcome(one) == "posted" for one in candles), "every signal"
                    )
                    found = changed.read()
        assert len(candles) >= 20
        assert found.statuses.keys() <= {200, 201}
        ids = {deployment.signal(candle).id for candle in candles}
        assert ids <= found.effects.keys()
        assert set(found.effects.values()) == {1}


@pytest.mark.timeout(120)
def test_a_wrong_secret_loses_signals_loudly(tmp_path: Path) -> None:
    """The order of the steps matters: a worker that the API does not know yet has its signals rejected, and says so."""
    log, port = tmp_path / "api.jsonl", free_port()
    with (
        Receiver(log, port=port, secrets=[OLD]) as receiver,
        deploy(tmp_path, [watch("GOLD")], SIGNAL_API_URL=f"http://127.0.0.1:{port}/signals") as deployment,
    ):
        deployment.feed("GOLD", [ORIGIN - HOUR, ORIGIN])
        deployment.worker(processes=1, SIGNAL_API_SECRET=NEW)
        candle = candle_of("GOLD")
        deployment.run(candle)
        deployment.until(lambda: deployment.signal_outcome(candle) == "rejected", "the refusal")
        assert receiver.read().statuses == {401: 1}
        record = deployment.signal_record(candle)
        assert record is not None
        assert "401" in record.reason
