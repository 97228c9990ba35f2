"""What a signal's task makes of what the API answers, under each policy for an unknown outcome."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from dedup.records import State
from dedup.timeframe import Candle
from tasks.receiver import Fault
from tasks.sweep import look
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of

POLICIES = ("hold", "resend", "lookup")
INSTRUMENTS = tuple(f"I{number}" for number in range(40))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Deployment]]:
    """A deployment for each policy, each with a worker."""
    with ExitStack() as stack:
        found = {}
        for policy in POLICIES:
            home = tmp_path_factory.mktemp(policy)
            found[policy] = stack.enter_context(deploy(home, [watch(*INSTRUMENTS)], ON_UNKNOWN=policy))
            found[policy].worker(wait=False)
        for deployment in found.values():
            deployment.processes["worker1"].ready()
        yield found


@pytest.fixture(scope="module")
def unused() -> Iterator[str]:
    """Instruments that no test has used yet."""
    return iter(INSTRUMENTS)


@pytest.fixture
def hold(running: dict[str, Deployment]) -> Iterator[Deployment]:
    """The deployment that holds what is unknown; its API behaves at the beginning and at the end."""
    yield running["hold"]
    running["hold"].receiver.faults.clear()


@pytest.fixture
def gold(running: dict[str, Deployment], unused: Iterator[str]) -> Candle:
    """A closed candle with its bars; each test of this module has an instrument of its own."""
    name = next(unused)
    for deployment in running.values():
        deployment.feed(name, [ORIGIN - HOUR, ORIGIN])
    return candle_of(name)


def settle(deployment: Deployment, candle: Candle) -> str:
    """Evaluate a candle and wait until its signal is settled; says how."""
    assert deployment.run(candle)["outcome"] == "evaluated"
    outcome: str = deployment.until(lambda: deployment.signal_outcome(candle), f"the signal of {candle.instrument}")
    return outcome


def left_alone(deployment: Deployment, candle: Candle) -> bool:
    """Whether a sweep would leave a candle and its signals alone."""
    found = look(deployment.line)
    return candle not in found.due and candle.instrument not in {signal.instrument for signal in found.unpublished}


@pytest.mark.parametrize("status", [429, 503])
def test_refused_signal_waits_as_long_as_it_is_told(hold: Deployment, gold: Candle, status: int) -> None:
    """After a 429 or 503 with Retry-After the signal is posted again no earlier than that, under the next attempt."""
    hold.receiver.faults.put(Fault("refuse", status=status, seconds=1))
    assert settle(hold, gold) == "posted"
    first, second = hold.posts(gold)
    assert (first.status, second.status) == (status, 201)
    assert (first.attempt, second.attempt) == ("1", "2")
    assert (second.at - first.at).total_seconds() >= 1
    assert first.body == second.body


def test_signal_waits_for_an_api_that_is_down(hold: Deployment, gold: Candle) -> None:
    """While nobody listens the signal is released and tried again; once the API is up it is posted, in one POST."""
    hold.receiver.pause()
    try:
        hold.run(gold)
        hold.until(lambda: (found := hold.signal_record(gold)) and found.state is State.RELEASED, "the release")
        assert not hold.posts(gold)
    finally:
        hold.receiver.resume()
    hold.until(lambda: hold.signal_outcome(gold), "the signal")
    assert hold.signal_outcome(gold) == "posted"
    assert [post.effect for post in hold.posts(gold)] == [True]


@pytest.mark.parametrize(
    "fault",
    [Fault("error_before_commit", status=422), Fault("redirect", location="http://127.0.0.1:1/elsewhere")],
    ids=["422", "redirect"],
)
def test_rejected_signal_is_not_sent_again(hold: Deployment, gold: Candle, fault: Fault) -> None:
    """A signal that the API refuses for good ends as `rejected` with status and reason, and is never sent again."""
    hold.receiver.faults.put(fault)
    assert settle(hold, gold) == "rejected"
    record = hold.signal_record(gold)
    assert record is not None
    assert str(fault.answer_status) in record.reason
    assert left_alone(hold, gold)
    assert hold.result(hold.publish(hold.signal(gold)))["first"] == "rejected"
    assert [post.status for post in hold.posts(gold)] == [fault.answer_status]


@pytest.mark.parametrize("kind", ["drop_reply", "reset", "truncate", "error_after_commit", "error_before_commit"])
def test_unknown_outcome_is_held(hold: Deployment, gold: Candle, kind: str) -> None:
    """Under `hold` a signal whose reply is lost, cut off or a 500 is HELD with its reason and never sent again."""
    hold.receiver.faults.put(Fault(kind))  # type: ignore[arg-type]
    assert settle(hold, gold) == "held"
    record = hold.signal_record(gold)
    assert record is not None
    assert record.reason
    assert left_alone(hold, gold)
    assert hold.result(hold.publish(hold.signal(gold)))["outcome"] == "held"
    assert len(hold.posts(gold)) == 1


@pytest.mark.parametrize("kind", ["drop_reply", "error_after_commit", "error_before_commit"])
def test_unknown_outcome_is_resent(running: dict[str, Deployment], gold: Candle, kind: str) -> None:
    """Under `resend` a signal whose outcome is unknown goes out again, the same bytes as attempt 2: one effect."""
    deployment = running["resend"]
    deployment.receiver.faults.put(Fault(kind))  # type: ignore[arg-type]
    assert settle(deployment, gold) == "posted"
    first, second = deployment.posts(gold)
    assert (first.attempt, second.attempt, first.body) == ("1", "2", second.body)
    assert deployment.effects(gold) == 1


def test_look_up_finds_the_signal(running: dict[str, Deployment], gold: Candle) -> None:
    """Under `lookup` a signal that the API is found to have is posted, with one POST."""
    deployment = running["lookup"]
    deployment.receiver.faults.put(Fault("drop_reply"))
    assert settle(deployment, gold) == "posted"
    record = deployment.signal_record(gold)
    assert record is not None
    assert record.reason == "found by look-up"
    assert [post.effect for post in deployment.posts(gold)] == [True]


def test_look_up_that_finds_nothing_holds(running: dict[str, Deployment], gold: Candle) -> None:
    """Under `lookup` a signal that the API is not found to have is HELD: it may still be under way."""
    deployment = running["lookup"]
    deployment.receiver.faults.put(Fault("error_before_commit"))
    assert settle(deployment, gold) == "held"
    assert [post.effect for post in deployment.posts(gold)] == [False]


@pytest.mark.parametrize("done", [True, False], ids=["posted", "claimed"])
def test_other_payload_under_the_key_is_a_conflict(hold: Deployment, gold: Candle, done: bool) -> None:
    """A signal whose key another payload has taken ends as `conflict`; nothing is posted and the record stays."""
    cache, key = hold.line.signals, hold.signal_key(gold)
    cache.store.run(cache.rules.claim(key, "other", "f00d"))
    if done:
        cache.store.run(cache.rules.posted(key, "other", "f00d", "201 Created"))
    planted = cache.record(key)
    hold.run(gold)
    hold.until(lambda: hold.outcomes("publish_signal", gold.instrument), "the publish task")
    assert set(hold.outcomes("publish_signal", gold.instrument)) == {"conflict"}
    assert cache.record(key) == planted
    assert not hold.posts(gold)


def test_signal_too_old_expires(hold: Deployment, gold: Candle) -> None:
    """A signal past its expiry ends as `expired`, visible in its record, without a POST."""
    old = replace(gold, start=ORIGIN - 3 * HOUR, close=ORIGIN - 2 * HOUR)
    hold.feed(gold.instrument, [old.start, old.close, gold.start], afresh=True)
    assert settle(hold, old) == "expired"
    assert not hold.posts(old)


def test_signal_older_than_the_horizon_is_refused(hold: Deployment, gold: Candle) -> None:
    """A signal of a candle beyond the horizon ends as `expired` before any claim: its record may have run out."""
    hold.run(gold)
    signal = hold.signal(gold)
    old = signal.model_copy(update={"candle_start": ORIGIN - 5 * HOUR, "candle_close": ORIGIN - 4 * HOUR})
    result = hold.result(hold.publish(old))
    assert (result["outcome"], result.get("attempt")) == ("expired", None)
    assert hold.line.signals.record(hold.signal_key(replace(gold, start=old.candle_start))) is None
    assert "horizon" in result["reason"]
