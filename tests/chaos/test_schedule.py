"""The schedule of a run: drawn from a seed, printed, replayed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.schedule import FORGETTING, WEIGHTS, Fault, draw, dumps, head, loads

HUNDRED_S = draw(7, duration_s=100, gap_s=1.0)


def test_seed_tells_all() -> None:
    """The same seed gives the same schedule, another one another."""
    assert draw(7, 100, 1.0) == HUNDRED_S
    assert draw(8, 100, 1.0) != HUNDRED_S


def test_faults_come_in_order_and_in_time() -> None:
    """Faults stand in the order of their times, the last one before the end."""
    assert all(before.at_s <= after.at_s for before, after in pairwise(HUNDRED_S))
    assert HUNDRED_S[0].at_s > 0
    assert HUNDRED_S[-1].at_s < 100


def test_gap_is_kept_on_average() -> None:
    """In a long schedule the mean time between faults is what was asked for, within a tenth."""
    assert len(draw(1, duration_s=10_000, gap_s=2.0)) == pytest.approx(5_000, rel=0.1)


def test_no_kind_is_missed() -> None:
    """As many faults as the deck holds are each kind as often as its weight says."""
    deck = sum(WEIGHTS.values())
    assert Counter(fault.kind for fault in draw(3, 10_000, 1.0)[:deck]) == Counter(WEIGHTS)


def test_forgetting_is_asked_for() -> None:
    """FLUSHALL is in no schedule but one whose deck holds it."""
    assert not {fault.kind for fault in draw(3, 1_000, 1.0)} & set(FORGETTING)
    assert "flush_all" in {fault.kind for fault in draw(3, 1_000, 1.0, {**WEIGHTS, **FORGETTING})}


def test_every_kind_can_be_done() -> None:
    """Every kind that is drawn is one that is known how to do."""
    assert set(FAULTS) == {*WEIGHTS, *FORGETTING}


def test_schedule_is_replayed_from_its_text() -> None:
    """What is printed is read back as it was."""
    assert loads(dumps(HUNDRED_S)) == HUNDRED_S


def test_schedule_by_hand_is_put_in_order() -> None:
    """A schedule that a person wrote need not be in order."""
    assert [fault.at_s for fault in loads(dumps([Fault(5.0, "script_flush"), Fault(1.0, "double_sweep")]))] == [
        1.0,
        5.0,
    ]


@pytest.mark.parametrize("text", ['[{"at_s": 1, "kind": "earthquake"}]', '[{"when": 1}]', "[1]", "no JSON"])
def test_what_is_no_schedule_is_refused(text: str) -> None:
    """An unknown fault, an unknown field and what is no schedule at all are refused."""
    with pytest.raises(ValueError, match=r"fault|schedule|Expecting"):
        loads(text)


def test_a_long_schedule_is_told_by_its_head() -> None:
    """Of a long schedule the first faults are shown, and how many more there are."""
    lines = head(HUNDRED_S, 3).splitlines()
    assert len(lines) == 4
    assert HUNDRED_S[0].kind in lines[0]
    assert f"{len(HUNDRED_S) - 3} more" in lines[-1]
