"""RabbitMQ with quorum queues as the broker, while Redis keeps the claims."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from kombu import Queue

from dedup.timeframe import Candle
from tasks.receiver import Fault
from tests.machines.rabbit import Rabbit
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of

INSTRUMENTS = tuple(f"I{number}" for number in range(20))
MANY = INSTRUMENTS[:12]

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def rabbit() -> Iterator[Rabbit]:
    """A RabbitMQ of these tests."""
    with Rabbit() as rabbit:
        yield rabbit


@pytest.fixture(scope="module")
def running(rabbit: Rabbit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two workers of two processes."""
    home = tmp_path_factory.mktemp("rabbitmq")
    with deploy(home, [watch(*INSTRUMENTS)], CELERY_BROKER_URL=rabbit.url, ON_UNKNOWN="resend") as deployment:
        for instrument in INSTRUMENTS:
            deployment.feed(instrument, [ORIGIN - HOUR, ORIGIN])
        for number in (1, 2):
            deployment.worker(f"worker{number}", wait=False)
        for process in deployment.processes.values():
            process.ready()
        yield deployment


@pytest.fixture(scope="module")
def unused() -> Iterator[str]:
    """Instruments that no test has used yet."""
    return iter(INSTRUMENTS[len(MANY) :])


@pytest.fixture
def gold(running: Deployment, unused: Iterator[str]) -> Iterator[Candle]:
    """A closed candle of an instrument of its own; the API behaves at the end."""
    yield candle_of(next(unused))
    running.receiver.faults.clear()


def settled(deployment: Deployment, candle: Candle) -> str:
    """How the candle's signal ends."""
    outcome: str = deployment.until(lambda: deployment.signal_outcome(candle), f"the signal of {candle.instrument}")
    return outcome


@pytest.mark.parametrize("name", ["control", "candles", "publish"])
def test_queues_are_quorum_queues(running: Deployment, name: str) -> None:
    """Each queue is a durable quorum queue: RabbitMQ refuses to take it for a classic one."""
    with running.app.connection_for_write() as connection:
        Queue(name, queue_arguments={"x-queue-type": "quorum"})(connection.channel()).queue_declare()
        with pytest.raises(connection.channel_errors, match="inequivalent arg 'x-queue-type'"):
            Queue(name, queue_arguments={"x-queue-type": "classic"})(connection.channel()).queue_declare()


def test_every_signal_is_posted_once(running: Deployment) -> None:
    """Candles sent twice, as by two beats, lead to one POST for each signal."""
    candles = [candle_of(name) for name in MANY]
    for candle in candles * 2:
        running.evaluate(candle)
    assert {settled(running, candle) for candle in candles} == {"posted"}
    assert [len(running.posts(candle)) for candle in candles] == [1] * len(candles)


def test_retry_waits_in_the_broker(running: Deployment, gold: Candle) -> None:
    """A signal that the API refuses for three seconds waits in RabbitMQ, not in a worker, and is posted after them."""
    before = running.received("publish_signal")
    running.receiver.faults.put(Fault("refuse", seconds=3))
    running.evaluate(gold)
    running.until(lambda: len(running.received("publish_signal")) == len(before) + 2, "the retry")
    waited_s = (datetime.now(UTC) - running.posts(gold)[0].at).total_seconds()
    assert waited_s > 2
    assert settled(running, gold) == "posted"
    first, second = running.posts(gold)
    assert (first.status, second.status) == (429, 201)
    assert (second.at - first.at).total_seconds() >= 3


def test_killed_worker_leaves_its_message(running: Deployment, gold: Candle) -> None:
    """The message of a worker killed with its POST in flight goes to the other one at once; one effect comes of it."""
    before = running.received("publish_signal")
    running.receiver.faults.put(Fault("stall", seconds=5))
    running.evaluate(gold)
    running.until(lambda: running.posts(gold), "the POST")
    (mine,) = set(running.received("publish_signal")) - set(before)
    holder = next(one for one in running.processes.values() if f"publish_signal[{mine}] received" in one.logs())
    holder.kill()
    running.until(lambda: running.received("publish_signal").count(mine) == 2, "the redelivery")
    running.sweep_until(lambda: running.signal_outcome(gold), "the signal")
    assert running.signal_outcome(gold) == "posted"
    assert running.effects(gold) == 1
    holder.restart()
    holder.ready()


def test_queue_that_does_not_exist_is_empty(running: Deployment) -> None:
    """The sweep takes a queue that RabbitMQ does not know for an empty one, and can ask for another one after it."""
    code = "from tasks.sweep import queue_length; print(queue_length('nowhere'), queue_length('candles'))"
    argv = [sys.executable, "-c", code]
    asked = subprocess.run(argv, env=running.env, capture_output=True, text=True, check=True, timeout=60)
    assert asked.stdout.split() == ["0", "0"]


def test_messages_outlive_the_broker(running: Deployment, rabbit: Rabbit, gold: Candle) -> None:
    """A candle that waits when the broker is killed is worked after its return, and its signal posted once."""
    for process in running.processes.values():
        process.kill()
    running.evaluate(gold)
    rabbit.kill()
    rabbit.start()
    for process in running.processes.values():
        process.restart()
    assert settled(running, gold) == "posted"
    assert len(running.posts(gold)) == 1
