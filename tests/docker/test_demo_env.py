"""What the demonstration in containers and a first deployment begin with."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime

import pytest
from project import ROOT

from dedup.timeframe import Timeframe
from tasks.settings import Settings, load_settings
from tasks.watchlist import load_watchlist

DEMO_ENV = ROOT / "docker" / "demo-env"


def written(*arguments: str) -> dict[str, str]:
    done = subprocess.run([DEMO_ENV, *arguments], capture_output=True, text=True, check=True, timeout=20)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_the_demonstrations_settings_are_accepted() -> None:
    """The pipeline accepts what docker/demo-env writes, and its first candle closes half a minute or so later."""
    known = {name.lower(): value for name, value in written("1").items() if name.lower() in Settings.model_fields}
    settings = load_settings(_env_file=None, **known)
    assert settings.watch_from is not None
    assert 20 < settings.clock.seconds_until(settings.watch_from) <= 30
    assert settings.clock.wall_seconds(settings.max_age_s(Timeframe.parse("1d"))) == 60


def test_every_demonstration_has_secrets_of_its_own() -> None:
    """No secret is ever written twice."""
    first, second = written(), written()
    for name in ("FLOWER_BASIC_AUTH", "REDIS_PASSWORD", "SIGNAL_API_SECRET"):
        assert first[name] != second[name]


@pytest.mark.parametrize("wrong", ["0", "1.5", "-1", "fast"])
def test_a_pace_that_is_none_is_refused(wrong: str) -> None:
    """A pace that is no whole number of seconds is refused by name, and nothing is written."""
    done = subprocess.run([DEMO_ENV, wrong], capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stdout) == (2, "")
    assert wrong in done.stderr


def test_the_example_watchlist_loads() -> None:
    """The watchlist to start from loads as it stands and watches feeds of both live kinds."""
    watchlist = load_watchlist(ROOT / "tasks" / "pipeline.example.toml", lambda: datetime.now(UTC))
    assert {type(watch.source).__name__ for watch in watchlist} == {"HttpSource", "CsvSource"}
    assert {str(watch.timeframe) for watch in watchlist} == {"15m", "30m", "1h", "4h"}
