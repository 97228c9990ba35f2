"""The guide's examples, as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from dedup import close_caches, configure
from dedup.celery import Once
from tests.engines import Engine

GUIDE = (Path(__file__).parents[2] / "docs" / "celery-tasks.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


class Bank:
    """Counts what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, str]] = []

    def charge(self, order_id: int, cents: int, idempotency_key: str) -> None:
        """Refuse the first time."""
        self.asked.append((order_id, cents, idempotency_key))
        if len(self.asked) == 1:
            raise ConnectionRefusedError


@pytest.fixture
def shown(empty_valkey: Engine) -> Iterator[dict[str, Any]]:
    """What the examples define, with a Redis that is there."""
    names: dict[str, Any] = {"bank": Bank()}
    url, block = empty_valkey.url, "".join(BLOCKS[:3])
    for database in range(3):
        block = block.replace(f"redis://localhost:6379/{database}", f"{url.rpartition('/')[0]}/{database}")
    exec(block, names)
    yield names
    names["app"].close()
    close_caches()
    configure()


def test_first_example_ships_once(shown: dict[str, Any]) -> None:
    """The first example does what is said of it."""
    ship = shown["ship"]
    assert ship.apply((17,)).get() == ship.apply((17, "again")).get() == {"order": 17, "parcel": "…"}
    assert ship.once_record((17,)).attempt == 1


def test_periodic_examples_run(shown: dict[str, Any]) -> None:
    """A report is made once a day, a synchronisation as often as it is due."""
    for name, args in (("report", ("2025-01-02",)), ("sync", ())):
        for _ in range(2):
            shown[name].apply(args).get()
    assert shown["report"].once_record(("2025-01-02",)).outcome == "done"
    assert shown["report"].once_record(("2025-01-03",)) is None


def test_effect_example_charges_once(shown: dict[str, Any]) -> None:
    """A refused connection is tried again, under the same idempotency key; what is done is not done again."""
    charge, bank = shown["charge"], shown["bank"]
    for _ in range(2):
        charge.apply((17, 500)).get()
    assert [cents for _, cents, _ in bank.asked] == [500, 500]
    assert len({key for _, _, key in bank.asked}) == 1
    assert charge.once_done((17, 500)) is False
    assert charge.once_forget((17, 500)) is True


def test_guide_names_every_option() -> None:
    """Every rule and its default is in the guide's table."""
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", GUIDE, re.MULTILINE))
    options = {each.name: each.default for each in fields(Once)}
    assert rows.keys() == options.keys()
    said = {name: default.strip().strip("`") for name, default in rows.items()}
    told = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in options.items()}
    in_words = {"key": "all arguments", "key_args": "none", "lease_s": "time limit + 30", "held_s": "30 days"}
    assert said == told | in_words
