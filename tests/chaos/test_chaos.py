"""A running pipeline under a seeded schedule of every fault: 3 workers, 2 beats, 2 sweeps, a real engine, a real API.

On failure the seed, the schedule and what is known of the signals in question are told; `python -m tests.chaos` replays
it. The files of a run are below pytest's temporary folder.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.report import command, failure
from tests.chaos.running import Options, Result, run
from tests.chaos.schedule import FORGETTING, WEIGHTS, Fault

pytestmark = pytest.mark.timeout(900)

RESEND = Options(signals=2_000, seed=20_260_105, instruments=10, strategies=5, per_s=30, gap_s=1.2)
"""Before an API that honours Idempotency-Key: exactly once in effect."""

HOLD = Options(signals=500, seed=4_711, policy="hold", forgetting=True, per_s=25, gap_s=0.6)
"""Before an API that does not, and with a store that forgets everything: at most once."""

MISTAKEN = Options(
    signals=50,
    seed=1,
    plain=True,
    schedule=(Fault(0.0, "api_fault", {"fault": {"kind": "error_after_commit", "times": 4}}),),
)
"""`resend` before an API that does not honour Idempotency-Key: what nobody may do."""

Run = Callable[[Options], Result]


@pytest.fixture(scope="module")
def struck(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run once what is asked for, and print how to run it once more."""
    found: dict[int, Result] = {}

    def once(options: Options) -> Result:
        if options.seed not in found:
            print(command(options))
            found[options.seed] = run(options, tmp_path_factory.mktemp("chaos"), tell=print)
        return found[options.seed]

    return once


def test_every_signal_has_one_effect(struck: Run) -> None:
    """Under `resend`, whatever strikes, each of 2,000 signals has exactly one effect, and nothing else has one."""
    result = struck(RESEND)
    assert result.verdict.good, failure(result)
    assert result.verdict.distinct == result.verdict.due == 2_000


def test_the_run_was_what_it_claims_to_be(struck: Run) -> None:
    """Every kind of fault was in the schedule, nearly all of them were done, and processes were started again."""
    result = struck(RESEND)
    assert {one.fault.kind for one in result.struck} == set(WEIGHTS)
    assert sum(one.done for one in result.struck) > 0.8 * len(result.schedule)
    assert result.restarts.keys() & {"worker1", "worker2", "worker3"}
    assert result.restarts.keys() >= {"engine", "api"}
    assert any(post.decision and post.decision.fault for post in result.posts)


def test_no_signal_is_posted_twice_and_each_says_why(struck: Run) -> None:
    """Under `hold`, before a plain API and with a store that forgets, each signal is in one POST at most, and what has
    no effect is held with its reason.
    """
    result = struck(HOLD)
    assert result.verdict.good, failure(result)
    assert result.verdict.distinct + len(result.verdict.held) == result.verdict.due


def test_the_store_did_forget(struck: Run) -> None:
    """That run had a FLUSHALL in it, after which signals were held that may have been posted before."""
    result = struck(HOLD)
    assert set(FORGETTING) <= {one.fault.kind for one in result.struck if one.done}
    assert result.verdict.held


def test_the_judge_sees_real_doubles(struck: Run) -> None:
    """Under `resend` before a plain API a lost answer doubles the effect, and the run says so, with its traces."""
    result = struck(MISTAKEN)
    assert len(result.verdict.twice) == 4
    assert not result.verdict.good
    told = failure(result)
    assert f"seed {MISTAKEN.seed}" in told
    assert told.count("POST ") >= 8
