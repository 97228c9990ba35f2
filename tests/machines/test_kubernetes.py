"""The Kubernetes example, against the API's schemas and against what the pipeline promises. No cluster is asked."""

from __future__ import annotations

import copy
import subprocess
import threading
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import all_versions, latest_version

from tasks.settings import Settings, load_settings
from tasks.watchlist import load_watchlist

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "kubernetes"
VERSIONS = (all_versions()[0], latest_version())
HEARTBEAT = {"command": ["healthcheck", "heartbeat"]}

Document = dict[str, Any]


@cache
def documents() -> dict[tuple[str, str], Document]:
    """Every object of the example by kind and name; without kustomize's own."""
    paths = sorted(path for path in EXAMPLE.glob("*.yaml") if path.name not in ("kustomization.yaml", "secrets.yaml"))
    found = [document for path in paths for document in yaml.safe_load_all(path.read_text())]
    return {(document["kind"], document["metadata"]["name"]): document for document in found}


def deployment(name: str) -> Document:
    """A Deployment's spec."""
    found: Document = documents()["Deployment", f"candlelatch-{name}"]["spec"]
    return found


def pod(name: str) -> Document:
    """A Deployment's pod."""
    found: Document = deployment(name)["template"]["spec"]
    return found


def container(name: str) -> Document:
    """A pod's one container."""
    (found,) = pod(name)["containers"]
    return dict(found)


def handed(name: str) -> dict[str, str]:
    """The environment that a container is handed, from its ConfigMaps and Secrets."""
    found: dict[str, str] = {}
    for source in container(name)["envFrom"]:
        if "configMapRef" in source:
            found |= documents()["ConfigMap", source["configMapRef"]["name"]]["data"]
        else:
            found |= documents()["Secret", source["secretRef"]["name"]]["stringData"]
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("key", sorted(documents()), ids="/".join)
def test_every_object_fits_its_schema(key: tuple[str, str], version: str) -> None:
    """Each object is valid for the oldest and the newest version of Kubernetes at hand, without an unknown field."""
    kubernetes_validate.validate(documents()[key], version, strict=True)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda spec: spec.update(replicas="three"),
        lambda spec: spec["template"]["spec"].update(terminationGraceSeconds=75),
        lambda spec: spec.pop("selector"),
    ],
    ids=["wrong type", "unknown field", "missing field"],
)
def test_what_does_not_fit_is_refused(spoil: Any) -> None:
    """A number that is a word, a misspelt field or a missing one fails the check: it is no formality."""
    spoilt = copy.deepcopy(documents()["Deployment", "candlelatch-worker"])
    spoil(spoilt["spec"])
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(spoilt, VERSIONS[-1], strict=True)


def test_kustomization_names_every_file() -> None:
    """`kubectl apply -k` takes every file but the secrets, which are no example to be applied."""
    listed = yaml.safe_load((EXAMPLE / "kustomization.yaml").read_text())["resources"]
    files = {path.name for path in EXAMPLE.glob("*.yaml")} - {"kustomization.yaml", "secrets.yaml"}
    assert set(listed) == files - {"secrets.example.yaml"}


@pytest.mark.parametrize("name", ["worker", "beat", "flower"])
def test_settings_are_the_pipelines(name: str, tmp_path: Path) -> None:
    """What a container is handed are settings of the pipeline, which accepts them with the watchlist beside them."""
    given = {key: value for key, value in handed(name).items() if key != "FLOWER_BASIC_AUTH"}
    assert {key.lower() for key in given} <= Settings.model_fields.keys()
    watchlist = tmp_path / "pipeline.toml"
    watchlist.write_text(documents()["ConfigMap", "candlelatch-watchlist"]["data"]["pipeline.toml"])
    settings = load_settings(_env_file=None, **{key.lower(): value for key, value in given.items()})
    assert load_watchlist(watchlist, settings.clock.now).closes()
    (mount,) = [one for one in container(name)["volumeMounts"] if one["name"] == "watchlist"]
    assert settings.watchlist == Path(mount["mountPath"]) / "pipeline.toml"


