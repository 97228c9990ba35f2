"""What users of celery-once and celery-singleton complain about, issue by issue: here it cannot happen.

Real workers, real kills. The issues are at github.com/cameronmaske/celery-once and
github.com/steinitzu/celery-singleton.
"""

from __future__ import annotations

import pytest

from dedup.records import State
from tests.celery_tasks.workshop import Workshop, fresh


@pytest.mark.parametrize(("rule", "then"), [("once", "retry"), ("auto", "break")], ids=["self.retry", "autoretry_for"])
def test_celery_singleton_20_retries_are_not_dropped(shop: Workshop, rule: str, then: str) -> None:
    """A retried task is no duplicate of itself: it runs until it succeeds, and a further delivery then runs nothing."""
    name = fresh("retried")
    result = shop.send(rule, name, then)
    assert result.get(timeout=60)["run"] == 3
    runs = shop.runs(name)
    assert [run["id"] for run in runs] == [result.id] * 3
    assert [run["attempt"] for run in runs] == [1, 2, 3]
    assert shop.send(rule, name, then).get(timeout=60)["run"] == 3
    assert len(shop.runs(name)) == 3


def test_celery_singleton_40_hard_time_limit_leaves_no_lock(shop: Workshop) -> None:
    """A task that is killed by its time limit leaves its key free, long before its lease of a minute is over."""
    name = fresh("limited")
    shop.until_state(shop.send("limited", name, "hold"), "FAILURE")
    assert shop.send("limited", name).get(timeout=60)["run"] == 2


def test_celery_singleton_40_hard_time_limit_of_a_stubborn_task_leaves_no_lock(shop: Workshop) -> None:
    """One that does not let itself be asked to go, and is killed, leaves its key free when its short lease is over."""
    name = fresh("stubborn")
    shop.until_state(shop.send("stubborn", name, "hold_on"), "FAILURE")
    assert shop.send("stubborn", name).get(timeout=60)["run"] == 2


def test_celery_singleton_40_soft_time_limit_leaves_no_lock(shop: Workshop) -> None:
    """A soft time limit is an error like any other: the key is free at once."""
    name = fresh("soft")
    shop.until_state(shop.send("soft", name, "hold"), "FAILURE")
    assert shop.send("soft", name).get(timeout=60)["run"] == 2


def test_celery_singleton_29_revoked_before_it_ran_leaves_no_lock(shop: Workshop) -> None:
    """A message that is revoked in the queue never claimed anything: the next one runs."""
    name = fresh("revoked")
    result = shop.send("once", name, countdown=2)
    result.revoke()
    shop.until_state(result, "REVOKED")
    assert shop.record("once", name) is None
    assert shop.send("once", name).get(timeout=60)["run"] == 1


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_celery_singleton_29_revoked_while_it_ran_leaves_no_lock(shop: Workshop, how: str) -> None:
    """A task that is terminated gives its claim back, or its worker does for it: the next one runs at once."""
    name = fresh("terminated")
    result = shop.send("once", name, "hold")
    shop.until_runs(name, 1)
    result.revoke(terminate=True, signal=how)
    shop.until_state(result, "REVOKED")
    shop.until(lambda: shop.record("once", name).state is State.RELEASED, "the claim to be given back")  # type: ignore[union-attr]
    again = shop.send("once", name).get(timeout=60)
    assert again["run"] == 2
    record = shop.record("once", name)
    assert record is not None
    assert record.failures == 0


def test_celery_once_147_killed_process_leaves_no_lock(shop: Workshop) -> None:
    """When the process under a task is killed, the claim goes with it: the message comes back and runs at once."""
    name = fresh("killed")
    result = shop.send("once", name, "hold")
    shop.until_runs(name, 1)
    shop.kill_child(name)
    shop.until_runs(name, 2)
    shop.tell(name, "return")
    assert result.get(timeout=60)["run"] == 2
    assert [run["attempt"] for run in shop.runs(name)] == [1, 2]


