"""deploy/prometheus: accepted by promtool, and every alert shown to fire and not to fire."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.metrics.prometheus import DEPLOY, RULES, needs_prometheus

TESTS = RULES.with_name("rules.test.yml")
DOCS = DEPLOY.parent / "docs" / "metrics.md"


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def promtool(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *argv], capture_output=True, text=True, check=False)


@needs_prometheus
@pytest.mark.parametrize(
    "argv", [("check", "rules", str(RULES)), ("check", "config", str(RULES.with_name("prometheus.yml")))], ids=str
)
def test_promtool_accepts(argv: tuple[str, ...]) -> None:
    """Prometheus reads the rules and the configuration that names them."""
    done = promtool(*argv)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_rules_do_what_they_are_for() -> None:
    """Each alert fires for what it is for, with the words that a person gets, and not before or after."""
    done = promtool("test", "rules", str(TESTS))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", alerts())
def test_every_alert_is_shown_both_ways(name: str) -> None:
    """The rule tests show each alert firing at least once, and silent at least once."""
    cases = [case for test in yaml.safe_load(TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    shown = [bool(case["exp_alerts"]) for case in cases if case["alertname"] == name]
    assert set(shown) == {True, False}


@pytest.mark.parametrize("name", alerts())
def test_every_alert_says_what_to_do(name: str) -> None:
    """Each alert has a severity, words, and a place in docs/metrics.md."""
    rule = alerts()[name]
    assert rule["labels"]["severity"] in ("page", "warning")
    assert rule["annotations"].keys() == {"summary", "description"}
    assert re.search(rf"^### {name}$", DOCS.read_text(), re.MULTILINE)