@pytest.mark.parametrize(
    ("secret", "needed_by"),
    [
        ("REDIS_URL", {"worker", "beat", "flower"}),
        ("SIGNAL_API_SECRET", {"worker"}),
        ("FLOWER_BASIC_AUTH", {"flower"}),
    ],
)
def test_secrets_stay_where_they_are_needed(secret: str, needed_by: set[str]) -> None:
    """A secret is handed only to the pods that use it, and stands in no ConfigMap."""
    assert {name for name in ("worker", "beat", "flower") if secret in handed(name)} == needed_by
    assert not [key for key, one in documents().items() if key[0] == "ConfigMap" and secret in one["data"]]


def test_stopping_workers_have_the_time_of_their_tasks() -> None:
    """A pod is killed only after the time limits of its tasks, and its hook ends the worker softly."""
    settings = load_settings(_env_file=None, **{key.lower(): value for key, value in handed("worker").items()})
    grace_s = pod("worker")["terminationGracePeriodSeconds"]
    assert grace_s > max(settings.candle_time_limit, settings.publish_time_limit)


def test_hook_waits_for_the_end_of_the_worker() -> None:
    """The hook tells the worker to stop and returns when it has."""
    command = container("worker")["lifecycle"]["preStop"]["exec"]["command"]
    # A worker that takes a moment; in the container it is process 1.
    worker = subprocess.Popen(
        ["sh", "-c", "trap 'sleep 0.5; echo done; exit' TERM; echo up; while :; do sleep 0.05; done"],
        stdout=subprocess.PIPE,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"up\n"
    reaper = threading.Thread(target=worker.wait)
    reaper.start()
    subprocess.run(
        [word.replace(" 1;", f" {worker.pid};") for word in command], check=False, stderr=subprocess.PIPE, timeout=20
    )
    reaper.join(10)
    assert worker.stdout.read() == b"done\n"
    worker.stdout.close()


@pytest.mark.parametrize("name", ["worker", "beat"])
def test_probes_cost_nothing(name: str) -> None:
    """Workers and beats are asked by a look at their heartbeat's time, not by a Python process of their own."""
    probes = [container(name)[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")]
    assert [probe["exec"] for probe in probes] == [HEARTBEAT] * 3
    assert "heartbeat)" in (ROOT / "docker" / "healthcheck").read_text()
    assert "HEARTBEAT_FILE=/tmp/" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", ["worker", "beat"])
def test_metrics_are_found(name: str) -> None:
    """Prometheus is told the port on which workers and beats answer, which listens to more than the pod itself."""
    port = handed(name)["METRICS_PORT"]
    annotations = deployment(name)["template"]["metadata"]["annotations"]
    assert annotations == {"prometheus.io/scrape": "true", "prometheus.io/port": port}
    assert [str(one["containerPort"]) for one in container(name)["ports"]] == [port]
    assert handed(name)["METRICS_HOST"] == "0.0.0.0"


@pytest.mark.parametrize(("name", "replicas"), [("worker", 3), ("beat", 2)])
def test_a_node_may_be_drained(name: str, replicas: int) -> None:
    """Disruption budgets select the pods they are for, keep one working at least, and let one go."""
    budget = documents()["PodDisruptionBudget", f"candlelatch-{name}"]["spec"]
    assert deployment(name)["replicas"] == replicas
    assert 1 <= budget["minAvailable"] < replicas
    labels = deployment(name)["template"]["metadata"]["labels"]
    assert budget["selector"] == deployment(name)["selector"] == {"matchLabels": labels}


@pytest.mark.parametrize("name", ["worker", "beat", "flower"])
def test_nobody_is_root(name: str) -> None:
    """No container runs as root, writes outside /tmp, holds a capability or a token of the cluster."""
    assert pod(name)["securityContext"]["runAsNonRoot"] is True
    assert pod(name)["securityContext"]["runAsUser"] == 10001
    assert pod(name)["automountServiceAccountToken"] is False
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("name", ["worker", "beat"])
def test_pods_run_what_compose_runs(name: str) -> None:
    """Workers and beats have the command that Compose gives them."""
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"][name]
    known = {"${WORKER_CONCURRENCY:-2}": "2", "${LOG_LEVEL:-info}": "info"}
    text = "\n".join(service["command"])
    for given, value in known.items():
        text = text.replace(given, value)
    assert container(name)["command"] == text.split("\n")
