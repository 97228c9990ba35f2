"""docker-compose.yml and .env.example as Compose reads them. No engine is asked."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from project import ROOT, clean_environment, compose_command

from tasks.settings import Settings, load_settings

REQUIRED = {"SIGNAL_API_URL": "https://api.example.com/signals", "FLOWER_BASIC_AUTH": "me:secret"}

Config = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Runs `config` of Compose 1.29, the older and the stricter, where it is installed, else of Compose 2."""
    command = ["docker-compose"] if shutil.which("docker-compose") else compose_command()
    if command is None:
        pytest.skip("Compose is not installed: apt-get install docker-compose")
    # Instead of the .env of whoever runs this.
    empty = tmp_path / "empty.env"
    empty.touch()

    def run(env: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
        argv = [*command, "--project-directory", str(ROOT), "--env-file", str(empty), *options, "config"]
        clean = clean_environment(**env)
        return subprocess.run(argv, check=False, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture
def services(config: Config) -> Any:
    """The services with the demonstration, where only that is set which has to be."""
    done = config(REQUIRED, "--profile", "demo")
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)["services"]


def test_compose_accepts_the_file(config: Config) -> None:
    """With an API and a password for Flower, docker-compose.yml is valid, and the reference API is no part of it."""
    done = config(REQUIRED)
    assert done.returncode == 0, done.stderr
    assert {"redis", "worker", "beat", "flower"} <= yaml.safe_load(done.stdout)["services"].keys()


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_what_has_to_be_set_is_asked_for(config: Config, name: str) -> None:
    """Without an API or a password for Flower nothing starts, and the message says where to set it."""
    done = config({key: value for key, value in REQUIRED.items() if key != name})
    assert done.returncode != 0
    assert "set it in .env" in done.stderr


def test_the_example_of_settings_is_true(config: Config) -> None:
    """docker-compose.yml reads every name in .env.example, and accepts the values given there."""
    lines = [line.lstrip("#").partition("=") for line in (ROOT / ".env.example").read_text().splitlines()]
    given = {name: value for name, equals, value in lines if equals and name.isupper()}
    compose = (ROOT / "docker-compose.yml").read_text()
    assert given.keys() >= REQUIRED.keys()
    for name in given:
        assert f"${{{name}:" in compose or f"  {name}:\n" in compose, name
    done = config(given | {"FLOWER_BASIC_AUTH": "me:secret"})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("service", ["worker", "beat", "flower"])
def test_every_setting_can_be_set(services: Any, service: str) -> None:
    """Workers, beats and Flower are handed every setting but those that a container fixes or does not need."""
    fixed_by_the_image = {"heartbeat_file"}
    for_a_single_process = {"redis_enabled"}
    for_who_signs = set() if service == "worker" else {"signal_api_secret"}
    expected = Settings.model_fields.keys() - fixed_by_the_image - for_a_single_process - for_who_signs
    assert {name.upper() for name in expected} <= services[service]["environment"].keys()


def test_what_nobody_set_is_left_to_the_pipeline(services: Any) -> None:
    """A setting without a value anywhere is not handed on as an empty one."""
    assert services["worker"]["environment"]["HORIZON"] is None


def test_a_setting_is_handed_on(config: Config) -> None:
    """A setting of the environment or .env reaches the containers."""
    done = config(REQUIRED | {"HORIZON": "7200"})
    assert str(yaml.safe_load(done.stdout)["services"]["beat"]["environment"]["HORIZON"]) == "7200"


def test_everything_is_started_again_and_hardened(services: Any) -> None:
    """Every service restarts unless stopped, on a read-only file system and without capabilities."""
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name


def test_there_are_two_beats(services: Any) -> None:
    """Two beats run without being asked for."""
    assert services["beat"]["scale"] == 2


def test_a_stopping_worker_is_given_the_time_of_its_tasks(services: Any) -> None:
    """A worker is not killed before the time limits of its tasks have passed."""
    minutes, _, seconds = services["worker"]["stop_grace_period"].rpartition("m")
    grace_s = 60 * float(minutes or 0) + float(seconds.removesuffix("s") or 0)
    limits = load_settings(_env_file=None)
    assert grace_s > max(limits.candle_time_limit, limits.publish_time_limit)


def test_only_this_machine_reaches_the_ports(services: Any) -> None:
    """Published ports listen on the loopback address, and Redis publishes none."""
    assert "ports" not in services["redis"]
    for name in ("flower", "receiver"):
        assert all("127.0.0.1" in str(port) for port in services[name]["ports"]), name


@pytest.mark.parametrize(
    ("secret", "needed_by"),
    [("FLOWER_BASIC_AUTH", {"flower"}), ("SIGNAL_API_SECRET", {"worker", "receiver"}), ("REDIS_PASSWORD", {"redis"})],
)
def test_secrets_stay_where_they_are_needed(services: Any, secret: str, needed_by: set[str]) -> None:
    """A secret is handed only to the service that uses it."""
    assert {name for name, service in services.items() if secret in service["environment"]} == needed_by
