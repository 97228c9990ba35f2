"""The pipeline as a cluster of pytest-celery: kills, restarts and logs of its nodes.

The nodes are whatever the fixtures say: local processes by `conftest`, or containers.
"""

from __future__ import annotations

from typing import Any

from celery.result import AsyncResult
from pytest_celery import RESULT_TIMEOUT, CeleryTestSetup

from dedup.signals import signal_id
from dedup.timeframe import Candle
from tasks.receiver import Receiver
from tests.pipeline.waiting import eventually

Candles = tuple[Candle, Candle]


def send(setup: CeleryTestSetup, candle: Candle) -> AsyncResult[Any]:
    """Send `evaluate_candle`."""
    start = candle.start.isoformat()
    kwargs = {"instrument": candle.instrument, "timeframe": str(candle.timeframe), "candle_start": start}
    return setup.app.send_task("evaluate_candle", kwargs=kwargs)


def effects(api: Receiver, candle: Candle) -> int:
    """Effects that the candle's signal has at the API."""
    return api.read().effects.get(signal_id("always_buy", candle.instrument, candle.timeframe, candle.start), 0)


def test_cluster_comes_up(celery_setup: CeleryTestSetup) -> None:
    """Broker, backend and worker come up, and the worker answers to remote control under its node name."""
    assert celery_setup.ready(docker=True)
    (answer,) = celery_setup.app.control.ping(timeout=10, limit=1)
    assert answer == {celery_setup.worker.hostname(): {"ok": "pong"}}
    assert len(celery_setup) == 3


def test_candle_sent_to_cluster_is_posted(
    celery_setup: CeleryTestSetup, candles: Candles, signal_api: Receiver
) -> None:
    """A candle sent to the broker is evaluated and its signal posted, as result and log tell."""
    assert celery_setup.ready()
    result = send(celery_setup, candles[0]).get(timeout=RESULT_TIMEOUT)
    assert (result["outcome"], result["signals"]) == ("evaluated", ["always_buy buy"])
    celery_setup.worker.assert_log_exists("task=publish_signal outcome=posted")
    assert effects(signal_api, candles[0]) == 1


def test_work_waits_for_killed_worker_to_come_back(
    celery_setup: CeleryTestSetup, candles: Candles, signal_api: Receiver
) -> None:
    """What is sent while the only worker is dead is worked once it is back, and what it had done is not done again."""
    assert celery_setup.ready()
    send(celery_setup, candles[0]).get(timeout=RESULT_TIMEOUT)
    celery_setup.worker.assert_log_exists("task=publish_signal outcome=posted")
    celery_setup.worker.kill()
    assert celery_setup.worker.container.status == "exited"
    again, new = (send(celery_setup, candle) for candle in candles)
    celery_setup.worker.restart()
    assert celery_setup.ready(docker=True)
    assert again.get(timeout=RESULT_TIMEOUT)["outcome"] == "duplicate"
    assert new.get(timeout=RESULT_TIMEOUT)["outcome"] == "evaluated"
    eventually(lambda: effects(signal_api, candles[1]), "the second signal")
    assert [effects(signal_api, candle) for candle in candles] == [1, 1]


def test_message_survives_killed_broker(celery_setup: CeleryTestSetup, candles: Candles, signal_api: Receiver) -> None:
    """A candle in the queue of a broker that is killed and comes back is evaluated and posted once."""
    assert celery_setup.ready()
    celery_setup.worker.kill()
    sent = send(celery_setup, candles[0])
    celery_setup.broker.kill()
    assert celery_setup.broker.container.status == "exited"
    celery_setup.broker.restart()
    celery_setup.worker.restart()
    assert celery_setup.ready(docker=True)
    assert sent.get(timeout=RESULT_TIMEOUT)["outcome"] == "evaluated"
    eventually(lambda: effects(signal_api, candles[0]), "the signal")
    assert effects(signal_api, candles[0]) == 1
