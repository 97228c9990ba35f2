"""SIGSTOP of a whole worker at every labelled point, for longer than its lease, then SIGCONT.

Meanwhile other workers and the sweep take over, and messages that it held are delivered again. When it goes on it is in
the middle of work that is no longer its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.conftest import Recovered
from tests.faults.labels import Stroke
from tests.faults.points import endings, strokes, subjects
from tests.faults.striking import Striking, struck

POLICIES = ("hold", "resend")
CASES = [
    pytest.param(policy, stroke, id=f"{policy}-{stroke.name}-{stroke.nth}")
    for policy in POLICIES
    for stroke in strokes("SIGSTOP", policy)
]
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Striking]]:
    """A run of each policy, when every stopped worker has ended its work and everything is settled."""
    with struck({policy: tmp_path_factory.mktemp(policy) for policy in POLICIES}, "SIGSTOP", 5) as found:
        yield found


@pytest.mark.parametrize(("policy", "stroke"), CASES)
def test_nothing_is_lost(runs: dict[str, Striking], recovered: Recovered, policy: str, stroke: Stroke) -> None:
    """Every candle is evaluated and every signal settled: posted, or HELD with its reason while in doubt."""
    run = runs[policy]
    for name in subjects(stroke):
        seen = run.seen(name)
        assert seen.candle == "evaluated"
        assert seen.signal in endings(stroke, policy)
        assert seen.reason
    recovered(f"SIGSTOP beyond the lease at a point of {stroke.task}, {policy}", run.recovery_s(stroke))


@pytest.mark.parametrize(("policy", "stroke"), CASES)
def test_nothing_is_posted_twice(runs: dict[str, Striking], policy: str, stroke: Stroke) -> None:
    """Under `hold` there is at most one POST, though its worker goes on; under `resend` one effect."""
    for name in subjects(stroke):
        seen = runs[policy].seen(name)
        assert seen.effects <= 1
        assert seen.effects == 1 or seen.signal == "held"
        if policy == "hold":
            assert seen.posts <= 1


def test_workers_were_stopped(runs: dict[str, Striking]) -> None:
    """Every stroke fell, and no worker was started again: those that were stopped went on."""
    for run in runs.values():
        assert all(stroke.fallen(run.marks) for stroke in run.plan)
        assert [worker.starts for worker in run.crew] == [1] * len(run.crew)
