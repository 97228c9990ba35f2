"""A running pipeline scraped by a real Prometheus: what it counts is what happened, its alerts fire, and every query of
the dashboard has an answer.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.outcomes import parse_outcome
from tasks.receiver import Fault
from tests.engines import Engine, free_port
from tests.metrics.prometheus import DEPLOY, Prometheus, needs_prometheus
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of

pytestmark = [needs_prometheus, pytest.mark.timeout(240)]

BUYERS = ("GOLD", "SILVER", "TIN", "LEAD", "ZINC", "LATE")


@dataclass(frozen=True)
class Run:
    """A deployment and the Prometheus that watches it.

    Attributes:
        child: a pool process that was killed.
    """

    deployment: Deployment
    prometheus: Prometheus
    child: int


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """An eventful minute, at whose end everything is as it should be again but for what is held and forgotten."""
    home = tmp_path_factory.mktemp("measured")
    (home / "prometheus").mkdir()
    watches = [watch(*BUYERS), watch("COPPER", strategy="never"), watch("WRONG", strategy="raises")]
    ports = {"candlelatch-worker": [free_port()], "candlelatch-beat": [free_port()]}
    with Engine() as broker:
        options = {"CELERY_BROKER_URL": broker.url, "CELERY_RESULT_BACKEND": broker.url.removesuffix("0") + "1"}
        with deploy(home, watches, MAX_FAILURES="1", SWEEP_INTERVAL="1", **options) as deployment:
            for name in (*BUYERS, "COPPER", "WRONG"):
                deployment.feed(name, [ORIGIN - HOUR, ORIGIN])
            deployment.worker(METRICS_PORT=str(ports["candlelatch-worker"][0]))
            with Prometheus(home / "prometheus", ports) as prometheus:
                prometheus.until('up{job="candlelatch-worker"}', 1)
                first_hour(deployment, prometheus)
                child = kill_a_child(deployment)
                second_hour(deployment, prometheus)
                deployment.env["METRICS_PORT"] = str(ports["candlelatch-beat"][0])
                deployment.beat()
                prometheus.until("candlelatch:held_signals", 1)
                outage(deployment, prometheus)
                amnesia(deployment, prometheus)
                yield Run(deployment, prometheus, child)


def first_hour(deployment: Deployment, prometheus: Prometheus) -> None:
    """A signal that is posted, one that is held, a candle without one, one that fails, duplicates, rubbish."""
    deployment.receiver.faults.put(Fault("drop_reply", times=1))
    settle(deployment, "SILVER", "held")
    settle(deployment, "GOLD", "posted")
    assert deployment.run(candle_of("GOLD"))["outcome"] == "duplicate"
    assert deployment.result(deployment.publish(deployment.signal(candle_of("GOLD"))))["outcome"] == "duplicate"
    assert deployment.run(candle_of("COPPER"))["outcome"] == "evaluated"
    assert deployment.run(candle_of("WRONG"))["outcome"] == "failed"
    deployment.send("sell_everything")
    prometheus.until('sum(candlelatch_candles_total{outcome="failed"})', 1)


def second_hour(deployment: Deployment, prometheus: Prometheus) -> None:
    """More of the same, so that there is something to take rates of."""
    settle(deployment, "TIN", "posted")
    deployment.run(candle_of("TIN"))
    prometheus.until('sum(candlelatch_signals_total{outcome="posted"})', 2)


def outage(deployment: Deployment, prometheus: Prometheus) -> None:
    """The store forgets how to keep things, goes away, and comes back. The broker stays."""
    with deployment.engine.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        prometheus.until("max(candlelatch_preflight_level) > 0")
        client.config_set("maxmemory-policy", "noeviction")
    deployment.engine.stop()
    deployment.run(candle_of("ZINC"))
    prometheus.until("max(candlelatch_store_up)", 0)
    prometheus.until("max(candlelatch_fallback_until_timestamp_seconds) > time()")
    prometheus.until('sum(candlelatch_store_errors_total{kind="signal"}) > 2')
    deployment.engine.start()
    deployment.until(lambda: deployment.signal_outcome(candle_of("ZINC")), "the signal of the outage")
    prometheus.until("max(candlelatch_store_up)", 1)
    prometheus.until("count(candlelatch_fallback_until_timestamp_seconds < time())", 2)


def amnesia(deployment: Deployment, prometheus: Prometheus) -> None:
    """Everything is deleted, and the next signal finds out."""
    with deployment.engine.client() as client:
        client.flushall()
    settle(deployment, "LATE", "held")
    prometheus.until('sum(candlelatch_unknowns_total{cause="forgotten"}) > 0')
    prometheus.until("changes(candlelatch_memory_since_timestamp_seconds[1m]) > 0")


def settle(deployment: Deployment, name: str, outcome: str) -> None:
    deployment.evaluate(candle_of(name))
    deployment.until(lambda: deployment.signal_outcome(candle_of(name)) == outcome, f"{name} to be {outcome}")


def kill_a_child(deployment: Deployment) -> int:
    """SIGKILL a pool process that has counted something."""
    main, *pool = deployment.processes["worker1"].family()
    (folder,) = open_folders(main.pid)
    child = next(one.pid for one in pool if (Path(folder) / f"counter_{one.pid}.db").exists())
    os.kill(child, signal.SIGKILL)
    return child


def total(run: Run, expr: str) -> float:
    found = run.prometheus.value(f"sum({expr})")
    assert found is not None, expr
    return found


def told(run: Run, task: str, outcome: str) -> list[dict[str, Any]]:
    """The outcomes that the worker's log tells."""
    found = (parse_outcome(line) for line in run.deployment.processes["worker1"].logs().splitlines())
    return [one for one in found if one is not None and (one["task"], one["outcome"]) == (task, outcome)]