def test_celery_once_147_killed_worker_leaves_no_lock(own_shop: Workshop) -> None:
    """When a whole worker is killed, the message comes back, waits until the lease is over, and is worked: not lost."""
    name = fresh("killed")
    doomed = own_shop.worker("doomed")
    result = own_shop.send("leased", name, "hold")
    own_shop.until_runs(name, 1)
    doomed.kill()
    own_shop.worker("heir")
    second = own_shop.send("leased", name, "hold")
    own_shop.until_runs(name, 2)
    own_shop.tell(name, "return")
    assert result.get(timeout=60) == second.get(timeout=60)
    assert [run["attempt"] for run in own_shop.runs(name)] == [1, 2]


def test_celery_once_110_failed_task_runs_again_when_it_is_sent_again(shop: Workshop) -> None:
    """A task that has failed is not locked out: whoever sends it again sees it run."""
    name = fresh("failed")
    shop.until_state(shop.send("once", name, "fail"), "FAILURE")
    for run in (2, 3):
        shop.until_state(shop.send("once", name, "fail"), "FAILURE")
        assert len(shop.runs(name)) == run
    assert shop.send("once", name).get(timeout=60)["run"] == 4


def test_celery_once_110_what_does_not_run_says_so(shop: Workshop) -> None:
    """A delivery that is not run can end as an error that names the key and who did the work."""
    name = fresh("said")
    first = shop.send("raise", name, "hold")
    shop.until_runs(name, 1)
    busy = shop.send("raise", name)
    shop.until_state(busy, "FAILURE")
    shop.tell(name, "return")
    first.get(timeout=60)
    done = shop.send("raise", name)
    shop.until_state(done, "FAILURE")
    assert type(busy.result).__name__ == "TaskBusy"
    assert type(done.result).__name__ == "TaskDuplicate"
    assert name in str(busy.result)
    assert first.id in str(done.result)
    assert len(shop.runs(name)) == 1


def test_celery_once_101_nobody_clears_the_lock_of_another(shop: Workshop) -> None:
    """A task that overran its lease and fails late does not give away the claim of the one that took over."""
    name = fresh("overrun")
    late = shop.send("leased", name, "hold")
    shop.until_runs(name, 1)
    heir = shop.send("leased", name, "hold")
    shop.until_runs(name, 2)
    shop.tell(name, "fail")
    shop.until_state(late, "FAILURE")
    record = shop.record("leased", name)
    assert record is not None
    assert (record.state, record.attempt) == (State.CLAIMED, 2)
    shop.tell(name, "return")
    assert heir.get(timeout=60)["run"] == 2
    assert len(shop.runs(name)) == 2


def test_celery_once_101_copies_decay_to_one(shop: Workshop) -> None:
    """Of many copies of a task one runs; those that are skipped clear no lock, so no second one comes up beside it."""
    name = fresh("copies")
    first = shop.send("mutex", name, "hold")
    shop.until_runs(name, 1)
    copies = [shop.send("mutex", name, "hold") for _ in range(10)]
    assert [copy.get(timeout=60) for copy in copies] == [None] * 10
    assert len(shop.runs(name)) == 1
    shop.tell(name, "return")
    first.get(timeout=60)
    assert shop.send("mutex", name).get(timeout=60)["run"] == 2


def test_celery_once_113_beat_does_not_bypass_it(own_shop: Workshop) -> None:
    """A beat sends by name, without the task's class: however often it does, the work is done once."""
    name = fresh("beaten")
    own_shop.worker(processes=1)
    own_shop.beat({"often": {"task": "shop.once", "schedule": 0.1, "args": [name]}})
    sent = "Sending due task often"
    own_shop.until(lambda: own_shop.processes[1].logs().count(sent) >= 5, "five ticks")
    own_shop.until(lambda: own_shop.processes[0].logs().count("succeeded in") >= 5, "five deliveries")
    assert len(own_shop.runs(name)) == 1


def test_celery_once_43_done_is_remembered(shop: Workshop) -> None:
    """The record is not deleted with the end of the work: a later delivery runs nothing, and has the first result."""
    name = fresh("remembered")
    first = shop.send("once", name).get(timeout=60)
    record = shop.record("once", name)
    assert record is not None
    assert (record.state, record.outcome) == (State.DONE, "done")
    assert [shop.send("once", name).get(timeout=60) for _ in range(3)] == [first] * 3
    assert len(shop.runs(name)) == 1
