"""docker-compose.monitoring.yml over docker-compose.yml, as Compose reads them. No engine is asked."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from project import ROOT, clean_environment, compose_command

REQUIRED = {
    "SIGNAL_API_URL": "https://api.example.com/signals",
    "FLOWER_BASIC_AUTH": "me:secret",
    "GRAFANA_PASSWORD": "secret",
}
PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"

Config = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Runs `config` of Compose on both files."""
    command = ["docker-compose"] if shutil.which("docker-compose") else compose_command()
    if command is None:
        pytest.skip("Compose is not installed: apt-get install docker-compose")
    empty = tmp_path_factory.mktemp("compose") / "empty.env"
    empty.touch()
    files = ["-f", "docker-compose.yml", "-f", "docker-compose.monitoring.yml"]

    def run(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        argv = [*command, "--project-directory", str(ROOT), "--env-file", str(empty), *files, "config"]
        clean = clean_environment(**env)
        return subprocess.run(argv, check=False, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture(scope="module")
def services(config: Config) -> Any:
    """The services, where only that is set which has to be."""
    done = config(REQUIRED)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)["services"]


def test_monitoring_is_added_to_the_pipeline(services: Any) -> None:
    """With both files there is everything that there is without monitoring, and Prometheus and Grafana."""
    assert {"redis", "worker", "beat", "flower", "prometheus", "grafana"} <= services.keys()
    assert services["worker"]["environment"]["SIGNAL_API_URL"] == REQUIRED["SIGNAL_API_URL"]
    assert services["beat"]["scale"] == 2


def test_grafana_wants_a_password(config: Config) -> None:
    """Without a password for Grafana nothing starts, and the message says where to set it."""
    done = config({name: value for name, value in REQUIRED.items() if name != "GRAFANA_PASSWORD"})
    assert done.returncode != 0
    assert "set it in .env" in done.stderr


@pytest.mark.parametrize("service", ["worker", "beat"])
def test_prometheus_finds_what_is_measured(services: Any, service: str) -> None:
    """Workers and beats listen on the port at which Prometheus looks for them, by their service's name."""
    jobs = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    (found,) = (job["dns_sd_configs"][0] for job in jobs if job["job_name"] == f"candlelatch-{service}")
    environment = services[service]["environment"]
    assert found["names"] == [service]
    assert int(environment["METRICS_PORT"]) == found["port"]
    assert environment["METRICS_HOST"] == "0.0.0.0"


def test_only_this_machine_reaches_the_ports(services: Any) -> None:
    """What is added listens on the loopback address; the metrics' own ports are not published."""
    assert "ports" not in services["worker"]
    assert "ports" not in services["beat"]
    for name in ("prometheus", "grafana"):
        assert all("127.0.0.1" in str(port) for port in services[name]["ports"]), name


def test_everything_is_started_again_and_hardened(services: Any) -> None:
    """What is added restarts unless stopped, on a read-only file system and without capabilities."""
    for name in ("prometheus", "grafana"):
        assert services[name]["restart"] == "unless-stopped", name
        assert services[name]["read_only"] is True, name
        assert services[name]["cap_drop"] == ["ALL"], name


def test_what_is_mounted_is_there(services: Any) -> None:
    """Every file and folder that a container of the monitoring is given exists."""
    for name in ("prometheus", "grafana"):
        given = [
            str(volume["source"] if isinstance(volume, dict) else volume.split(":")[0])
            for volume in services[name]["volumes"]
        ]
        paths = [path for path in given if path.startswith("/")]
        assert paths
        assert all(Path(path).exists() for path in paths), paths


def test_grafana_is_provisioned(services: Any) -> None:
    """Grafana's data source is the Prometheus beside it, and it looks for dashboards where ours is."""
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "candlelatch.yml").read_text())["providers"]
    assert f"{provider['options']['path']}/candlelatch.json" in str(services["grafana"]["volumes"])


def test_dashboard_is_whole() -> None:
    """Panels have ids of their own, lie in the grid without overlap, and ask the chosen data source."""
    board = json.loads((ROOT / "deploy" / "grafana" / "candlelatch.json").read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel.get("targets", []))