@pytest.mark.parametrize("outcome", ["evaluated", "duplicate", "failed"])
def test_candles_are_counted_by_outcome(run: Run, outcome: str) -> None:
    """As many candles are counted under an outcome and their timeframe as the log tells, killed children's too."""
    count = f'candlelatch_candles_total{{outcome="{outcome}",timeframe="1h"}}'
    run.deployment.until(lambda: total(run, count) == len(told(run, "evaluate_candle", outcome)) > 0, count)


@pytest.mark.parametrize("outcome", ["posted", "duplicate", "held"])
def test_signals_are_counted_by_outcome(run: Run, outcome: str) -> None:
    """As many signals are counted under an outcome as the log tells."""
    count = f'candlelatch_signals_total{{outcome="{outcome}"}}'
    run.deployment.until(lambda: total(run, count) == len(told(run, "publish_signal", outcome)) > 0, count)


def test_claims_are_counted_by_answer_and_source(run: Run) -> None:
    """Claims are counted by kind, answer and source: during the outage the candles' came from memory."""
    series = run.prometheus.query("sum by (kind, answer, source) (candlelatch_claims_total)")
    found = {tuple(one["metric"][name] for name in ("kind", "answer", "source")) for one in series}
    assert found >= {
        ("candle", "acquired", "redis"),
        ("candle", "acquired", "memory"),
        ("candle", "duplicate", "redis"),
        ("signal", "acquired", "redis"),
        ("signal", "duplicate", "redis"),
    }


def test_suppressed_duplicates_are_counted(run: Run) -> None:
    """Each claim that was told that the work is done or in other hands is one duplicate suppressed."""
    answers = 'candlelatch_claims_total{answer=~"duplicate|busy"}'
    assert total(run, "candlelatch_duplicates_suppressed_total") == total(run, answers) >= 3


@pytest.mark.parametrize("cause", ["closed", "forgotten"])
def test_unknowns_are_counted_by_cause(run: Run, cause: str) -> None:
    """A reply that was dropped and a store that has forgotten are causes of their own."""
    assert total(run, f'candlelatch_unknowns_total{{cause="{cause}"}}') >= 1


def test_times_from_the_close_are_those_of_the_results(run: Run) -> None:
    """The time from close to posted is observed for each signal that was posted, and adds up to what the log tells."""
    posted = told(run, "publish_signal", "posted")
    assert total(run, "candlelatch_close_to_posted_seconds_count") == len(posted)
    assert total(run, "candlelatch_close_to_posted_seconds_sum") == pytest.approx(sum(one["late_s"] for one in posted))
    evaluated = told(run, "evaluate_candle", "evaluated")
    assert total(run, "candlelatch_close_to_evaluated_seconds_count") == len(evaluated)


def test_feed_lag_is_observed(run: Run) -> None:
    """Each answer of the source that had the final bar in time is an observation of its lag."""
    final = 'candlelatch_feed_answers_total{source="feed",state="final"}'
    assert 0 < total(run, 'candlelatch_feed_lag_seconds_count{source="feed"}') <= total(run, final)


