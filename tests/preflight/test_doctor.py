"""`celery -A tasks doctor`: what is said, and the exit code, for good and for broken set-ups."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tasks.commands.doctor import doctor
from tasks.receiver import Receiver
from tests.engines import DURABLE, HOST, Engine, free_port

SECRET = "whsec_" + b64encode(bytes(range(32))).decode()
WATCHLIST = """
[sources.feed]
kind = "replay"

[[watch]]
instruments = ["USDJPY", "GOLD"]
timeframe = "1d"
source = "feed"
strategy = "ema_cross"
"""


@dataclass(frozen=True)
class Told:
    """What the doctor said."""

    code: int
    findings: list[dict[str, str]]

    def of(self, check: str) -> dict[str, str]:
        return next(one for one in self.findings if one["check"] == check)

    def bad(self) -> set[tuple[str, str]]:
        return {(one["level"], one["check"]) for one in self.findings if one["level"] != "ok"}


Ask = Callable[..., Told]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(config=DURABLE) as running:
        yield running


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with Receiver(tmp_path_factory.mktemp("api") / "posts.jsonl") as running:
        yield running


@pytest.fixture
def settings(engine: Engine, api: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment in which all is well, but that no worker has been there."""
    for name in list(os.environ):
        if name.startswith(("REDIS_", "CELERY_", "SIGNAL_", "CANDLE_", "DEDUP_", "WATCH")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.toml").write_text(WATCHLIST)
    return {"REDIS_URL": engine.url, "SIGNAL_API_URL": api.signals_url, "SIGNAL_API_SECRET": SECRET}


@pytest.fixture
def ask(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Run the doctor with changes to that environment."""

    def asking(*options: str, **changes: str) -> Told:
        for name, value in {**settings, **changes}.items():
            monkeypatch.setenv(name, value)
        result = CliRunner().invoke(doctor, ["--json", *options])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        said: dict[str, Any] = json.loads(result.output)
        assert said["level"] == max((one["level"] for one in said["findings"]), key=["ok", "warn", "fail"].index)
        return Told(result.exit_code, said["findings"])

    return asking


def test_good_set_up(ask: Ask, api: Receiver) -> None:
    """Where all is well the exit code is 0, everything was looked at, and nothing was posted."""
    told = ask()
    assert told.code == 0
    assert told.bad() == {("warn", "memory began")}
    assert {one["section"].split()[0] for one in told.findings} == {
        "Settings",
        "Watchlist",
        "Redis",
        "Broker",
        "Signal",
    }
    assert told.of("watches")["found"] == "2: 2 instruments at 1d"
    assert told.of("queues")["found"].startswith("control not declared yet")
    assert api.read().posts == ()


def test_warnings_fail_where_that_is_wanted(ask: Ask) -> None:
    """With --strict a warning is enough for exit code 1."""
    assert ask("--strict").code == 1


def test_look_up_is_tried(ask: Ask, api: Receiver) -> None:
    """Under `lookup` the API is asked for an id that it cannot have, and has to say so."""
    good = ask(ON_UNKNOWN="lookup", SIGNAL_LOOKUP_URL=f"{api.signals_url}/{{id}}")
    assert good.of("look-up")["level"] == "ok"
    bad = ask(ON_UNKNOWN="lookup", SIGNAL_LOOKUP_URL=api.signals_url)
    assert bad.of("look-up")["level"] != "fail"


BROKEN = {
    "Redis is away": ({"REDIS_URL": f"redis://:pw@{HOST}:{free_port()}/0"}, "reachable", "Connection refused"),
    "no URL": ({"REDIS_URL": "localhost"}, "REDIS_URL", "localhost"),
    "times out of order": ({"HTTP_DEADLINE": "40"}, "HTTP_DEADLINE", "40"),
    "a word for a number": ({"HORIZON": "soon"}, "HORIZON", "soon"),
    "visibility": ({"VISIBILITY_TIMEOUT": "100"}, "VISIBILITY_TIMEOUT", "100"),
    "no watchlist": ({"WATCHLIST": "nowhere.toml"}, "WATCHLIST", "nowhere.toml"),
    "no API": ({"SIGNAL_API_URL": ""}, "SIGNAL_API_URL", "(empty)"),
    "API is away": ({"SIGNAL_API_URL": f"http://u:pw@{HOST}:{free_port()}/s"}, "answers", "ConnectionError"),
    "broker is away": ({"CELERY_BROKER_URL": f"amqp://u:pw@{HOST}:{free_port()}//"}, "queues", "refused"),
    "no broker": ({"CELERY_BROKER_URL": "memory://"}, "CELERY_BROKER_URL", "memory://"),
    "durability": ({"DEDUP_DURABILITY": "replicas:1"}, "DEDUP_DURABILITY", "0 are connected"),
    "clock": ({"MARKET_CLOCK": "yesterday"}, "MARKET_CLOCK", "yesterday"),
}


@pytest.mark.parametrize(("changes", "check", "said"), BROKEN.values(), ids=BROKEN)
def test_broken_set_up_is_a_finding(ask: Ask, changes: dict[str, str], check: str, said: str) -> None:
    """Whatever is broken fails with its name and a remedy, not with a traceback, and without a password."""
    told = ask(**changes)
    assert told.code == 1
    failed = [one for one in told.findings if one["level"] == "fail" and one["check"] == check]
    assert failed
    assert said in failed[0]["found"]
    assert failed[0]["remedy"]
    assert "pw@" not in json.dumps(told.findings)


def test_the_rest_is_looked_at(ask: Ask) -> None:
    """Settings that break the protocol do not keep Redis, broker and API from being looked at."""
    told = ask(HTTP_DEADLINE="40")
    assert told.of("version")["level"] == "ok"
    assert told.of("answers")["level"] == "ok"


def test_careless_choices_are_warned_of(ask: Ask) -> None:
    """Settings that are allowed, and have a price, are warned of."""
    told = ask(SIGNAL_FALLBACK="memory", SIGNAL_API_SECRET="")
    assert {("warn", "SIGNAL_FALLBACK"), ("warn", "signature")} <= told.bad()
    assert told.code == 0


def test_broker_of_its_own_is_looked_at(ask: Ask) -> None:
    """A broker on another Redis must not evict messages either."""
    with Engine(config={"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}) as other:
        told = ask(CELERY_BROKER_URL=other.url)
        policies = {one["section"].split()[0]: one["level"] for one in told.findings if "policy" in one["check"]}
        assert policies == {"Redis": "ok", "Broker": "fail"}


def test_command_of_celery(settings: dict[str, str], tmp_path: Path) -> None:
    """It is a subcommand of `celery -A tasks`, and prints tables for people, with broken settings as well."""
    env = {"PATH": os.environ["PATH"], "COLUMNS": "120", **settings, "REDIS_URL": "nope"}
    command = [sys.executable, "-m", "celery", "-A", "tasks", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, check=False, timeout=60)
    assert done.returncode == 1, done.stderr
    assert "FAIL" in done.stdout
    assert "write redis://" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
