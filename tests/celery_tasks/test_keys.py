"""What makes two deliveries the same work: the key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st

from dedup import MemoryStore
from dedup.celery import Once, OnceTask
from dedup.errors import InvalidInput, InvalidSetting

SAFE_KEY = re.compile(r"[A-Za-z0-9_.\-~:,=@+/|;%]+", re.ASCII)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


class Side(Enum):
    """Something plain that is no JSON."""

    BUY = "buy"


def ship(order_id: Any, note: Any = "", *more: Any, express: Any = False) -> None:
    """A signature with everything but ``**kwargs``."""


def anything(**fields: Any) -> None:
    """A signature of nothing but ``**kwargs``."""


def tidy_up() -> None:
    """No arguments at all."""


@pytest.fixture
def app() -> Iterator[Celery]:
    """An app that never connects."""
    with Celery("keys", set_as_current=False) as found:
        yield found


@pytest.fixture
def key(app: Celery) -> Callable[..., str]:
    """The key of a call of `ship` under a rule."""

    def make(once: Once, *args: Any, **kwargs: Any) -> str:
        name = f"ship{len(app.tasks)}"
        task = app.task(base=OnceTask, name=name, store=MemoryStore(), key_prefix="", once=once, shared=False)(ship)
        return str(task.once_key(args, kwargs)).replace(name, "ship")

    return make


ALL = Once()

SAME = {
    "by position or name": (((17, "x"), {}), ((), {"note": "x", "order_id": 17})),
    "a default that is given": (((17,), {}), ((17, ""), {"express": False})),
    "a tuple and what JSON makes of it": (((17, (1, 2)), {}), ((17, [1, 2]), {})),
    "the order of a dict": (((17, {"a": 1, "b": 2}), {}), ((17, {"b": 2, "a": 1}), {})),
    "one moment in two zones": (
        ((datetime(2025, 1, 1, 12, tzinfo=UTC),), {}),
        ((datetime(2025, 1, 1, 14, tzinfo=timezone(timedelta(hours=2))),), {}),
    ),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_same_work_has_one_key(key: Callable[..., str], one: Any, other: Any) -> None:
    """However the same arguments are written, the key is the same."""
    assert key(ALL, *one[0], **one[1]) == key(ALL, *other[0], **other[1])


DIFFERENT = {
    "numbers and text": ((17,), ("17",)),
    "None and text": ((None,), ("null",)),
    "where an argument ends": (("a", "b"), ("a,note=b",)),
    "a list and its text": (([1],), ("[1]",)),
    "case": (("Gold",), ("gold",)),
    "more of them": (("a", "b", "c"), ("a", "b", "c", "d")),
}


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT)
def test_different_work_has_two_keys(key: Callable[..., str], one: Any, other: Any) -> None:
    """No argument looks like another one in the key."""
    assert key(ALL, *one) != key(ALL, *other)


@given(one=st.tuples(PLAIN, PLAIN), other=st.tuples(PLAIN, PLAIN))
def test_keys_are_as_different_as_their_arguments(one: Any, other: Any) -> None:
    """Two calls share a key where their arguments are equal as JSON, and only there; every key is safe in Redis."""
    with Celery("keys", set_as_current=False) as app:
        task = app.task(base=OnceTask, name="ship", key_prefix="", shared=False)(ship)
        first, second = task.once_key(one), task.once_key(other)
    assert (first == second) == (repr(_typed(one)) == repr(_typed(other)))
    assert SAFE_KEY.fullmatch(first)
    assert len(first) < 300


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _typed(value[key]) for key in sorted(value)}
    return [_typed(one) for one in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize(
    ("once", "args", "kwargs", "expected"),
    [
        pytest.param(ALL, (17, "to Bob"), {}, "task:ship:order_id=17,note=to%20Bob,express=false", id="all"),
        pytest.param(Once(key_args=["order_id"]), (17, "x"), {}, "task:ship:order_id=17", id="names"),
        pytest.param(Once(key="{order_id}:{note}"), ("a:b", "c"), {}, "task:ship:a%3Ab:c", id="template"),
        pytest.param(Once(key="{order_id[user]}"), ({"user": 5},), {}, "task:ship:5", id="within an argument"),
        pytest.param(
            Once(key="{order_id:%Y-%m-%d}"), (datetime(2025, 1, 2, 3),), {}, "task:ship:2025-01-02", id="formatted"
        ),
        pytest.param(
            Once(key=lambda order_id, note="": (order_id, 1)), (17,), {}, "task:ship:%5B17%2C1%5D", id="function"
        ),
        pytest.param(Once(key=lambda order_id: f"o:{order_id} *"), (17,), {}, "task:ship:o:17%20%2A", id="its text"),
        pytest.param(ALL, (Decimal("1.50"), date(2025, 1, 2)), {}, None, id="decimal and date"),
        pytest.param(ALL, (UUID(int=1), Side.BUY), {}, None, id="uuid and enum"),
    ],
)
def test_key_is_readable(key: Callable[..., str], once: Once, args: Any, kwargs: Any, expected: str | None) -> None:
    """A key says what it is of: ``task:{name}:`` and the arguments that were chosen, percent-encoded."""
    found = key(once, *args, **kwargs)
    assert expected is None or found == expected
    assert SAFE_KEY.fullmatch(found)


def test_long_key_is_a_digest(key: Callable[..., str]) -> None:
    """Arguments of any length make a key of bounded length, and still differ."""
    found = key(ALL, "x" * 10_000)
    assert re.fullmatch(r"task:ship:sha256:[0-9a-f]{64}", found)
    assert found != key(ALL, "x" * 10_001)


def test_any_keyword_can_be_in_the_key(app: Celery) -> None:
    """A task that takes any keyword can be told apart by one of them."""
    once = Once(key_args=["day"])
    task = app.task(base=OnceTask, name="any", key_prefix="", once=once, shared=False)(anything)
    assert task.once_key((), {"day": "monday", "more": 1}) == "task:any:day=monday"
    with pytest.raises(InvalidInput, match="no such argument"):
        task.once_key((), {"more": 1})


def test_task_without_arguments_has_one_key(app: Celery) -> None:
    """A task without arguments is one piece of work, under its name and the deployment's prefix."""
    task = app.task(base=OnceTask, name="tidy up", key_prefix="shop:", shared=False)(tidy_up)
    assert task.once_key() == "shop:task:tidy%20up"


