"""kill -9 and SIGSTOP of whole workers at the worst moments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from dedup.lua import script
from dedup.records import State
from tasks.receiver import Fault
from tasks.receiver.faults import Kind
from tests.pipeline.conftest import Deploy
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of
from tests.pipeline.proxy import Proxy
from tests.pipeline.strikes import Strike

CASES: dict[str, tuple[str, Kind, str]] = {
    "resend": ("resend", "stall", "SIGKILL"),
    "hold": ("hold", "stall", "SIGKILL"),
    "found": ("lookup", "stall", "SIGKILL"),
    "not found": ("lookup", "stall_before_commit", "SIGKILL"),
    "stopped": ("resend", "stall", "SIGSTOP"),
}
"""Policy, where the API stands still, and the signal that the worker gets then."""


@pytest.fixture(scope="module")
def struck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Deployment]]:
    """Deployments whose worker was struck with a POST in flight, after another worker and sweeps settled the signal."""
    with ExitStack() as stack:
        found = {}
        for name, (policy, _, _) in CASES.items():
            found[name] = stack.enter_context(deploy(tmp_path_factory.mktemp(name), [watch("GOLD")], ON_UNKNOWN=policy))
            found[name].feed("GOLD", [ORIGIN - HOUR, ORIGIN])
            found[name].worker("struck", wait=False)
        for name, deployment in found.items():
            deployment.processes["struck"].ready()
            strike(deployment, *CASES[name][1:])
            deployment.worker("heir", wait=False)
        for deployment in found.values():
            deployment.processes["heir"].ready()
            gold = candle_of("GOLD")
            deployment.sweep_until(lambda d=deployment, c=gold: d.signal_outcome(c), "the signal to be settled")
        yield found


def strike(deployment: Deployment, stall: Kind, signal: str) -> None:
    """Strike the worker while the API has its POST and has not answered it."""
    gold = candle_of("GOLD")
    deployment.receiver.faults.put(Fault(stall, seconds=3600))
    deployment.evaluate(gold)
    if stall == "stall":
        deployment.until(lambda: deployment.effects(gold), "the API to commit")
    else:
        deployment.until(lambda: deployment.posts(gold), "the POST to arrive")
    deployment.processes["struck"].kill(signal)
    # Nobody hears the answer any more, and the API is free for the next POST.
    deployment.receiver.stop()
    deployment.receiver.faults.clear()
    deployment.receiver.start()


def test_killed_post_is_resent(struck: dict[str, Deployment]) -> None:
    """Under `resend` the signal of a worker killed with its POST in flight goes out again as attempt 2: one effect."""
    deployment, gold = struck["resend"], candle_of("GOLD")
    first, second = deployment.posts(gold)
    assert (deployment.signal_outcome(gold), deployment.effects(gold)) == ("posted", 1)
    assert (first.attempt, second.attempt, first.body) == ("1", "2", second.body)
    assert second.decision is not None
    assert second.decision.replayed


def test_killed_post_is_held(struck: dict[str, Deployment]) -> None:
    """Under `hold` that signal is HELD, with its reason, and every sweep says so: one POST."""
    deployment, gold = struck["hold"], candle_of("GOLD")
    record = deployment.signal_record(gold)
    assert record is not None
    assert (record.state, record.held) == (State.UNKNOWN, True)
    assert "lease ran out" in record.reason
    assert deployment.sweep()["held"] == 1
    assert len(deployment.posts(gold)) == 1


def test_killed_post_is_found(struck: dict[str, Deployment]) -> None:
    """Under `lookup` that signal is found at the API and posted without a second POST."""
    deployment, gold = struck["found"], candle_of("GOLD")
    assert deployment.signal_outcome(gold) == "posted"
    assert [post.effect for post in deployment.posts(gold)] == [True]


def test_killed_post_that_is_not_found_is_held(struck: dict[str, Deployment]) -> None:
    """Under `lookup` that signal is HELD where the API has nothing, with both reasons: one POST, no effect."""
    deployment, gold = struck["not found"], candle_of("GOLD")
    record = deployment.signal_record(gold)
    assert record is not None
    assert record.held
    assert "lease ran out" in record.reason
    assert "404" in record.reason
    assert [post.effect for post in deployment.posts(gold)] == [False]


def test_stopped_worker_finds_its_signal_in_other_hands(struck: dict[str, Deployment]) -> None:
    """A worker stopped beyond its lease with a POST in flight changes nothing when it goes on, and its limits or the
    record end its task: one effect, posted.
    """
    deployment, gold = struck["stopped"], candle_of("GOLD")
    settled = deployment.signal_record(gold)
    assert (deployment.signal_outcome(gold), deployment.effects(gold)) == ("posted", 1)
    stopped = deployment.processes["struck"]
    stopped.kill("SIGCONT")
    ended = re.compile(r"outcome task=publish_signal|Hard time limit")
    deployment.until(lambda: ended.search(stopped.logs()), "the stopped task to end")
    assert deployment.signal_record(gold) == settled
    assert deployment.effects(gold) == 1


def test_candle_of_killed_worker_is_redone(deployed: Deploy) -> None:
    """A worker killed after its publish task is in the broker and before its candle is complete: the candle is redone
    after its lease, its signal enqueued again, and posted once.
    """
    deployment = deployed(watch("GOLD"))
    gold = candle_of("GOLD")
    deployment.feed("GOLD", [ORIGIN - HOUR, ORIGIN])
    with Proxy(deployment.engine.port) as proxy:
        store = proxy.through(deployment.engine.url)
        doomed = deployment.worker(
            "doomed", "control,candles", REDIS_URL=store, CELERY_BROKER_URL=deployment.engine.url
        )
        proxy.put(Strike("drop", "request", times=None, needle=script("complete").sha.encode()))
        deployment.evaluate(gold)
        deployment.until(lambda: proxy.struck, "the worker to complete its candle")
        assert len(deployment.waiting("publish")) == 1
        doomed.kill()
    record = deployment.candle_record(gold)
    assert record is not None
    assert record.state is State.CLAIMED
    deployment.worker("heir")
    deployment.sweep_until(lambda: deployment.candle_outcome(gold), "the candle to be redone")
    redone = deployment.candle_record(gold)
    assert redone is not None
    assert (redone.outcome, redone.attempt) == ("evaluated", 2)
    deployment.until(lambda: deployment.outcomes("publish_signal").total() >= 2, "both publish tasks")
    assert deployment.outcomes("publish_signal") == {"posted": 1, "duplicate": 1}
    assert [post.effect for post in deployment.posts(gold)] == [True]