def test_newest_candle_is_known_for_each_instrument(run: Run) -> None:
    """The close of each instrument's newest candle is known by the wall clock, whoever evaluated it."""
    series = run.prometheus.query("max by (instrument) (candlelatch_newest_candle_close_timestamp_seconds)")
    found = {one["metric"]["instrument"]: float(one["value"][1]) for one in series}
    close_s = run.deployment.clock.wall(ORIGIN).timestamp()
    assert found.keys() >= {"GOLD", "COPPER", "WRONG"}
    assert list(found.values()) == pytest.approx([close_s] * len(found), abs=0.01)


def test_sweeps_tell_what_they_find(run: Run) -> None:
    """The time of the last sweep is known and recent, and so is what it looked at and enqueued again."""
    assert total(run, "time() - max(candlelatch_last_sweep_timestamp_seconds) < bool 20") == 1
    assert total(run, "max(candlelatch_sweep_candles)") == len(BUYERS) + 2
    assert total(run, "candlelatch_sweep_enqueued_total") > 0
    assert total(run, 'candlelatch_control_tasks_total{task="sweep",outcome="swept"}') > 0


def test_held_signals_come_from_the_store(run: Run) -> None:
    """Held is what the store holds now: after it has forgotten, all signals of the candles that it is shown again."""

    def held() -> int:
        return sum(run.deployment.signal_outcome(candle_of(name)) == "held" for name in BUYERS)

    run.deployment.until(lambda: run.prometheus.value("candlelatch:held_signals") == held() > 1, "the same number")


def test_beat_is_scraped_too(run: Run) -> None:
    """Beat counts the messages that the broker took from it."""
    run.prometheus.until('candlelatch_messages_sent_total{job="candlelatch-beat",task="sweep"} > 0')


def test_killed_child_takes_no_count_along(run: Run) -> None:
    """No counter ever fell, though a pool process was killed; what it left is only its counts, no state."""
    for count in ("candles", "signals", "claims", "feed_answers"):
        assert not any(map(fell, run.prometheus.over_time(f"resets(candlelatch_{count}_total[3m])"))), count
    folders = [Path(one) for one in open_folders(run.deployment.processes["worker1"].pid)]
    left = {file.name.partition("_")[0] for folder in folders for file in folder.glob(f"*_{run.child}.db")}
    assert left >= {"counter"}
    assert not [file for folder in folders for file in folder.glob(f"gauge_live*_{run.child}.db")]


def fell(series: dict[str, Any]) -> bool:
    return any(float(value) for _, value in series["values"])


def open_folders(pid: int) -> set[str]:
    links = (one.readlink() for one in Path(f"/proc/{pid}/fd").iterdir())
    return {str(link.parent) for link in links if "candlelatch-metrics-" in str(link)}


ALERTS = ("CandlelatchHeldSignals", "CandlelatchEviction", "CandlelatchAmnesia", "CandlelatchTasksFailing")


@pytest.mark.parametrize("name", ALERTS)
def test_alert_fires(run: Run, name: str) -> None:
    """What happened in this minute fired the alert that is for it, in the Prometheus that read the rules."""
    run.deployment.until(lambda: name in run.prometheus.fired(), name)


@pytest.mark.parametrize("name", ["CandlelatchSignalsRefused", "CandlelatchNoWorker", "CandlelatchCandleOverdue"])
def test_other_alerts_are_silent(run: Run, name: str) -> None:
    """What did not happen fired no alert."""
    assert name not in run.prometheus.fired()


def panels() -> list[dict[str, Any]]:
    board = json.loads((DEPLOY / "grafana" / "candlelatch.json").read_text())
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries() -> dict[str, str]:
    return {f"{panel['title']} {target['refId']}": target["expr"] for panel in panels() for target in panel["targets"]}


SUBSTITUTES = {"$job": ".*", "$timeframe": ".*", "$__rate_interval": "15s"}


@pytest.mark.parametrize("name", queries())
def test_query_of_the_dashboard_has_data(run: Run, name: str) -> None:
    """Prometheus understands the query, and has data for it from this minute."""
    expr = queries()[name]
    for variable, value in SUBSTITUTES.items():
        expr = expr.replace(variable, value)
    assert "$" not in expr
    run.deployment.until(lambda: any(real(one) for one in run.prometheus.over_time(expr)), f"data of {expr}")


def real(series: dict[str, Any]) -> bool:
    return any(value not in ("NaN", "+Inf") for _, value in series["values"])
