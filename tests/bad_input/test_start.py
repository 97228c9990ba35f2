"""Starting with what cannot work: one line that says what to do, exit code 78, and nothing has been touched."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.refusal import EX_CONFIG
from tests.bad_input.starting import BEAT, CELERY, WORKER, celery, run
from tests.engines import Engine
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of

RIGHT, WRONG = "right-hunter2", "wrong-hunter2"

REFUSED = [
    (WORKER, {"ON_UNKNOWN": "guess"}, "ON_UNKNOWN = 'guess': must be 'hold', 'resend' or 'lookup'"),
    (BEAT, {"CANDLE_LEASE": "60"}, "CANDLE_TIME_LIMIT = '60': must be below CANDLE_LEASE = 60: a task is killed"),
    (WORKER, {"WATCHLIST": "none.toml"}, "WATCHLIST = 'none.toml': cannot be read (No such file or directory)"),
    (BEAT, {"SIGNAL_API_URL": ""}, "SIGNAL_API_URL = '': write an http or https address, as in https://host/signals"),
    (WORKER, {"SIGNAL_API_SECRET": WRONG}, "SIGNAL_API_SECRET = '(hidden)': a secret begins with whsec_"),
    (
        WORKER,
        {"CELERY_RESULT_BACKEND": f"nosuch://user:{WRONG}@localhost"},
        "CELERY_RESULT_BACKEND = 'nosuch://user:***@localhost': is no result backend of Celery",
    ),
    (("report",), {"REDIS_URL": f"redis://:{WRONG}@localhost:port"}, "REDIS_URL = 'redis://:***@localhost:port'"),
]


@pytest.mark.parametrize(("command", "settings", "message"), REFUSED, ids=[next(iter(row[1])) for row in REFUSED])
def test_broken_settings_are_one_line_on_the_terminal(
    tmp_path: Path, command: tuple[str, ...], settings: dict[str, str], message: str
) -> None:
    """Any `celery -A tasks` command ends at once with one line, which names setting, value and remedy."""
    ended = celery(tmp_path, *command, **settings)
    assert ended.returncode == EX_CONFIG
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"Error: {message}")
    assert WRONG not in ended.stdout + ended.stderr


def test_broken_settings_are_refused_again_at_every_use(tmp_path: Path) -> None:
    """A program that uses the app gets the InvalidSetting itself, at every use: it never goes on with Celery's
    defaults, which would send to another broker.
    """
    program = """
from dedup.errors import InvalidSetting
from tasks.candles import evaluate_candle
for _ in range(3):
    try:
        evaluate_candle.apply_async(kwargs={"instrument": "AAPL", "timeframe": "1d", "candle_start": "2025-01-01"})
    except InvalidSetting as error:
        print(error)
"""
    ended = run(tmp_path, sys.executable, "-c", program, HORIZON="soon")
    assert (
        ended.stdout.splitlines()
        == ["HORIZON = 'soon': must be a valid number, unable to parse string as a number"] * 3
    )


def test_importing_the_app_reads_no_settings(tmp_path: Path) -> None:
    """Importing every module of tasks works without any settings, and leaves Celery's current app alone."""
    program = """
import celery
import tasks.candles, tasks.publish, tasks.sweep, tasks.lifecycle
assert celery.current_app.main != "candlelatch", celery.current_app.main
"""
    ended = run(tmp_path, sys.executable, "-c", program, HORIZON="soon", WATCHLIST="none.toml")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.fixture(scope="module")
def locked() -> Iterator[Engine]:
    """A server that wants a password, with a user who may do no more than read."""
    with Engine(config={"requirepass": RIGHT}) as engine:
        with engine.client(password=RIGHT) as client:
            client.acl_setuser("reader", enabled=True, passwords=[f"+{RIGHT}"], keys=["*"], commands=["+get", "+ping"])
        yield engine


def with_login(engine: Engine, login: str) -> str:
    """The server's address with user and password."""
    return engine.url.replace("redis://", f"redis://{login}@")


@pytest.mark.parametrize(
    ("command", "login", "message"),
    [
        (WORKER, f":{WRONG}", "WRONGPASS: the user or password in REDIS_URL is wrong"),
        (BEAT, f"nobody:{WRONG}", "WRONGPASS: the user or password in REDIS_URL is wrong"),
        (WORKER, "", "NOAUTH: the server wants a password: put it into REDIS_URL"),
        (WORKER, f"reader:{RIGHT}", "NOPERM: the Redis user lacks a permission: deploy/redis/users.acl.template"),
    ],
    ids=["wrong password", "unknown user", "no password", "no permission"],
)
def test_denied_by_redis_is_one_line_on_the_terminal(
    tmp_path: Path, locked: Engine, command: tuple[str, ...], login: str, message: str
) -> None:
    """A worker or beat whom Redis denies refuses to start instead of trying for ever: no waiting mends a password."""
    address = with_login(locked, login) if login else locked.url
    ended = celery(tmp_path, *command, REDIS_URL=address)
    said = ended.stdout + ended.stderr
    assert ended.returncode == EX_CONFIG
    assert f"refusing to start: {message}" in ended.stderr.splitlines()[-1]
    assert said.count("refusing to start") == 1
    assert "Traceback" not in said
    assert not any(secret in said for secret in (RIGHT, WRONG))
    with locked.client(password=RIGHT) as client:
        assert client.dbsize() == 0


def test_redis_that_is_away_is_waited_for(tmp_path: Path) -> None:
    """A worker whose Redis is away starts all the same, says so, and works as soon as Redis is there."""
    with deploy(tmp_path, [watch("GOLD")]) as deployment:
        deployment.feed("GOLD", [ORIGIN - HOUR, ORIGIN])
        deployment.engine.stop()
        worker = deployment.worker(processes=1, wait=False)
        deployment.until(lambda: "Cannot connect to redis://" in worker.logs(), "the worker to try")
        assert "cannot read when the store's memory began: Redis is away" in worker.logs()
        deployment.engine.start()
        worker.ready()
        candle = candle_of("GOLD")
        assert deployment.run(candle)["outcome"] == "evaluated"
        deployment.until(lambda: deployment.signal_outcome(candle) == "posted", "the signal")
        assert len(deployment.posts(candle)) == 1


def test_secrets_are_in_no_log(tmp_path: Path) -> None:
    """A worker that works with passwords and a signing secret writes none of them to its log, nor does `report`."""
    signing = "whsec_" + "c2VjcmV0" * 4
    with deploy(tmp_path, [watch("GOLD")], SIGNAL_API_SECRET=signing) as deployment:
        with deployment.engine.client() as client:
            client.config_set("requirepass", RIGHT)
        for name in ("REDIS_URL", "CELERY_RESULT_BACKEND"):
            deployment.env[name] = deployment.env[name].replace("redis://", f"redis://:{RIGHT}@")
        deployment.env["SIGNAL_API_URL"] = deployment.env["SIGNAL_API_URL"].replace("http://", f"http://user:{WRONG}@")
        deployment.feed("GOLD", [ORIGIN - HOUR, ORIGIN])
        worker = deployment.worker(processes=1)
        candle = candle_of("GOLD")
        assert deployment.run(candle)["outcome"] == "evaluated"
        deployment.until(lambda: deployment.signal_outcome(candle) == "posted", "the signal")
        report = run(tmp_path, *CELERY, "report", **deployment.env)
        said = worker.logs() + report.stdout + report.stderr
    assert "beat_schedule" in report.stdout
    assert not any(secret in said for secret in (RIGHT, WRONG, signing, signing.removeprefix("whsec_")))
