"""A real Prometheus as a child process: own data, own port, the rules and jobs of deploy/prometheus, but in seconds."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import requests
import yaml

from tests.engines import HOST, free_port
from tests.pipeline.nodes import leash
from tests.pipeline.waiting import eventually

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="prometheus is not installed: apt-get install prometheus",
)

Series = dict[str, Any]


class Prometheus:
    """Scrapes and evaluates every second.

    Args:
        home: an empty directory.
        targets: ports on this machine, by job.
    """

    def __init__(self, home: Path, targets: Mapping[str, Sequence[int]]) -> None:
        self._home = home
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.began_s = time.time()
        config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(RULES)]
        for job in config["scrape_configs"]:
            del job["dns_sd_configs"]
            job["static_configs"] = [{"targets": [f"{HOST}:{port}" for port in targets[job["job_name"]]]}]
        (home / "prometheus.yml").write_text(yaml.safe_dump(config))

    def __enter__(self) -> Self:
        files = [f"--config.file={self._home / 'prometheus.yml'}", f"--storage.tsdb.path={self._home / 'data'}"]
        argv = ["prometheus", *files, f"--web.listen-address={HOST}:{self._port}", "--log.level=warn"]
        with (self._home / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen([*leash(), *argv], stdout=log, stderr=log)
        eventually(self._ready, "Prometheus to come up", situation=self._log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    def query(self, expr: str) -> list[Series]:
        """The series of an expression now: ``{"metric": labels, "value": [at, text]}``.

        Raises:
            AssertionError: it is no expression, or Prometheus failed.
        """
        return self._asked("query", query=expr)

    def over_time(self, expr: str) -> list[Series]:
        """The series of an expression at each second since the start: ``{"metric": labels, "values": […]}``."""
        return self._asked("query_range", query=expr, start=self.began_s, end=time.time(), step="1s")

    def value(self, expr: str) -> float | None:
        """The value of an expression that has one series; None where it has none."""
        found = self.query(expr)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def until(self, expr: str, value: float | None = None) -> None:
        """Wait until an expression has a series, or has this value."""
        eventually(
            lambda: bool(self.query(expr)) if value is None else self.value(expr) == value,
            f"{expr} to be {value}",
            situation=lambda: str(self.query(expr)),
        )

    def fired(self) -> set[str]:
        """The names of the alerts that were firing at some time."""
        return {series["metric"]["alertname"] for series in self.over_time('ALERTS{alertstate="firing"}')}

    def _asked(self, what: str, **params: Any) -> list[Series]:
        reply = requests.get(f"http://{HOST}:{self._port}/api/v1/{what}", params=params, timeout=10)
        told = reply.json()
        assert told["status"] == "success", f"{params['query']}: {told}"
        assert not told.get("warnings"), told
        result = told["data"]["result"]
        # A bare number comes as one pair.
        return [{"metric": {}, "value": result}] if told["data"]["resultType"] == "scalar" else result

    def _ready(self) -> bool:
        try:
            return requests.get(f"http://{HOST}:{self._port}/-/ready", timeout=2).ok
        except requests.RequestException:
            return False

    def _log(self) -> str:
        return (self._home / "prometheus.log").read_text(errors="replace")
