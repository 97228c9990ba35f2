"""Once, in real workers: chains, chords, redelivery, outages, kills."""

from __future__ import annotations

import time
from typing import Any

import pytest
from celery import chain, chord
from celery.result import AsyncResult

from dedup.records import State
from tests.celery_tasks.workshop import Workshop, fresh


def ended_with(result: AsyncResult[Any]) -> str:
    """The class of the error that a result ended with."""
    return type(result.result).__name__


@pytest.mark.parametrize(("rule", "handed_on"), [("once", "the first result"), ("skip", "None")])
def test_duplicate_does_not_break_a_chain(shop: Workshop, rule: str, handed_on: str) -> None:
    """A duplicate in a chain hands on what it ends with, and the chain goes on."""
    name = fresh("chained")
    step, after = shop.task(rule), shop.app.signature("shop.plain")
    first = chain(step.s(name), after).apply_async().get(timeout=60)
    assert first["name"] == name
    second = chain(step.s(name), after).apply_async().get(timeout=60)
    assert second == (first if handed_on == "the first result" else None)
    assert len(shop.runs(name)) == 1


def test_duplicates_do_not_break_a_chord(shop: Workshop) -> None:
    """Duplicates in a chord, done or waiting, count as their first one does: its body is called once, with all."""
    one, other = fresh("chord"), fresh("chord")
    step = shop.task("once")
    header = [step.s(one, "hold"), step.s(other), step.s(one, "hold"), step.s(other), step.s(one, "hold")]
    result = chord(header)(shop.app.signature("shop.gather"))
    shop.until_runs(one, 1)
    shop.tell(one, "return")
    results = result.get(timeout=60)
    assert [each["name"] for each in results] == [one, other, one, other, one]
    assert (len(shop.runs(one)), len(shop.runs(other))) == (1, 1)
    assert shop.plain().count(results) == 1


def test_failure_in_a_chord_still_fails_it(shop: Workshop) -> None:
    """A failing task of a chord fails the chord, as any other does."""
    name, other = fresh("chord"), fresh("chord")
    step = shop.task("once")
    result = chord([step.s(name, "fail"), step.s(other)])(shop.app.signature("shop.gather"))
    shop.until_state(result, "FAILURE")


def test_message_delivered_again_after_its_end_changes_nothing(shop: Workshop) -> None:
    """A message that comes again after its result is stored is dropped: the chain behind it does not go on twice."""
    name, task_id = fresh("again"), fresh("id")
    behind = shop.app.signature("shop.plain", (name,), immutable=True)
    shop.send("once", name, task_id=task_id, link=behind).get(timeout=60)
    for _ in range(2):
        shop.send("once", name, task_id=task_id, link=behind)
    fence = shop.send("once", fresh("fence"))
    fence.get(timeout=60)
    shop.until(lambda: not shop.waiting(), "the queue to be empty")
    assert len(shop.runs(name)) == 1
    assert shop.plain().count(name) == 1
    assert shop.app.AsyncResult(task_id).get()["run"] == 1


def test_message_whose_worker_died_before_the_chain_went_on_hands_its_result_on(shop: Workshop) -> None:
    """Work that is done, but whose result never got out, is not done again: its first result goes down the chain."""
    name, task_id = fresh("cut"), fresh("id")
    first = shop.send("once", name, task_id=task_id).get(timeout=60)
    shop.app.AsyncResult(task_id).forget()
    behind = shop.app.signature("shop.plain")
    shop.send("once", name, task_id=task_id, link=behind)
    shop.until(lambda: first in shop.plain(), "the chain to go on")
    assert len(shop.runs(name)) == 1


def test_result_that_was_not_kept_is_not_made_up_for_a_chain(shop: Workshop) -> None:
    """Where that result was not kept the chain fails with the reason; it is not continued with None."""
    name, task_id = fresh("cut"), fresh("id")
    shop.send("unkept", name, task_id=task_id).get(timeout=60)
    shop.app.AsyncResult(task_id).forget()
    result = shop.send("unkept", name, task_id=task_id, link=shop.app.signature("shop.plain"))
    shop.until_state(result, "FAILURE")
    assert ended_with(result) == "TaskDuplicate"
    assert "max_result_bytes" in str(result.result)


