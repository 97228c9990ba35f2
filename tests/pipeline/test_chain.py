"""From a tick to the API: what is enqueued, what the results say, and how the tasks hang together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.result import AsyncResult

from tests.pipeline.conftest import Deploy
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of

BUYERS = ("GOLD", "SILVER")
WATCHES = (watch(*BUYERS), watch("GOLD", name="second"), watch("COPPER", strategy="never"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment whose worker has worked one tick of beat."""
    with deploy(Path(tmp_path_factory.mktemp("chain")), WATCHES) as deployment:
        for instrument in (*BUYERS, "COPPER"):
            deployment.feed(instrument, [ORIGIN - HOUR, ORIGIN])
        deployment.worker()
        yield deployment


@pytest.fixture(scope="module")
def tick(running: Deployment) -> AsyncResult[Any]:
    """The tick, after everything that it led to has ended."""
    sent = running.send("enqueue_candles", timeframe="1h", alignment="utc")
    running.result(sent)
    signals = [(name, "always_buy") for name in BUYERS] + [("GOLD", "second")]
    for name, strategy in signals:
        candle = candle_of(name)
        running.until(lambda c=candle, s=strategy: running.signal_outcome(c, s), f"the signal of {name}")
    running.until(lambda: running.candle_outcome(candle_of("COPPER")), "COPPER")
    return sent


def children(running: Deployment, parent: AsyncResult[Any]) -> list[AsyncResult[Any]]:
    """The tasks that a task sent, once they have results."""
    found = [running.app.AsyncResult(child.id) for child in parent.children or ()]
    for child in found:
        running.result(child)
    return found


def test_tick_enqueues_every_instrument(running: Deployment, tick: AsyncResult[Any]) -> None:
    """A tick enqueues one evaluation for every instrument whose candle closed, and tells how many and which close."""
    expected = {"outcome": "enqueued", "candles": 3, "timeframe": "1h", "close": "2025-01-04T10:00:00Z"}
    assert running.result(tick) == expected
    assert {name: running.candle_outcome(candle_of(name)) for name in (*BUYERS, "COPPER")} == dict.fromkeys(
        (*BUYERS, "COPPER"), "evaluated"
    )


def test_every_signal_is_posted_once(running: Deployment, tick: AsyncResult[Any]) -> None:
    """Every strategy's signal of a candle reaches the API in one POST, and a strategy without one sends none."""
    log = running.receiver.read()
    effects = log.effects_by("instrument", "strategy", "candle_start")
    start = "2025-01-04T09:00:00Z"
    named = [("GOLD", "always_buy"), ("GOLD", "second"), ("SILVER", "always_buy")]
    assert effects == {(instrument, strategy, start): 1 for instrument, strategy in named}
    assert len(log.posts) == 3


def test_result_of_evaluation_is_readable(running: Deployment, tick: AsyncResult[Any]) -> None:
    """An evaluation's result tells outcome, candle with start and close, signals, store, attempt, lateness and token's
    start.
    """
    results = {one["instrument"]: one for one in (running.result(child) for child in children(running, tick))}
    gold = results["GOLD"]
    assert gold.pop("late_s") > 0
    assert len(gold.pop("token")) == 6
    assert gold == {
        "outcome": "evaluated",
        "instrument": "GOLD",
        "timeframe": "1h",
        "candle": "2025-01-04T09:00Z–10:00Z",  # noqa: RUF001 as a person reads it
        "signals": ["always_buy buy", "second buy"],
        "source": "redis",
        "attempt": 1,
    }
    assert "signals" not in results["COPPER"]


def test_result_of_publishing_is_readable(running: Deployment, tick: AsyncResult[Any]) -> None:
    """A publish task's result tells outcome, signal with its id, HTTP status, reason, store and attempt."""
    (silver,) = [child for child in children(running, tick) if running.result(child)["instrument"] == "SILVER"]
    (published,) = children(running, silver)
    result = running.result(published)
    assert result.pop("late_s") > 0
    assert len(result.pop("token")) == 6
    assert result == {
        "outcome": "posted",
        "instrument": "SILVER",
        "timeframe": "1h",
        "candle": "2025-01-04T09:00Z–10:00Z",  # noqa: RUF001 as a person reads it
        "side": "buy",
        "strategy": "always_buy",
        "signal": running.posts(candle_of("SILVER"))[0].key,
        "source": "redis",
        "attempt": 1,
        "status": 201,
        "reason": "201 Created",
    }


def test_children_show_the_whole_chain(running: Deployment, tick: AsyncResult[Any]) -> None:
    """With a result backend, a tick's children are its evaluations, and an evaluation's children its publish tasks."""
    below = {running.result(child)["instrument"]: children(running, child) for child in children(running, tick)}
    strategies = {name: sorted(running.result(one)["strategy"] for one in found) for name, found in below.items()}
    assert strategies == {"GOLD": ["always_buy", "second"], "SILVER": ["always_buy"], "COPPER": []}


def test_second_delivery_names_the_duplicate(running: Deployment, tick: AsyncResult[Any]) -> None:
    """A candle and a signal delivered once more end as `duplicate`, with the outcome that stands; no POST follows."""
    candle = candle_of("SILVER")
    posts = len(running.receiver.read().posts)
    again = running.run(candle)
    assert (again["outcome"], again["first"]) == ("duplicate", "evaluated")
    repeated = running.result(running.publish(running.signal(candle)))
    assert (repeated["outcome"], repeated["first"]) == ("duplicate", "posted")
    assert len(running.receiver.read().posts) == posts


def test_unwatched_candle_ends(running: Deployment) -> None:
    """A candle that is not on the watchlist (any more) ends as `unwatched` without a record."""
    candle = candle_of("TIN")
    assert running.run(candle)["outcome"] == "unwatched"
    assert running.candle_record(candle) is None


@pytest.mark.parametrize(
    ("task", "queue"),
    [
        ("enqueue_candles", "control"),
        ("sweep", "control"),
        ("evaluate_candle", "candles"),
        ("publish_signal", "publish"),
    ],
)
def test_message_reaches_exactly_one_queue(deployed: Deploy, task: str, queue: str) -> None:
    """A task's message goes to its own queue, once, and to no other."""
    deployment = deployed(watch("GOLD"))
    deployment.send(task)
    assert {name: len(deployment.waiting(name)) for name in ("control", "candles", "publish", "celery")} == {
        **dict.fromkeys(("control", "candles", "publish", "celery"), 0),
        queue: 1,
    }


def test_publish_message_names_its_parent_and_root(deployed: Deploy) -> None:
    """A publish message carries the evaluation's id as its parent and the tick's as its root, and the whole signal."""
    deployment = deployed(watch("GOLD"), CELERY_RESULT_BACKEND="")
    deployment.feed("GOLD", [ORIGIN - HOUR, ORIGIN])
    deployment.worker(queues="control,candles")
    tick = deployment.send("enqueue_candles", timeframe="1h", alignment="utc")
    (message,) = deployment.until(lambda: deployment.waiting("publish"), "the publish message")
    headers, signal = message["headers"], deployment.kwargs_of(message)["signal"]
    (evaluation,) = deployment.received("evaluate_candle")
    assert (headers["task"], headers["parent_id"], headers["root_id"]) == ("publish_signal", evaluation, tick.id)
    assert (signal["instrument"], signal["candle_start"]) == ("GOLD", "2025-01-04T09:00:00Z")
