"""The judge and its stopwatch: they see what is planted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.chaos.judge import Arrived, Due, Fate, Name, Policy, Verdict, judge
from tests.chaos.market import Market
from tests.chaos.recovery import effects_at, recoveries_s, spread_of, waits_s

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
MARKET = Market(instruments=3, strategies=2, closes=4, close_every_s=10, opens_at=NOON)
DUE = MARKET.expected()
NAMES = list(DUE)
FIRST, SECOND = NAMES[0], NAMES[1]


def after(seconds: float) -> datetime:
    """A moment after the first close."""
    return NOON + timedelta(seconds=seconds)


def post(name: Name | None, effect: bool = True, refused: bool = False, key: str = "k", at_s: float = 1.0) -> Arrived:
    """A POST at the API."""
    return Arrived(name, key, after(at_s), effect, refused)


def verdict_of(
    *more: Arrived, without: tuple[Name, ...] = (), fate: Fate | None = None, policy: Policy = "resend"
) -> Verdict:
    """The verdict where everything was posted once, but for what is planted."""
    posts = [post(name) for name in NAMES if name not in without]
    fates = {name: (fate or Fate()) if name in without else Fate("posted", "201 Created") for name in NAMES}
    return judge(DUE, [*posts, *more], fates, policy)


def test_all_posted_once_is_good() -> None:
    """A run in which every signal has one effect keeps the promise, and is counted."""
    verdict = verdict_of()
    assert verdict.good
    assert (verdict.due, verdict.posts, verdict.distinct) == (24, 24, 24)


@pytest.mark.parametrize("policy", ["resend", "hold"])
def test_planted_double_is_found(policy: Policy) -> None:
    """A second effect of a signal is found, whatever the policy."""
    verdict = verdict_of(post(SECOND), policy=policy)
    assert verdict.twice == verdict.offending == (SECOND,)
    assert not verdict.good


def test_double_under_another_key_is_found() -> None:
    """A second effect is found even where it came under an id of its own."""
    assert verdict_of(post(SECOND, key="another")).twice == (SECOND,)


@pytest.mark.parametrize("policy", ["resend", "hold"])
def test_planted_loss_is_found(policy: Policy) -> None:
    """A signal without an effect, of which the store says nothing, is lost."""
    verdict = verdict_of(without=(FIRST,), policy=policy)
    assert verdict.lost == (FIRST,)
    assert not verdict.good


@pytest.mark.parametrize("outcome", ["held", "rejected", "expired"])
def test_resend_leaves_no_way_out(outcome: str) -> None:
    """Under `resend` a signal that was held, rejected or let expire is lost."""
    assert verdict_of(without=(FIRST,), fate=Fate(outcome, "why")).lost == (FIRST,)


@pytest.mark.parametrize("outcome", ["held", "rejected", "expired"])
def test_hold_accepts_an_end_with_a_reason(outcome: str) -> None:
    """Under `hold` a signal may be held, rejected or expired, and is counted as that."""
    verdict = verdict_of(without=(FIRST,), fate=Fate(outcome, "why"), policy="hold")
    assert verdict.good
    assert getattr(verdict, outcome) == (FIRST,)


def test_an_end_without_a_reason_is_a_loss() -> None:
    """What the store does not explain is lost."""
    assert verdict_of(without=(FIRST,), fate=Fate("held", ""), policy="hold").lost == (FIRST,)


@pytest.mark.parametrize("policy", ["resend", "hold"])
def test_claim_of_a_post_that_never_was_is_found(policy: Policy) -> None:
    """POSTED in the store without an effect at the API is a contradiction, and a loss."""
    verdict = verdict_of(without=(FIRST,), fate=Fate("posted", "201 Created"), policy=policy)
    assert verdict.contradicted == verdict.lost == (FIRST,)


def test_hold_allows_one_post_whatever_came_of_it() -> None:
    """Under `hold` a second POST is one too many even without an effect; under `resend` it is what is promised."""
    repeated = post(SECOND, effect=False)
    assert verdict_of(repeated, policy="hold").twice == (SECOND,)
    assert verdict_of(repeated, policy="resend").good


def test_hold_may_post_again_what_was_refused() -> None:
    """A POST to which the API said that it did nothing is none."""
    verdict = verdict_of(post(SECOND, effect=False, refused=True), policy="hold")
    assert verdict.good
    assert verdict.refused == 1


@pytest.mark.parametrize("name", [None, Name("s9", *FIRST[1:])])
def test_effect_that_nobody_asked_for_is_found(name: Name | None) -> None:
    """An effect of a signal that was not due, or of what is no signal, is found."""
    verdict = verdict_of(post(name))
    assert len(verdict.unasked) == 1
    assert not verdict.good


def test_torn_post_without_effect_is_no_offence() -> None:
    """A POST whose body did not arrive whole and had no effect is only counted."""
    verdict = verdict_of(post(None, effect=False), policy="hold")
    assert verdict.good
    assert verdict.posts == 25


def test_market_asks_for_every_candle_of_every_entry() -> None:
    """What is due is the product of instruments, strategies and closes, each at its own close."""
    assert len(DUE) == MARKET.signals == 3 * 2 * 4
    assert {due.close_at for due in DUE.values()} == {after(seconds) for seconds in (0, 10, 20, 30)}


def test_waits_count_from_the_close_to_the_first_effect() -> None:
    """From a signal's close to its first effect; what had none has no wait."""
    effects = effects_at([post(FIRST, at_s=7), post(FIRST, at_s=3), post(SECOND, effect=False)])
    assert waits_s(DUE, effects) == [3.0]


def test_recovery_lasts_until_all_that_was_due_is_posted() -> None:
    """From a fault's beginning until the last signal due by its end has its effect; what closes later is left out."""
    due = {FIRST: Due(after(0)), SECOND: Due(after(10)), NAMES[2]: Due(after(20))}
    effects = {FIRST: after(1), SECOND: after(18), NAMES[2]: after(40)}
    spans = [(after(5), after(5)), (after(5), after(12)), (after(15), after(25))]
    assert recoveries_s(due, effects, spans) == [0.0, 13.0, 25.0]


def test_recovery_from_a_fault_before_all_closes_is_none() -> None:
    """A fault before the first close delays nothing."""
    assert recoveries_s({FIRST: Due(after(10))}, {FIRST: after(11)}, [(after(0), after(1))]) == [0.0]


def test_spread_names_given_durations() -> None:
    """Median, 99th percentile and maximum are durations that were measured, by the nearest rank."""
    spread = spread_of(range(1, 201))
    assert (spread.count, spread.p50, spread.p99, spread.longest) == (200, 100, 198, 200)
    assert str(spread_of([])) == "-"
