"""Moving from the seed's cache to this pipeline, on the same Redis, between two closes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of

SEED_CANDLE_TTL_S = 3600


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The seed's workers have worked GOLD and are stopped; ours then had a tick and a sweep."""
    with deploy(Path(tmp_path_factory.mktemp("moving")), [watch("GOLD", "SILVER")]) as deployment:
        for instrument in ("GOLD", "SILVER"):
            deployment.feed(instrument, [ORIGIN - HOUR, ORIGIN])
        with deployment.engine.client() as redis:
            redis.set("candle:GOLD:1h:2025-01-04T09:00:00", "processed", ex=SEED_CANDLE_TTL_S)
            redis.set("signal:publish:GOLD:2025-01-04T09:00:00", '{"id": 1}', ex=86_400)
        deployment.worker()
        deployment.result(deployment.send("enqueue_candles", timeframe="1h", alignment="utc"))
        silver = candle_of("SILVER")
        deployment.until(lambda: deployment.signal_outcome(silver), "the signal of SILVER")
        deployment.until(lambda: deployment.outcomes("evaluate_candle", "GOLD"), "the delivery of GOLD")
        deployment.sweep()
        yield deployment


def test_what_the_seed_worked_is_not_worked_again(moved: Deployment) -> None:
    """The seed's mark of a candle is a duplicate to us: nothing is posted, and the sweep leaves it alone."""
    assert moved.outcomes("evaluate_candle", "GOLD") == {"duplicate": 1}
    assert moved.posts(candle_of("GOLD")) == []


def test_the_seeds_marks_stay_as_they_were(moved: Deployment) -> None:
    """The seed's own values are not touched, so that moving back finds them."""
    with moved.engine.client() as redis:
        assert redis.get("candle:GOLD:1h:2025-01-04T09:00:00") == "processed"
        assert redis.get("signal:publish:GOLD:2025-01-04T09:00:00") == '{"id": 1}'


def test_what_the_seed_had_not_worked_is_posted(moved: Deployment) -> None:
    """A candle without a mark of the seed is ours: evaluated, and its signal is posted once."""
    silver = candle_of("SILVER")
    assert (moved.candle_outcome(silver), moved.signal_outcome(silver)) == ("evaluated", "posted")
    assert len(moved.posts(silver)) == 1
