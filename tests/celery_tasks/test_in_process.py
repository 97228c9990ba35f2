"""What becomes of a delivery, in this process: `apply` runs the task as a worker does, and memory keeps the records."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, Signature
from celery.app.task import Context
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from kombu.exceptions import OperationalError

from dedup import MemoryStore, StoreUnavailable, close_caches, configure
from dedup.celery import Once, OnceTask, TaskBusy, TaskDuplicate, TaskGivenUp, TaskHeld
from dedup.celery.delivery import TOKEN, token_of
from dedup.celery.request import OnceRequest
from dedup.errors import InvalidSetting
from dedup.ops import Claim
from dedup.records import State
from tests.engines import Engine

Make = Callable[..., Any]


class Failing(MemoryStore):
    """A store that is away for some operations: for all, or for those of a name."""

    def __init__(self, away: str) -> None:
        super().__init__()
        self.away = away
        self.tried = 0
        self.asked: list[str] = []

    def run(self, op: Any) -> Any:
        self.asked.append(op.script)
        if self.away in ("", op.script):
            self.tried += 1
            raise StoreUnavailable("away")
        return super().run(op)


@pytest.fixture
def app() -> Iterator[Celery]:
    """An app that never connects."""
    with Celery("here", set_as_current=False, broker="memory://", backend="cache+memory://") as found:
        # All apps of a process share the broker in memory.
        found.conf.task_default_queue = uuid4().hex
        yield found


@pytest.fixture
def make(app: Celery) -> Make:
    """Make a task of a function of one argument."""

    def task(function: Callable[..., Any], store: MemoryStore | None = None, **options: Any) -> Any:
        once = Once(**options.pop("rules", {}))
        # Celery makes a function of this name, so that of a lambda will not do.
        function.__name__ = "work"
        # An empty store is false.
        more = {
            "store": MemoryStore() if store is None else store,
            "key_prefix": "",
            "once": once,
            "shared": False,
            **options,
        }
        return app.task(base=OnceTask, name="work", **more)(function)

    return task


def claimed_elsewhere(task: Any, lease_ms: int = 60_000, effect: bool = False) -> None:
    """Another delivery has claimed the work of the argument 1."""
    task.store.run(Claim(task.once_key((1,)), "other", lease_ms, 120_000, effect=effect))


def state(task: Any) -> State | None:
    """Where the work of the argument 1 stands."""
    record = task.once_record((1,))
    return record.state if record else None


def test_result_of_the_first_is_that_of_the_duplicate(make: Make) -> None:
    """A duplicate ends with the first one's result, of whatever JSON or Celery's own JSON it is made."""
    results = iter([{"total": 17, "lines": [1, 2], "more": None}, "never"])
    task = make(lambda order: next(results))
    first = task.apply((1,)).get()
    assert task.apply((1,)).get() == first == {"total": 17, "lines": [1, 2], "more": None}


@pytest.mark.parametrize("result", [None, [], {}, 0, "", False, 1.5, "✓", {"a": []}])
def test_results_are_returned_as_they_are(make: Make, result: Any) -> None:
    """Small and empty results come back as themselves."""
    task = make(lambda order: result)
    assert [task.apply((1,)).get(), task.apply((1,)).get()] == [result, result]


@pytest.mark.parametrize("result", [object(), "x" * 2000, float("nan"), {1, 2}])
def test_result_that_cannot_be_kept_is_none_for_the_duplicate(make: Make, result: Any) -> None:
    """A result that is no JSON, or too large, is the first one's alone: the work counts as done all the same."""
    task = make(lambda order: result, rules={"max_result_bytes": 1000})
    assert task.apply((1,)).get() is result
    assert task.apply((1,)).get() is None
    assert state(task) is State.DONE


def test_duplicate_can_end_with_none(make: Make) -> None:
    """Skipped duplicates are a success without a result."""
    task = make(lambda order: "shipped", rules={"on_duplicate": "skip"})
    assert [task.apply((1,)).get(), task.apply((1,)).get()] == ["shipped", None]


def test_duplicate_can_be_an_error(make: Make) -> None:
    """An error for a duplicate names the key and who did the work."""
    task = make(lambda order: "shipped", rules={"on_duplicate": "raise"})
    task.apply((1,), task_id="the-first")
    with pytest.raises(TaskDuplicate, match=r"task:work:order=1: .*the-first"):
        task.apply((1,)).get()


def test_same_message_ends_as_it_ended(make: Make) -> None:
    """A message that is delivered again ends with its own result, whatever the rules say of duplicates."""
    task = make(lambda order: "shipped", rules={"on_duplicate": "raise"})
    assert [task.apply((1,), task_id="one").get() for _ in range(3)] == ["shipped"] * 3