@pytest.mark.parametrize(
    ("once", "value"),
    [
        pytest.param(ALL, object(), id="an object"),
        pytest.param(ALL, {1, 2}, id="a set"),
        pytest.param(ALL, float("nan"), id="not a number"),
        pytest.param(ALL, {1: "a", "b": 2}, id="keys of two kinds"),
        pytest.param(Once(key="{order_id}"), object(), id="an object in a template"),
        pytest.param(Once(key="{order_id.missing}"), 17, id="what there is not"),
        pytest.param(Once(key=lambda order_id: None), 17, id="no key"),
        pytest.param(Once(key=lambda order_id: ""), 17, id="an empty key"),
        pytest.param(Once(key=lambda order_id: object()), 17, id="a key that is nothing plain"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(key: Callable[..., str], once: Once, value: Any) -> None:
    """An argument whose text differs from process to process makes no key: it is refused, and named."""
    with pytest.raises(InvalidInput, match="key of ship"):
        key(once, value)


@pytest.mark.parametrize("once", [Once(key="{day}"), Once(key_args=["order_id", "day"]), Once(key="{}")])
def test_key_of_no_argument_is_refused_at_definition(app: Celery, once: Once) -> None:
    """A key that names what is no argument is refused when the task is made, with those that there are."""
    task = app.task(base=OnceTask, name="ship", once=once, shared=False)(ship)
    with pytest.raises(InvalidSetting, match="order_id, note, more, express"):
        task.once_key((17,))


def test_wrong_arguments_are_the_callers_error(key: Callable[..., str]) -> None:
    """Arguments that do not fit the task are a TypeError, as they are when it is called."""
    with pytest.raises(TypeError):
        key(ALL)
