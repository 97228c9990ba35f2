"""kill -9 of a whole worker at every labelled point of the three tasks, one point after the other.

Another worker, the sweep and the restarted worker settle what the dead one left. What is not asked here is what the API
saw in between: `tests/pipeline/test_kills.py` kills with the POST in flight on the API's side.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.conftest import Recovered
from tests.faults.labels import Stroke
from tests.faults.points import IN_DOUBT, endings, strokes, subjects
from tests.faults.striking import Striking, struck

POLICIES = ("hold", "resend")
CASES = [
    pytest.param(policy, stroke, id=f"{policy}-{stroke.name}-{stroke.nth}")
    for policy in POLICIES
    for stroke in strokes("SIGKILL", policy)
]
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Striking]]:
    """A run of each policy, when everything in it is settled."""
    with struck({policy: tmp_path_factory.mktemp(policy) for policy in POLICIES}, "SIGKILL", 3) as found:
        yield found


@pytest.mark.parametrize(("policy", "stroke"), CASES)
def test_nothing_is_lost(runs: dict[str, Striking], recovered: Recovered, policy: str, stroke: Stroke) -> None:
    """Every candle is evaluated and every signal settled: posted, or, where nobody can know, HELD with its reason."""
    run = runs[policy]
    for name in subjects(stroke):
        seen = run.seen(name)
        assert seen.candle == "evaluated"
        assert seen.signal in endings(stroke, policy)
        assert seen.reason
    recovered(f"kill -9 at a point of {stroke.task}, {policy}", run.recovery_s(stroke))


@pytest.mark.parametrize(("policy", "stroke"), CASES)
def test_nothing_is_posted_twice(runs: dict[str, Striking], policy: str, stroke: Stroke) -> None:
    """Under `hold` there is at most one POST, and none where the worker died before it; under `resend` one effect."""
    for name in subjects(stroke):
        seen = runs[policy].seen(name)
        assert seen.effects <= 1
        assert seen.effects == 1 or seen.signal == "held"
        if policy == "hold":
            assert seen.posts <= 1
        if policy == "hold" and stroke.task == "publish_signal" and stroke.point in IN_DOUBT[:2]:
            assert seen.posts == 0


def test_workers_were_killed(runs: dict[str, Striking]) -> None:
    """Every stroke fell, each on a worker that was alive."""
    for run in runs.values():
        fallen = [stroke.fallen(run.marks) for stroke in run.plan]
        assert all(fallen)
        assert sum(worker.starts for worker in run.crew) == len(run.plan) + len(run.crew)
