"""What is lost on the way, and the sweep that brings it back.

One run loses four things and kills every worker; a new worker and sweeps follow. Each test looks at one of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dedup.records import State
from tasks.receiver import Fault
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of

LOST = ("CANDLE", "RETRY", "SIGNAL", "POST")
BROKER_KEYS = ("control", "candles", "publish", "unacked", "unacked_index")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A run at whose end everything lost is settled."""
    with deploy(tmp_path_factory.mktemp("lost"), [watch(*LOST)]) as deployment:
        for instrument in LOST:
            deployment.feed(instrument, [ORIGIN - HOUR] if instrument == "RETRY" else [ORIGIN - HOUR, ORIGIN])
        lose_all(deployment)
        assert not deployment.receiver.read().effects
        deployment.feed("RETRY", [ORIGIN])
        deployment.worker("heir")
        candles = [candle_of(name) for name in LOST]
        deployment.sweep_until(lambda: all(map(deployment.signal_outcome, candles)), "every signal to be settled")
        yield deployment


def lose_all(deployment: Deployment) -> None:
    """Bring each piece of work to where only a message stands for it, then lose the message and all workers."""
    evaluating = deployment.worker("evaluating", "control,candles", wait=False)
    publishing = deployment.worker("publishing", "publish")
    evaluating.ready()
    deployment.receiver.faults.put(Fault("refuse", seconds=4))
    deployment.run(candle_of("POST"))
    deployment.until(lambda: released(deployment.signal_record(candle_of("POST"))), "POST to be refused")
    publishing.kill("SIGSTOP")
    # A stopped worker that waits in BRPOP pops the message all the same, and it is gone when the worker is killed.
    deployment.run(candle_of("SIGNAL"))
    deployment.evaluate(candle_of("RETRY"))
    deployment.until(lambda: released(deployment.candle_record(candle_of("RETRY"))), "RETRY to be retried")
    for worker in (evaluating, publishing):
        worker.kill()
    deployment.evaluate(candle_of("CANDLE"))
    with deployment.engine.client() as client:
        client.delete(*BROKER_KEYS)


def released(record: object) -> bool:
    """Whether a record is RELEASED."""
    return getattr(record, "state", None) is State.RELEASED


@pytest.mark.parametrize(
    "instrument",
    [
        pytest.param("CANDLE", id="message of a candle"),
        pytest.param("RETRY", id="retry of a candle whose bar was late"),
        pytest.param("SIGNAL", id="message of a signal"),
        pytest.param("POST", id="retry of a signal that was refused"),
    ],
)
def test_sweep_brings_back_what_was_lost(run: Deployment, instrument: str) -> None:
    """Work whose message is lost with its worker is swept up, evaluated, and its signal has one effect."""
    candle = candle_of(instrument)
    assert (run.candle_outcome(candle), run.signal_outcome(candle)) == ("evaluated", "posted")
    assert run.effects(candle) == 1


def test_nothing_is_left_to_sweep(run: Deployment) -> None:
    """Once all is settled a sweep finds the same candles and enqueues none of them."""
    swept = run.sweep()
    assert (swept["candles"], swept["due"], swept["unpublished"], swept["held"]) == (len(LOST), 0, 0, 0)