def test_message_that_is_restored_while_it_runs_runs_once(shop: Workshop) -> None:
    """A task that outlasts the visibility timeout is delivered again: that delivery waits, and does nothing."""
    name = fresh("long")
    behind = shop.app.signature("shop.plain", (name,), immutable=True)
    result = shop.send("once", name, "hold", link=behind)
    shop.until_runs(name, 1)
    shop.until(lambda: f"shop.once[{result.id}] retry: " in shop.logs(), "the message to be delivered again")
    shop.tell(name, "return")
    assert result.get(timeout=60)["run"] == 1
    shop.until(lambda: not shop.waiting(), "the queue to be empty")
    assert len(shop.runs(name)) == 1
    assert shop.plain().count(name) == 1
    assert result.state == "SUCCESS"


def test_waiting_uses_up_no_retries(shop: Workshop) -> None:
    """A delivery that waits for a busy one may wait more often than the task has retries, and loses nothing."""
    name = fresh("patient")
    first = shop.send("once", name, "hold")
    shop.until_runs(name, 1)
    second = shop.send("once", name)
    shop.until(lambda: shop.logs().count(f"shop.once[{second.id}] retry: ") >= 5, "five waits")
    shop.tell(name, "return")
    assert second.get(timeout=60) == first.get(timeout=60)
    assert len(shop.runs(name)) == 1


def test_waiting_delivery_does_the_work_where_the_first_fails(shop: Workshop) -> None:
    """A duplicate that waited takes over where the first one fails: the work is not lost with it."""
    name = fresh("heir")
    first = shop.send("once", name, "hold")
    shop.until_runs(name, 1)
    second = shop.send("once", name)
    shop.until(lambda: f"shop.once[{second.id}] retry: " in shop.logs(), "the second one to wait")
    shop.tell(name, "fail")
    assert second.get(timeout=60)["run"] == 2
    assert first.state == "FAILURE"


def test_call_of_itself_in_a_worker_keeps_its_request(shop: Workshop) -> None:
    """A task that calls itself as a function sees its own request before and after, and none within."""
    result = shop.send("once", fresh("nested"), "nest")
    assert result.get(timeout=60) == [result.id, None, result.id]


def test_replaced_task_is_done(shop: Workshop) -> None:
    """A task that puts another in its place is done with it: a duplicate does not start the other one again."""
    name = fresh("replaced")
    assert shop.send("once", name, "replace").get(timeout=60) == f"{name}-instead"
    record = shop.record("once", name)
    assert record is not None
    assert record.outcome == "replaced"
    assert shop.send("once", name, "replace").get(timeout=60) is None
    assert shop.plain().count(f"{name}-instead") == 1


def test_killed_effect_is_held_until_somebody_knows(shop: Workshop) -> None:
    """An effect whose process is killed is not had again: its message ends as an error, and a person settles it."""
    name = fresh("payment")
    result = shop.send("pay", name, "hold")
    shop.until_runs(name, 1)
    shop.kill_child(name)
    shop.until_state(result, "FAILURE")
    assert ended_with(result) == "TaskHeld"
    assert "SIGKILL" in str(result.result)
    record = shop.record("pay", name)
    assert record is not None
    assert (record.state, record.held) == (State.UNKNOWN, True)
    assert shop.task("pay").once_done((name,), result="paid") is True
    assert shop.send("pay", name).get(timeout=60) == "paid"
    assert len(shop.runs(name)) == 1


def test_killed_effect_that_can_be_resumed_goes_on(shop: Workshop) -> None:
    """With `resume` the message goes on after the kill, and its task knows that it is in doubt."""
    name = fresh("payment")
    result = shop.send("resume", name, "hold")
    shop.until_runs(name, 1)
    shop.kill_child(name)
    shop.until_runs(name, 2)
    shop.tell(name, "return")
    assert result.get(timeout=60)["run"] == 2
    assert [(run["attempt"], run["in_doubt"]) for run in shop.runs(name)] == [(1, False), (2, True)]


