"""A Redis that answers and refuses: nothing is claimed or posted meanwhile, and nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError

from dedup.signals import Signal, signal_id
from tests.bad_input.troubles import TROUBLES, FullDisk, Trouble
from tests.engines import DURABLE, Engine
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of

NAMES = [type(trouble).__name__ for trouble in TROUBLES]
VISIBILITY_TIMEOUT_S = 8
LONGEST_WAIT_S = VISIBILITY_TIMEOUT_S / 4
SAVING = {**DURABLE, "save": "3600 1"}


@pytest.fixture(scope="module")
def store() -> Iterator[Engine]:
    """The server that keeps the records, and no messages."""
    with Engine(config=SAVING) as engine:
        yield engine


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, store: Engine) -> Iterator[Deployment]:
    """A deployment with a worker whose broker is another server; for every trouble it watches two instruments."""
    watches = [watch(*(f"{name}{number}" for name in NAMES for number in (1, 2)))]
    home = tmp_path_factory.mktemp("refuses")
    with store.client() as client:
        client.set("dedup:since", 1)
    with deploy(home, watches, VISIBILITY_TIMEOUT=str(VISIBILITY_TIMEOUT_S)) as deployment:
        # The test's own view keeps to the addresses that it was made with.
        deployment.env |= {"CELERY_BROKER_URL": deployment.env["REDIS_URL"], "REDIS_URL": store.url}
        for name in NAMES:
            for number in (1, 2):
                deployment.feed(f"{name}{number}".upper(), [ORIGIN - HOUR, ORIGIN])
        deployment.worker()
        yield deployment


def signal_of(instrument: str) -> Signal:
    """The signal of an instrument's candle."""
    candle = candle_of(instrument)
    return Signal(
        id=signal_id("always_buy", instrument, "1h", candle.start),
        instrument=instrument,
        timeframe="1h",
        candle_start=candle.start,
        candle_close=candle.close,
        strategy="always_buy",
        side="buy",
        price="100.09",  # type: ignore[arg-type]
        expires_at=candle.close + HOUR,
    )


@pytest.mark.parametrize("trouble", TROUBLES, ids=NAMES)
def test_refusal_is_told_with_its_remedy_and_outlived(running: Deployment, store: Engine, trouble: Trouble) -> None:
    """While Redis refuses, a candle and a signal are retried, the log says why and what to do, and nothing is claimed
    or posted. Once it is mended both are worked, each once, without anyone sending them again. No retry waits as long
    as the broker does, which would deliver it twice.
    """
    candle, other = (candle_of(f"{type(trouble).__name__}{number}".upper()) for number in (1, 2))
    signal, logs = signal_of(other.instrument), running.processes["worker1"].logs
    trouble.begin(store)
    try:
        evaluation, publication = running.evaluate(candle), running.publish(signal)
        for who in (f"{candle.instrument} 1h {candle}:", signal.id):
            running.until(lambda who=who: f"{who} waits for the store: {trouble.told}" in logs(), f"the log on {who}")
        with store.client(password=trouble.password) as client:
            keys = [key for key in client.scan_iter("*") if candle.instrument in key or other.instrument in key]
        assert keys == []
        assert running.posts(other) == []
        assert {evaluation.state, publication.state} <= {"RETRY", "STARTED"}
    finally:
        trouble.end(store)
    assert running.result(evaluation)["outcome"] == "evaluated"
    assert running.result(publication)["outcome"] == "posted"
    running.until(lambda: running.signal_outcome(candle) == "posted", "the candle's signal")
    assert [len(running.posts(one)) for one in (candle, other)] == [1, 1]
    for task in (evaluation.id, publication.id):
        waits = re.findall(rf"Task \w+\[{task}\] retry: Retry in ([0-9.]+)s", logs())
        assert 0 < max(map(float, waits)) <= LONGEST_WAIT_S
        assert logs().count(f"[{task}] received") == 1 + len(waits)


def test_full_disk_of_the_only_redis(tmp_path: Path) -> None:
    """Where broker and store are one server and its disk is full, senders are told, the worker stays, and once there is
    room again a sweep brings back whatever could not be enqueued. Nothing is posted twice.
    """
    trouble, candle = FullDisk(), candle_of("GOLD")
    with deploy(tmp_path, [watch("GOLD")], config=SAVING) as deployment:
        deployment.feed("GOLD", [ORIGIN - HOUR, ORIGIN])
        worker = deployment.worker(processes=1)
        trouble.begin(deployment.engine)
        with pytest.raises(OperationalError, match="MISCONF"):
            deployment.evaluate(candle)
        deployment.until(lambda: "MISCONF" in worker.logs(), "the worker to notice")
        trouble.end(deployment.engine)
        deployment.sweep_until(lambda: deployment.signal_outcome(candle) == "posted", "the signal")
        assert worker.status == "running"
        assert deployment.candle_outcome(candle) == "evaluated"
        assert len(deployment.posts(candle)) == 1
