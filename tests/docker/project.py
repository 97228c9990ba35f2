"""One Compose project of a test: its containers, volumes and network, and nothing else on the machine."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KEPT = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY")
FOR_BUILD = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PYTHON_IMAGE", "REDIS_IMAGE", "BUILD_NETWORK")


def clean_environment(**more: str) -> dict[str, str]:
    """What Compose may see of this process's environment: none of the pipeline's own settings."""
    return {name: os.environ[name] for name in (*KEPT, *FOR_BUILD) if name in os.environ} | more


def compose_command() -> list[str] | None:
    """Compose 2 where the docker client has it, else 1, else None."""
    if shutil.which("docker") and run(["docker", "compose", "version"], check=False).returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def require_images() -> list[str]:
    """Compose, with an engine that answers and both base images; a test without them is skipped and says why."""
    command = compose_command()
    if command is None:
        pytest.skip("Compose is not installed: apt-get install docker-compose")
    answer = run(["docker", "version", "--format", "{{.Server.Version}}"], check=False)
    if answer.returncode:
        pytest.skip(f"no container engine answers: {answer.stderr.strip()[-200:]}")
    env = clean_environment()
    for image in (env.get("PYTHON_IMAGE", "python:3.11-slim"), env.get("REDIS_IMAGE", "redis:7-alpine")):
        if run(["docker", "image", "inspect", image], check=False).returncode:
            pulled = run(["docker", "pull", "-q", image], check=False, timeout_s=300)
            if pulled.returncode:
                pytest.skip(f"no image {image}, and no registry to get it from: {pulled.stderr.strip()[-200:]}")
    return command


def build_image(compose: Sequence[str], image: str) -> None:
    """Build the project's image as Compose does, on the layers that are there."""
    asked_for = {"SIGNAL_API_URL": "http://nowhere/", "FLOWER_BASIC_AUTH": "a:b", "CANDLELATCH_IMAGE": image}
    argv = [*compose, "-f", str(ROOT / "docker-compose.yml"), "build", "worker"]
    # One at a time, where tests run side by side: the second one finds the layers of the first.
    with (Path(tempfile.gettempdir()) / "candlelatch-build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run(argv, env=clean_environment(**asked_for), timeout_s=1500)


def run(argv: Sequence[str], *, check: bool = True, timeout_s: float = 60, env: Mapping[str, str] | None = None) -> Any:
    """Run a command in the project's folder; its output is text.

    Raises:
        RuntimeError: it failed; the message ends with what it said.
    """
    seen_by_it = env or clean_environment()
    done = subprocess.run(
        list(argv), check=False, cwd=ROOT, env=seen_by_it, capture_output=True, text=True, timeout=timeout_s
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}: {(done.stdout + done.stderr)[-3000:]}")
    return done


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def wait_until(holds: Callable[[], object], timeout_s: float, what: str) -> float:
    """Wait until something holds, and say how many seconds that took.

    Raises:
        TimeoutError: it did not come to hold.
    """
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > timeout_s:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.3)
    return time.monotonic() - began


class Project:
    """A Compose project with the `demo` profile.

    Args:
        compose: the command.
        name: of the project; every container, volume and network carries it.
        env_file: what `docker/demo-env` wrote.
        env: the environment of Compose.
    """

    def __init__(self, compose: Sequence[str], name: str, env_file: Path, env: Mapping[str, str]) -> None:
        files = ["-f", str(ROOT / "docker-compose.yml"), "-f", str(Path(__file__).parent / "publish-redis.yml")]
        self.name = name
        self._command = [*compose, "-p", name, *files, "--env-file", str(env_file), "--profile", "demo"]
        self._env = env

    def compose(self, *arguments: str, timeout_s: float = 120) -> str:
        """Run a command of Compose and return what it printed."""
        return str(run([*self._command, *arguments], env=self._env, timeout_s=timeout_s).stdout)

    def containers(self, service: str | None = None) -> list[str]:
        """Ids of the project's containers, running or not, in the order of their numbers."""
        labels = [f"label=com.docker.compose.project={self.name}"]
        labels += [f"label=com.docker.compose.service={service}"] if service else []
        filters = [word for label in labels for word in ("--filter", label)]
        listed = run(["docker", "ps", "-aq", "--no-trunc", *filters], env=self._env).stdout.split()
        return sorted(listed, key=self.named)

    def inspect(self, container: str) -> Any:
        """What the engine knows about a container."""
        return json.loads(run(["docker", "inspect", container], env=self._env).stdout)[0]

    def named(self, container: str) -> str:
        """A container's name."""
        return str(self.inspect(container)["Name"]).strip("/")

    def health(self) -> dict[str, str]:
        """The health of every container by name; its status where it is not running."""
        found = {}
        for container in self.containers():
            seen = self.inspect(container)
            state = seen["State"]
            health = state.get("Health", {}).get("Status", "has no check")
            found[seen["Name"].strip("/")] = health if state["Running"] else state["Status"]
        return found

    def inside(self, container: str, script: str, *, check: bool = True) -> str:
        """Run a shell script in a container as its own user and return what it printed."""
        argv = ["docker", "exec", container, "sh", "-c", script]
        return str(run(argv, env=self._env, check=check).stdout)

    def kill(self, container: str) -> None:
        """SIGKILL everything in a container. The engine does not start it again: that was asked for."""
        run(["docker", "kill", "--signal", "KILL", container], env=self._env)

    def crash(self, container: str) -> None:
        """SIGKILL every process in a container but the first, as if the program had died of itself."""
        self.inside(container, "kill -KILL -1", check=False)

    def talking_to(self, port: int, service: str) -> str | None:
        """A container of the service that holds a connection to that port, None where none does."""
        # A line of /proc/net/tcp: local address, remote address, state; 01 is ESTABLISHED.
        script = f"grep -qE ':{port:04X} 01 ' /proc/net/tcp && echo yes || true"
        containers = [one for one in self.containers(service) if self.inspect(one)["State"]["Running"]]
        with ThreadPoolExecutor(len(containers) or 1) as pool:
            answers = list(pool.map(lambda one: self.inside(one, script, check=False), containers))
        return next((one for one, answer in zip(containers, answers, strict=True) if "yes" in answer), None)

    def fetch(self, container: str, path: str, to: Path) -> Path:
        """Copy a file out of a container."""
        run(["docker", "cp", f"{container}:{path}", str(to)], env=self._env)
        return to

    def down(self) -> None:
        """Remove the project's containers, network and volumes."""
        self.compose("down", "--volumes", "--timeout", "5", "--remove-orphans")