def test_duplicates_are_logged(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """No duplicate is silent: the log names the key, and who did the work."""
    caplog.set_level(logging.INFO, "dedup.celery")
    task = make(lambda order: None)
    for name in ("first", "second"):
        task.apply((1,), task_id=name)
    assert "task:work:order=1: duplicate of first, which ended done" in caplog.text


def test_other_arguments_are_other_work(make: Make) -> None:
    """Work with another key is not a duplicate."""
    task = make(lambda order, note="": order, rules={"key": "{order}"})
    assert [task.apply((n, note)).get() for n, note in [(1, "a"), (1, "b"), (2, "a")]] == [1, 1, 2]
    assert task.once_record((1, "whatever")).attempt == 1


def test_direct_call_claims_nothing(make: Make) -> None:
    """A call of the task as a function is one, as often as it is called."""
    task = make(lambda order: order * 2)
    assert [task(1), task(1)] == [2, 2]
    assert state(task) is None


def test_call_within_its_own_delivery_claims_nothing(make: Make) -> None:
    """A task that calls itself as a function is not in its own way, and keeps its request."""
    seen: list[Any] = []

    def work(self: Any, order: int, deep: bool = False) -> Any:
        seen.append((self.request.id, self.once_claim is not None))
        return self.request.id if deep else [self(order, deep=True), self.request.id]

    task = make(work, bind=True, rules={"key": "{order}"})
    assert task.apply((1,), task_id="outer").get() == [None, "outer"]
    assert seen == [("outer", True), (None, False)]


def test_claim_is_there_for_the_task(make: Make) -> None:
    """A running task sees its key and attempt: what an API needs to recognise a repetition."""
    task = make(lambda self, order: self.once_claim, bind=True)
    claim = task.apply((1,)).get()
    assert (claim.key, claim.attempt, claim.in_doubt) == ("task:work:order=1", 1, False)
    assert task.once_claim is None


@pytest.mark.parametrize(
    "error", [ValueError("no"), SoftTimeLimitExceeded(), Reject("no", requeue=True), Ignore(), SystemExit(3)]
)
def test_whatever_ends_the_work_frees_its_key(make: Make, error: BaseException) -> None:
    """However a task ends without its work done, the next delivery runs."""
    outcomes = iter([error, "shipped"])

    def work(order: int) -> Any:
        outcome = next(outcomes)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    task = make(work)
    try:
        task.apply((1,))
    except SystemExit:
        assert isinstance(error, SystemExit)
    assert state(task) is State.RELEASED
    assert task.apply((1,)).get() == "shipped"


def test_failures_do_not_lock_out(make: Make) -> None:
    """An error that the task raises does not count towards giving up, however often it comes."""

    def work(order: int) -> None:
        raise ValueError

    task = make(work, rules={"max_failures": 1})
    for attempt in range(1, 8):
        with pytest.raises(ValueError):
            task.apply((1,)).get()
        assert task.once_record((1,)).attempt == attempt


def test_exits_are_given_up(make: Make) -> None:
    """A task that takes its process along is given up after `max_failures`, loudly, until somebody forgets it."""
    runs = []

    def work(order: int) -> None:
        runs.append(order)
        raise SystemExit(1)

    task = make(work, rules={"max_failures": 2})
    for _ in range(2):
        with pytest.raises(SystemExit):
            task.apply((1,))
    for _ in range(2):
        with pytest.raises(TaskGivenUp, match="SystemExit"):
            task.apply((1,)).get()
    assert len(runs) == 2
    assert task.once_forget((1,)) is True
    with pytest.raises(SystemExit):
        task.apply((1,))


def test_nothing_is_remembered_where_that_is_the_rule(make: Make) -> None:
    """With `remember_s=0` deliveries run one after the other, never at once, and past failures are forgotten too."""
    task = make(lambda order: order, rules={"remember_s": 0, "on_busy": "raise"})
    claimed_elsewhere(task)
    with pytest.raises(TaskBusy, match=r"task:work:order=1: busy, another delivery has it for (59|60)\.\d s more"):
        task.apply((1,)).get()
    task.once_forget((1,))
    assert [task.apply((1,)).get() for _ in range(3)] == [1, 1, 1]


def test_busy_ends_with_none_where_that_is_the_rule(make: Make) -> None:
    """With `on_busy="skip"` a delivery ends with None while another one is at the work."""
    task = make(lambda order: order, rules={"on_busy": "skip"})
    claimed_elsewhere(task)
    assert task.apply((1,)).get() is None


def test_busy_is_an_error_in_process(make: Make) -> None:
    """Who calls a task in process cannot be told to wait, and is told so."""
    task = make(lambda order: order)
    claimed_elsewhere(task)
    with pytest.raises(TaskBusy):
        task.apply((1,)).get()


def test_lapsed_lease_is_taken_over(make: Make) -> None:
    """A claim whose lease is over goes to the next delivery, as another attempt."""
    task = make(lambda self, order: self.once_claim.attempt, bind=True)
    claimed_elsewhere(task, lease_ms=0)
    assert task.apply((1,)).get() == 2
    assert task.once_record((1,)).failures == 1


def test_lapsed_effect_is_held(make: Make) -> None:
    """An effect whose lease is over may have happened: it is held until somebody has found out."""
    runs = []

    def pay(order: int) -> None:
        runs.append(order)

    task = make(pay, rules={"effect": True})
    claimed_elsewhere(task, lease_ms=0, effect=True)
    for _ in range(2):
        with pytest.raises(TaskHeld, match="once_done or once_forget"):
            task.apply((1,)).get()
    assert task.once_done((1,), result="paid") is True
    assert task.once_done((1,)) is False
    assert task.apply((1,)).get() == "paid"
    assert runs == []


def test_effect_that_fails_is_held(make: Make) -> None:
    """An error under an effect says nothing about the effect: it is held, not done again."""

    def pay(order: int) -> None:
        raise TimeoutError("no reply")

    task = make(pay, rules={"effect": True})
    with pytest.raises(TimeoutError):
        task.apply((1,)).get()
    with pytest.raises(TaskHeld, match="TimeoutError: no reply"):
        task.apply((1,)).get()


def test_effect_whose_task_says_that_it_did_not_happen_runs_again(make: Make) -> None:
    """`self.retry` is the task's word that nothing has happened: the retry runs."""
    outcomes = iter(["refused", "paid"])

    def pay(self: Any, order: int) -> Any:
        outcome = next(outcomes)
        if outcome == "refused":
            raise self.retry(countdown=0)
        return [outcome, self.once_claim.in_doubt]

    task = make(pay, bind=True, rules={"effect": True})
    assert task.apply((1,)).get() == ["paid", False]


def test_effect_that_can_be_resumed_runs_again_in_doubt(make: Make) -> None:
    """With `resume` the next delivery goes on, and knows that the effect may have happened."""
    outcomes = iter([TimeoutError(), "paid"])

    def pay(self: Any, order: int) -> Any:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return [outcome, self.once_claim.in_doubt, self.once_claim.attempt]

    task = make(pay, bind=True, rules={"effect": True, "resume": True})
    with pytest.raises(TimeoutError):
        task.apply((1,)).get()
    assert task.apply((1,)).get() == ["paid", True, 2]


def test_retry_gives_up_in_the_end(make: Make) -> None:
    """When its retries are used up the task fails with its own error, and its key is free."""
    runs = []

    def work(self: Any, order: int) -> None:
        runs.append(order)
        raise self.retry(countdown=0, exc=ValueError("at last"), max_retries=2)

    task = make(work, bind=True)
    with pytest.raises(ValueError, match="at last"):
        task.apply((1,)).get()
    assert len(runs) == 3
    assert state(task) is State.RELEASED


def test_retry_that_does_not_raise_is_not_completed(make: Make) -> None:
    """A task that has sent its retry and then returns is not done: the retry is."""

    def work(self: Any, order: int) -> str:
        if not self.request.retries:
            self.request.update({"is_eager": False})
            self.retry(countdown=0, throw=False)
        return "half"

    task = make(work, bind=True)
    task.apply((1,))
    assert state(task) is State.RELEASED


def test_store_that_is_away_is_an_error_in_process(make: Make) -> None:
    """Without the store nothing runs."""
    runs: list[int] = []

    def work(order: int) -> None:
        runs.append(order)

    task = make(work, store=Failing(""))
    with pytest.raises(StoreUnavailable):
        task.apply((1,)).get()
    assert runs == []


def test_store_that_is_away_can_be_done_without(make: Make) -> None:
    """With `on_outage="run"` the work is done without a claim, and retried like any other."""
    outcomes = iter([1, 2])

    def work(self: Any, order: int) -> int:
        run = next(outcomes)
        if run == 1:
            raise self.retry(countdown=0)
        return run

    task = make(work, bind=True, store=Failing(""), rules={"on_outage": "run"})
    assert task.apply((1,)).get() == 2


def test_store_that_goes_away_under_the_work_does_not_fail_it(
    make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work that is done is a success, even where that cannot be written down: it is tried again, and said aloud."""
    monkeypatch.setattr("dedup.celery.delivery.SETTLE_WAITS_S", (0.0, 0.0))
    store = Failing("complete")
    task = make(lambda order: "shipped", store=store)
    assert task.apply((1,)).get() == "shipped"
    assert store.tried == 3
    assert "could not be written down" in caplog.text


@contextmanager
def delivered(task: Any, **request: Any) -> Iterator[None]:
    """A call of the task is a delivery to a worker, with the argument 1."""
    own = {"id": "one", "called_directly": False, "args": (1,), "kwargs": {}, "delivery_info": {}}
    task.request_stack.push(Context({**own, **request}))
    try:
        yield
    finally:
        task.request_stack.pop()


def test_lease_is_checked_against_the_limit_of_the_delivery(make: Make) -> None:
    """A time limit that is sent with one delivery, and outlasts the lease, is refused before the work."""
    task = make(lambda order: "shipped", rules={"lease_s": 60})
    with delivered(task, timelimit=[100, None]), pytest.raises(InvalidSetting, match="time_limit = 100"):
        task(1)
    assert state(task) is None


def test_waiting_message_is_the_same_message(app: Celery, make: Make) -> None:
    """What comes back later is the message as it was: id, retries, expiry, chain, headers of its own; and no token."""
    task = make(lambda order: "shipped")
    claimed_elsewhere(task)
    behind = [dict(app.signature("after"))]
    sent = {"retries": 2, "expires": "2099-01-01T00:00:00+00:00", "chain": behind, "trace": "abc", "root_id": "root"}
    with delivered(task, properties={TOKEN: "mine"}, **sent), pytest.raises(Retry, match="busy"):
        task(1)
    with app.connection_for_read() as connection, closing(connection.SimpleQueue(app.conf.task_default_queue)) as queue:
        message = queue.get(timeout=5)
        message.ack()
    headers, (args, _, embed) = message.headers, message.payload
    assert (headers["id"], headers["root_id"], headers["retries"], args) == ("one", "root", 2, [1])
    assert headers["expires"].startswith("2099-01-01")
    assert (headers["trace"], headers["dedup_waits"]) == ("abc", 1)
    assert [step["task"] for step in embed["chain"]] == ["after"]
    assert datetime.fromisoformat(headers["eta"]) > datetime.now(UTC)
    assert TOKEN not in headers and TOKEN not in message.properties


@pytest.mark.parametrize(("late", "ends"), [(True, Reject), (False, OperationalError)])
def test_message_that_cannot_be_sent_again_is_not_dropped(
    make: Make, monkeypatch: pytest.MonkeyPatch, late: bool, ends: type[Exception]
) -> None:
    """Where the broker takes no message, the one at hand goes back to it; or fails, where it was acknowledged."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OperationalError

    task = make(lambda order: "shipped", acks_late=late)
    claimed_elsewhere(task)
    monkeypatch.setattr(Signature, "apply_async", refuse)
    with delivered(task), pytest.raises(ends) as ended:
        task(1)
    assert getattr(ended.value, "requeue", True) is True


def test_each_delivery_has_a_token_of_its_own(app: Celery, make: Make) -> None:
    """A message that is delivered twice gets two tokens, whatever its sender says: none is let in as the other."""
    task = make(lambda order: "shipped")
    with app.connection_for_write() as connection:
        task.apply_async((1,), headers={TOKEN: "forged"}, connection=connection)
    with app.connection_for_read() as connection, closing(connection.SimpleQueue(app.conf.task_default_queue)) as queue:
        message = queue.get(timeout=5)
        message.ack()
    tokens = [token_of(Context(OnceRequest(message, app=app, task=task, **more).request_dict)) for more in ({}, {}, {})]
    assert len({*tokens, "forged"}) == 4


def test_delivery_costs_two_round_trips(make: Make) -> None:
    """A claim and a settlement are all that the store is asked for; a duplicate costs the claim."""
    store = Failing("none")
    task = make(lambda order: "shipped", store=store)
    task.apply((1,))
    assert store.asked == ["claim", "complete"]
    task.apply((1,))
    assert store.asked == ["claim", "complete", "claim"]


def test_library_is_configured_once_for_all(empty_valkey: Engine, app: Celery) -> None:
    """Without a store of its own a task keeps its records where `dedup.configure` says, under its prefix."""

    @app.task(base=OnceTask, name="configured", shared=False)
    def configured_task(order: int) -> int:
        return order

    configure(redis_url=empty_valkey.url, key_prefix="shop:")
    try:
        assert configured_task.apply((1,)).get() == 1
        with empty_valkey.client() as client:
            assert client.keys("*") == ["shop:task:configured:order=1"]
    finally:
        close_caches()
        configure()


def test_overrun_is_said_aloud(make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that took longer than its lease may have been done twice at once: the log says so, and what to set."""
    task = make(lambda order: "shipped", rules={"lease_s": 5})
    clock = iter([100.0, 106.0])
    monkeypatch.setattr("dedup.celery.delivery.time.monotonic", lambda: next(clock, 106.0))
    assert task.apply((1,)).get() == "shipped"
    assert "longer than its lease of 5 s" in caplog.text


def test_value_of_others_counts_as_done(make: Make) -> None:
    """What somebody else has put under the key is respected."""
    task = make(lambda order: "shipped")
    task.store.put("task:work:order=1", "processed", 60_000)
    assert task.apply((1,)).get() is None
