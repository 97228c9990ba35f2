"""SIGTERM of a worker in mid-work, as `docker stop`, Kubernetes and systemd send it: all is finished or given back."""

from __future__ import annotations

from tasks.receiver import Fault
from tests.pipeline.conftest import Deploy
from tests.pipeline.conftest import deployed as deployed
from tests.pipeline.deploying import watch
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of

INSTRUMENTS = tuple(f"I{number}" for number in range(6))
LONG = {"VISIBILITY_TIMEOUT": "600", "CANDLE_TIME_LIMIT": "60", "CANDLE_LEASE": "70"}
PATIENT = {"VISIBILITY_TIMEOUT": "600", "HTTP_DEADLINE": "20", "PUBLISH_TIME_LIMIT": "25", "PUBLISH_LEASE": "30"}


def test_candles_under_way_are_finished(deployed: Deploy, tmp_path: object) -> None:
    """A stopped worker finishes its candles and takes no other; the rest waits in the queue for the next worker."""
    gate = f"{tmp_path}/gate"
    deployment = deployed(watch(*INSTRUMENTS, strategy="waits_for_file", params={"path": gate}), **LONG)
    candles = [candle_of(instrument) for instrument in INSTRUMENTS]
    for candle in candles:
        deployment.feed(candle.instrument, [ORIGIN - HOUR, ORIGIN])
        deployment.evaluate(candle)
    worker = deployment.worker()
    deployment.until(lambda: sum(map(bool, map(deployment.candle_record, candles))) == 2, "both processes at work")
    begun = [candle for candle in candles if deployment.candle_record(candle)]
    worker.kill("SIGTERM")
    deployment.until(lambda: "Warm shutdown" in worker.logs(), "the worker to hear of it")
    assert worker.status == "running"
    (deployment.home / "gate").touch()
    worker.wait()
    assert [deployment.candle_outcome(candle) for candle in begun] == ["evaluated"] * 2
    left = {deployment.kwargs_of(message)["instrument"] for message in deployment.waiting("candles")}
    assert left == {candle.instrument for candle in candles} - {candle.instrument for candle in begun}
    deployment.worker("worker2")
    for candle in candles:
        deployment.until(lambda of=candle: deployment.signal_outcome(of, "waits_for_file"), str(candle))
    assert deployment.outcomes("evaluate_candle") == {"evaluated": len(candles)}
    assert [len(deployment.posts(candle, "waits_for_file")) for candle in candles] == [1] * len(candles)


def test_post_under_way_is_finished(deployed: Deploy) -> None:
    """A worker stopped in the middle of a POST waits for the answer and settles it: nothing is left in doubt."""
    deployment = deployed(watch("GOLD"), ON_UNKNOWN="hold", **PATIENT)
    deployment.feed("GOLD", [ORIGIN - HOUR, ORIGIN])
    gold = candle_of("GOLD")
    deployment.receiver.faults.put(Fault("stall", seconds=3))
    worker = deployment.worker()
    deployment.evaluate(gold)
    deployment.until(lambda: deployment.posts(gold), "the POST")
    worker.kill("SIGTERM")
    worker.wait()
    assert deployment.signal_outcome(gold) == "posted"
    assert len(deployment.posts(gold)) == 1


def test_waiting_retry_is_given_back(deployed: Deploy) -> None:
    """A retry that a stopped worker had fetched, and held until its time, is in the queue again when it has ended."""
    deployment = deployed(watch("GOLD"), **PATIENT)
    deployment.feed("GOLD", [ORIGIN - HOUR, ORIGIN])
    gold = candle_of("GOLD")
    deployment.receiver.faults.put(Fault("refuse", seconds=10))
    worker = deployment.worker()
    deployment.evaluate(gold)
    deployment.until(lambda: len(deployment.received("publish_signal")) == 2, "the retry to be fetched")
    assert deployment.waiting("publish") == []
    worker.kill("SIGTERM")
    worker.wait()
    (message,) = deployment.waiting("publish")
    assert deployment.kwargs_of(message)["signal"]["instrument"] == "GOLD"
    # A retry shows monitors what its first delivery showed.
    assert message["headers"]["argsrepr"].startswith("GOLD 1h 2025-01-04T09:00Z")
    deployment.worker("worker2")
    deployment.until(lambda: deployment.signal_outcome(gold), "the signal")
    assert [post.status for post in deployment.posts(gold)] == [429, 201]
