"""Logs of real workers: one line per outcome in either format, with the names by which a task can be found again."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from kombu import Producer

from tasks.outcomes import parse_outcome
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of

SECRET = "whsec_" + b64encode(b"a secret of this test alone").decode()
PASSWORD = "hunter2-of-the-test"
FORMATS = ("console", "json")

Outcome = dict[str, Any]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Deployment]]:
    """A deployment for each format, in which deliveries ended in every way there is."""
    with ExitStack() as stack:
        found = {}
        for form in FORMATS:
            home = tmp_path_factory.mktemp(form)
            watches = [watch("GOLD", "EARLY"), watch("WRONG", strategy="raises"), watch("SLOW", strategy="hangs")]
            watches += [watch("DEADLY", strategy="kills_its_worker")]
            options = {
                "LOG_FORMAT": form,
                "PYTHONWARNINGS": "ignore",
                "SIGNAL_API_SECRET": SECRET,
                "CANDLE_TIME_LIMIT": "15",
                "CANDLE_LEASE": "18",
            }
            found[form] = stack.enter_context(deploy(home, watches, MAX_FAILURES="1", **options))
            for instrument in ("GOLD", "WRONG", "SLOW", "DEADLY"):
                found[form].feed(instrument, [ORIGIN - HOUR, ORIGIN])
            with found[form].engine.client() as client:
                client.acl_setuser("trader", enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], commands=["+@all"])
            url = found[form].engine.url.replace("redis://", f"redis://trader:{PASSWORD}@")
            found[form].worker(wait=False, processes=3, REDIS_URL=url, CELERY_BROKER_URL=found[form].engine.url)
        for deployment in found.values():
            deployment.processes["worker1"].ready()
            work_badly(deployment)
        for deployment in found.values():
            await_all(deployment)
        yield found


def work_badly(deployment: Deployment) -> None:
    """Send one of everything."""
    for instrument in ("GOLD", "WRONG", "DEADLY", "EARLY"):
        deployment.evaluate(candle_of(instrument))
    # A limit of its own: it takes seconds to find out that a process is lost, and that must not be cut short.
    slow = {"instrument": "SLOW", "timeframe": "1h", "candle_start": "2025-01-04T09:00:00Z"}
    deployment.app.send_task("evaluate_candle", kwargs=slow, time_limit=1.0)
    deployment.send("evaluate_candle", instrument="GOLD", timeframe="1h", candle_start="noon")
    deployment.send("sell_everything")
    kwargs = {"instrument": "GOLD", "timeframe": "1h", "candle_start": "2025-01-04T09:00:00Z"}
    deployment.app.send_task("evaluate_candle", kwargs=kwargs, expires=-1)
    with deployment.app.connection_for_write() as connection:
        producer, to = Producer(connection.channel()), {"exchange": "candles", "routing_key": "candles"}
        producer.publish({"instrument": "GOLD"}, serializer="json", **to)
        headers = {"task": "evaluate_candle", "id": "unreadable", "lang": "py", "argsrepr": "", "kwargsrepr": ""}
        producer.publish("[}", content_type="application/json", content_encoding="utf-8", headers=headers, **to)


EXPECTED = {
    ("evaluate_candle", "evaluated"),
    ("publish_signal", "posted"),
    ("evaluate_candle", "failed"),
    ("evaluate_candle", "time_limit"),
    ("evaluate_candle", "worker_lost"),
    ("evaluate_candle", "retry"),
    ("evaluate_candle", "error"),
    ("evaluate_candle", "expired"),
    ("sell_everything", "bad_message"),
    ("evaluate_candle", "bad_message"),
    ("?", "bad_message"),
}


def outcomes(deployment: Deployment) -> list[Outcome]:
    found = (parse_outcome(line) for line in deployment.processes["worker1"].logs().splitlines())
    return [one for one in found if one is not None]


def await_all(deployment: Deployment) -> None:
    def told() -> bool:
        return {(one["task"], one["outcome"]) for one in outcomes(deployment)} >= EXPECTED

    deployment.until(told, "every outcome")


def one(deployment: Deployment, task: str, outcome: str, **fields: str) -> Outcome:
    """The first such outcome in the log."""
    wanted = {"task": task, "outcome": outcome, **fields}
    return next(found for found in outcomes(deployment) if found.items() >= wanted.items())


@pytest.fixture(params=FORMATS)
def log(running: dict[str, Deployment], request: pytest.FixtureRequest) -> Deployment:
    """The deployment that logs in this format."""
    return running[request.param]


def test_outcome_names_task_parent_attempt_and_token(log: Deployment) -> None:
    """A signal's line has its task's id, the candle's task as its parent, the signal, its attempt and a token's start,
    and so has the candle's.
    """
    posted = one(log, "publish_signal", "posted")
    evaluated = one(log, "evaluate_candle", "evaluated", instrument="GOLD")
    assert posted["parent_id"] == evaluated["task_id"]
    assert posted["signal"] == log.posts(candle_of("GOLD"))[0].key
    assert (posted["attempt"], posted["source"], evaluated["source"]) == (1, "redis", "redis")
    record = log.signal_record(candle_of("GOLD"))
    assert record is not None
    assert len(posted["token"]) == 6
    assert record.token.startswith(posted["token"])
    assert evaluated["took_s"] > 0


def test_every_other_end_has_a_name_and_a_reason(log: Deployment) -> None:
    """A task that asks again, raises, hangs, loses its process, came too late or is none of ours is an outcome too."""
    retry = one(log, "evaluate_candle", "retry")
    assert (retry["instrument"], retry["candle_start"], retry["tries"]) == ("EARLY", "2025-01-04T09:00:00Z", 1)
    raised = one(log, "evaluate_candle", "error")
    assert raised["reason"].startswith("InvalidCandle: candle_start = 'noon'")
    hung = one(log, "evaluate_candle", "time_limit")
    assert (hung["instrument"], hung["reason"]) == ("SLOW", "TimeLimitExceeded: TimeLimitExceeded(1.0,)")
    lost = one(log, "evaluate_candle", "worker_lost")
    assert (lost["instrument"], "SIGKILL" in lost["reason"]) == ("DEADLY", True)
    late = one(log, "evaluate_candle", "expired")
    assert "message" in late["reason"]
    foreign = one(log, "sell_everything", "bad_message")
    assert foreign["task_id"]
    assert one(log, "evaluate_candle", "bad_message")["task_id"] == "unreadable"
    assert all(found["task_id"] for found in (retry, raised, hung, lost, late))


def test_each_delivery_is_told_once(log: Deployment) -> None:
    """A delivery that returned has one line of its outcome, and no second one by Celery."""
    text = log.processes["worker1"].logs()
    evaluated = one(log, "evaluate_candle", "evaluated", instrument="GOLD")
    assert [found.get("task_id") for found in outcomes(log)].count(evaluated["task_id"]) == 1
    assert " succeeded in " not in text


def test_json_log_is_json_throughout(running: dict[str, Deployment]) -> None:
    """Under `json` every line of a worker, tracebacks and Celery's own lines too, is one JSON object with level, logger
    and time.
    """
    lines = [json.loads(line) for line in running["json"].processes["worker1"].logs().splitlines()]
    assert {"level", "logger", "timestamp", "event", "process"} <= set.intersection(*(set(line) for line in lines))
    assert {line["logger"] for line in lines} >= {"celery.worker.strategy", "candlelatch.candles", "celery.app.trace"}
    assert any("Traceback" in line.get("exception", "") for line in lines)


def test_lines_of_a_task_name_it(running: dict[str, Deployment]) -> None:
    """Whatever is logged while a task runs has the task's id."""
    lines = [json.loads(line) for line in running["json"].processes["worker1"].logs().splitlines()]
    posted = one(running["json"], "publish_signal", "posted")
    (told,) = [line for line in lines if line["logger"] == "candlelatch.publish"]
    assert told["task_id"] == posted["task_id"]


def test_no_secret_is_logged(log: Deployment) -> None:
    """Neither the signing secret nor the store's password is in a log."""
    text = log.processes["worker1"].logs()
    assert SECRET not in text
    assert SECRET.removeprefix("whsec_") not in text
    assert PASSWORD not in text