@pytest.mark.parametrize("how", ["die", "exit"])
def test_deadly_task_is_given_up(shop: Workshop, how: str) -> None:
    """A message that kills its process each time does not do so for ever: it ends as an error after `max_failures`."""
    name = fresh("deadly")
    result = shop.send("deadly", name, how)
    shop.until_state(result, "FAILURE")
    assert ended_with(result) == "TaskGivenUp"
    assert len(shop.runs(name)) == 1


def test_message_that_was_acknowledged_early_leaves_no_lock(shop: Workshop) -> None:
    """With early acknowledgement a killed task is lost, as that asks for; its key is free for the next one."""
    name = fresh("early")
    result = shop.send("early", name, "hold")
    shop.until_runs(name, 1)
    shop.kill_child(name)
    shop.until_state(result, "FAILURE")
    assert ended_with(result) == "WorkerLostError"
    assert shop.send("early", name).get(timeout=60)["run"] == 2


def test_skipping_delivery_waits_where_it_may_be_the_work_itself(shop: Workshop) -> None:
    """With `on_busy="skip"` a message that the broker delivers again waits all the same: its worker may have died."""
    name = fresh("skipping")
    result = shop.send("skip", name, "hold")
    shop.until_runs(name, 1)
    assert shop.send("skip", name).get(timeout=60) is None
    shop.until(lambda: f"shop.skip[{result.id}] retry: " in shop.logs(), "the message to be delivered again")
    shop.tell(name, "return")
    assert result.get(timeout=60)["run"] == 1
    assert len(shop.runs(name)) == 1


def test_outage_of_the_store(own_shop: Workshop) -> None:
    """While the store is away nothing runs unclaimed unless its rules say so, and nothing is lost."""
    waits, reckless, strict = fresh("waits"), fresh("reckless"), fresh("strict")
    own_shop.worker()
    own_shop.store.kill()
    waiting = own_shop.send("once", waits)
    assert own_shop.send("reckless", reckless).get(timeout=60)["run"] == 1
    refused = own_shop.send("strict", strict)
    own_shop.until_state(refused, "FAILURE")
    assert ended_with(refused) == "StoreUnavailable"
    own_shop.until_state(waiting, "RETRY")
    assert own_shop.runs(waits) == own_shop.runs(strict) == []
    own_shop.store.start()
    assert waiting.get(timeout=60)["run"] == 1
    assert len(own_shop.runs(waits)) == 1


def test_worker_that_is_told_to_stop_at_once_gives_its_claims_back(own_shop: Workshop) -> None:
    """After a cold shutdown the message is worked by the next worker at once: no lease of an hour is sat out."""
    name = fresh("stopped")
    stopped = own_shop.worker("stopped", processes=1)
    result = own_shop.send("once", name, "hold")
    own_shop.until_runs(name, 1)
    stopped.kill("SIGQUIT")
    stopped.wait()
    record = own_shop.record("once", name)
    assert record is not None
    assert record.state is State.RELEASED
    own_shop.worker("heir", processes=1)
    own_shop.until_runs(name, 2)
    own_shop.tell(name, "return")
    assert result.get(timeout=60)["run"] == 2


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_other_pools(own_shop: Workshop, pool: str) -> None:
    """Threads, and a worker without a pool, claim, wait and remember as processes do."""
    name, task_id = fresh(pool), fresh("id")
    own_shop.worker(pool=pool)
    if pool == "threads":
        first = own_shop.send("once", name, "hold")
        own_shop.until_runs(name, 1)
        second = own_shop.send("once", name)
        own_shop.until_state(second, "RETRY")
        own_shop.tell(name, "return")
        assert first.get(timeout=60) == second.get(timeout=60)
    own_shop.send("once", name, task_id=task_id).get(timeout=60)
    own_shop.send("once", name, "fail").get(timeout=60)
    retried = own_shop.send("auto", fresh(pool), "break")
    assert retried.get(timeout=60)["run"] == 3
    assert len(own_shop.runs(name)) == 1


def test_nothing_waits_longer_than_it_must(shop: Workshop) -> None:
    """A free key costs a delivery nothing: ten pieces of work are done without one coming back."""
    names = [fresh("free") for _ in range(10)]
    results = [shop.send("once", name) for name in names]
    assert [result.get(timeout=60)["run"] for result in results] == [1] * 10
    time.sleep(0)
    assert not any(f"[{result.id}] retry: " in shop.logs() for result in results)
