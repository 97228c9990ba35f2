"""The guide's examples, as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from dedup.celery import Once
from tests.engines import Engine

GUIDE = (Path(__file__).parents[2] / "docs" / "celery-tasks.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)

BANK = """
class Bank:
    asked = []
    def charge(self, order_id, cents, idempotency_key):
        self.asked.append((cents, idempotency_key))
        if len(self.asked) == 1:
            raise ConnectionRefusedError

bank = Bank()
"""

TRIED = {
    "the first ships once": """
assert ship.apply((17,)).get() == ship.apply((17, "again")).get() == {"order": 17, "parcel": "…"}
assert ship.once_record((17,)).attempt == 1
""",
    "a report is made once a day": """
assert [report.apply((day,)).state for day in ("monday", "monday", "tuesday")] == ["SUCCESS"] * 3
assert [report.once_record((day,)).attempt for day in ("monday", "tuesday")] == [1, 1]
""",
    "a synchronisation is not remembered": """
import time
assert sync.apply().state == "SUCCESS"
while sync.once_record():
    time.sleep(0.01)
""",
    "a charge is retried under one key and done once": """
for _ in range(2):
    charge.apply((17, 500)).get()
assert [cents for cents, key in bank.asked] == [500, 500]
assert len({key for cents, key in bank.asked}) == 1
assert charge.once_done((17, 500)) is False
assert charge.once_forget((17, 500)) is True
""",
}


@pytest.mark.parametrize("tried", TRIED.values(), ids=TRIED)
def test_examples_do_what_is_said_of_them(empty_valkey: Engine, tried: str) -> None:
    """The guide's first examples run as they stand, against a Redis that is there."""
    script = BANK + "".join(BLOCKS[:3]) + tried
    for database in range(3):
        own = f"{empty_valkey.url.rpartition('/')[0]}/{database}"
        script = script.replace(f"redis://localhost:6379/{database}", own)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_guide_names_every_option() -> None:
    """Every rule and its default is in the guide's table."""
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", GUIDE, re.MULTILINE))
    options = {each.name: each.default for each in fields(Once)}
    assert rows.keys() == options.keys()
    said = {name: default.strip().strip("`") for name, default in rows.items()}
    told = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in options.items()}
    in_words = {"key": "all arguments", "key_args": "none", "lease_s": "time limit + 30", "held_s": "30 days"}
    assert said == told | in_words
