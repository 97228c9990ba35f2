"""The store forgets everything in mid-run (FLUSHALL), broker included: what was posted before is not taken for new."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest

from dedup.alignment import UTC_ALIGNMENT, next_close
from dedup.timeframe import Candle, Timeframe
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of

GOLD = candle_of("GOLD")


@pytest.fixture(scope="module")
def forgotten(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Deployment]]:
    """Deployments of each policy that posted a signal, lost their store, and settled what the sweep found then."""
    with ExitStack() as stack:
        found = {}
        for policy in ("hold", "resend", "lookup"):
            home = tmp_path_factory.mktemp(policy)
            watches = [watch("GOLD"), watch("SILVER", timeframe="2s")]
            span = {"WATCH_FROM": (ORIGIN - timedelta(seconds=1)).isoformat()}
            found[policy] = stack.enter_context(deploy(home, watches, ON_UNKNOWN=policy, **span))
            found[policy].feed("GOLD", [ORIGIN - HOUR, ORIGIN])
            found[policy].feed("SILVER", [ORIGIN - timedelta(seconds=2), ORIGIN], "2s")
            found[policy].worker(wait=False)
        for deployment in found.values():
            deployment.processes["worker1"].ready()
            deployment.run(GOLD)
            deployment.until(lambda d=deployment: d.signal_outcome(GOLD) == "posted", "the signal")
            with deployment.engine.client() as client:
                client.flushall()
            deployment.sweep_until(lambda d=deployment: d.signal_outcome(GOLD), "the signal to be settled again")
        yield found


def test_forgotten_signal_is_held(forgotten: dict[str, Deployment]) -> None:
    """Under `hold` a signal whose candle closed before the store's memory began is HELD, and why is said: one POST."""
    record = forgotten["hold"].signal_record(GOLD)
    assert record is not None
    assert record.held
    assert "memory began" in record.reason
    assert len(forgotten["hold"].posts(GOLD)) == 1


def test_forgotten_signal_is_resent_under_its_key(forgotten: dict[str, Deployment]) -> None:
    """Under `resend` it is sent again, the same bytes under the same key, and has one effect."""
    first, second = forgotten["resend"].posts(GOLD)
    assert first.body == second.body
    assert forgotten["resend"].effects(GOLD) == 1
    assert forgotten["resend"].signal_outcome(GOLD) == "posted"


def test_forgotten_signal_is_looked_up(forgotten: dict[str, Deployment]) -> None:
    """Under `lookup` it is found at the API and settled as posted, without a POST."""
    assert forgotten["lookup"].signal_outcome(GOLD) == "posted"
    assert len(forgotten["lookup"].posts(GOLD)) == 1


def test_new_candle_is_posted_after_amnesia(forgotten: dict[str, Deployment]) -> None:
    """A candle that closes after the store's memory began anew is posted as ever, by the worker that ran all along."""
    deployment = forgotten["hold"]
    length = Timeframe.parse("2s")
    close = next_close(UTC_ALIGNMENT, length, deployment.clock.now() + timedelta(seconds=0.5))
    candle = Candle("SILVER", length, close - length.length, close)
    deployment.feed("SILVER", [candle.start, close], "2s")
    deployment.evaluate(candle)
    deployment.until(lambda: deployment.signal_outcome(candle), "the new signal")
    assert deployment.signal_outcome(candle) == "posted"
    assert len(deployment.posts(candle)) == 1
