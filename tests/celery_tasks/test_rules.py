"""The rules of a task: what is refused, and how a lease goes with time limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from dedup import MemoryStore
from dedup.celery import Once, OnceTask
from dedup.errors import InvalidInput, InvalidSetting

REFUSED: dict[str, dict[str, Any]] = {
    "on_duplicate": {"on_duplicate": "ignore"},
    "on_busy": {"on_busy": "wait"},
    "on_outage": {"on_outage": "skip"},
    "remember_s": {"remember_s": -1},
    "remember_s of an effect": {"remember_s": 0, "effect": True},
    "lease_s": {"lease_s": 0},
    "held_s": {"held_s": float("inf")},
    "max_wait_s": {"max_wait_s": "60"},
    "max_failures": {"max_failures": 0},
    "max_result_bytes": {"max_result_bytes": 1.5},
    "key": {"key": "constant"},
    "key that is no template": {"key": "{order"},
    "key of another kind": {"key": 17},
    "key_args": {"key_args": []},
    "key_args beside a key": {"key": "{order}", "key_args": ["order"]},
    "resume": {"resume": True},
}


@pytest.mark.parametrize("options", REFUSED.values(), ids=REFUSED)
def test_rules_that_cannot_be_are_refused(request: pytest.FixtureRequest, options: dict[str, Any]) -> None:
    """A rule that cannot be is refused when it is written, by its name."""
    name = request.node.callspec.id.split()[0]
    with pytest.raises(InvalidSetting) as refused:
        Once(**options)
    assert refused.value.what == f"once.{name}"


def test_one_name_is_a_list_of_one() -> None:
    """One name may stand for a list of one, and is not taken for its letters."""
    assert Once(key_args="order_id").key_args == ("order_id",)


@pytest.fixture
def app() -> Iterator[Celery]:
    """An app that never connects."""
    with Celery("rules", set_as_current=False) as found:
        yield found


def make(app: Celery, once: Any = None, **options: Any) -> Any:
    """A task of one argument."""
    once = Once() if once is None else once
    task = app.task(base=OnceTask, name="ship", store=MemoryStore(), once=once, shared=False, **options)
    return task(ship)


def ship(order_id: int) -> int:
    """One argument."""
    return order_id


@pytest.mark.parametrize(
    ("hard_s", "soft_s", "lease_s"), [(60, None, 90), (60, 50, 90), (None, None, 3600), (None, 7200, 7230)]
)
def test_lease_goes_by_the_time_limit(hard_s: float | None, soft_s: float | None, lease_s: float) -> None:
    """Where no lease is given it is half a minute longer than the time limit, and without one an hour."""
    assert Once().lease_for("ship", hard_s, soft_s) == lease_s


@pytest.mark.parametrize("name", ["time_limit", "soft_time_limit"])
def test_lease_within_the_time_limit_is_refused_at_definition(app: Celery, name: str) -> None:
    """A lease that ends before the time limit does is refused when the task is made; the error names both."""
    with pytest.raises(InvalidSetting, match=rf"once.lease_s of ship = '60': .*62.*{name} = 60"):
        make(app, Once(lease_s=60), **{name: 60}).name  # noqa: B018


def test_lease_within_the_time_limit_of_the_app_is_refused(app: Celery) -> None:
    """The time limit that Celery is configured with counts as the task's own."""
    app.conf.task_time_limit = 300
    with pytest.raises(InvalidSetting, match="time_limit = 300"):
        make(app, Once(lease_s=60)).name  # noqa: B018


def test_lease_within_the_time_limit_of_an_annotation_is_refused(app: Celery) -> None:
    """A time limit that comes by way of ``task_annotations`` counts too, and so do rules."""
    app.conf.task_annotations = {"ship": {"time_limit": 100, "once": Once(lease_s=60)}}
    with pytest.raises(InvalidSetting, match="time_limit = 100"):
        make(app).name  # noqa: B018


def test_rules_of_another_kind_are_refused(app: Celery) -> None:
    """Rules as a dict, as celery-once has them, are refused with what to write."""
    with pytest.raises(InvalidSetting, match="once=Once"):
        make(app, {"keys": ["order_id"]}).name  # noqa: B018


def test_prefix_that_cannot_be_is_refused(app: Celery) -> None:
    """A prefix that could forge a key is refused when the task is made."""
    with pytest.raises(InvalidInput, match="KEY_PREFIX"):
        make(app, key_prefix="shop *").name  # noqa: B018


@pytest.mark.parametrize("waits", [0, 3, 1000])
def test_waits_double_up_to_their_bound(waits: int) -> None:
    """A delivery that waits looks in after about 1, 2, 4 … seconds, never much later than the lease or the bound."""
    once = Once(max_wait_s=60)
    expected = min(60, 2**waits)
    assert 0.8 * expected <= once.wait_s(waits, None) <= 1.2 * expected
    assert once.wait_s(waits, 200) <= 0.7


def test_messages_are_kept_until_their_work_is_done(app: Celery) -> None:
    """A task acknowledges late and goes back to the queue with its process, unless it says otherwise."""
    task = make(app)
    assert (task.acks_late, task.reject_on_worker_lost) == (True, True)
    with Celery("early", set_as_current=False) as other:
        assert make(other, acks_late=False).acks_late is False
