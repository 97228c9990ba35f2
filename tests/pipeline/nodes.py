"""Nodes of pytest-celery over local processes.

pytest-celery speaks to whatever runs a broker or a worker through a container object. `ProcessContainer` offers what it
asks of one, over a process and its log file, so its clusters, kills, restarts and log assertions run without Docker.
"""

from __future__ import annotations

import shutil
import signal
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import celery
import psutil
import redis
from celery import Celery
from pytest_celery import CeleryTestBackend, CeleryTestBroker, CeleryTestNode, CeleryTestSetup, CeleryTestWorker

from tasks.supervisor import Spec, Supervised
from tests.engines import Engine
from tests.pipeline.waiting import eventually

START_S = 60.0


class Launched(Protocol):
    """What starts and ends one process: `tasks.supervisor.Supervised`, or `tests.pipeline.preloaded.Forked`."""

    log_path: Path
    starts: int

    @property
    def pid(self) -> int: ...

    @property
    def running(self) -> bool: ...

    def start(self) -> None: ...

    def signal(self, number: signal.Signals) -> None: ...

    def ask_to_stop(self) -> None: ...

    def wait(self, timeout_s: float) -> None: ...


Launch = Callable[[Spec, Path], Launched]


class ProcessContainer:
    """A process as pytest-celery sees a container.

    Args:
        argv: command and arguments.
        env: the whole environment.
        home: the log file is made here.
        name: of the node and of its log file.
        prompt: what its log says when it is ready.
        launch: what starts it.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        home: Path,
        name: str,
        prompt: str,
        launch: Launch = Supervised,
    ) -> None:
        self.name = name
        self.id = uuid.uuid4().hex
        self.ready_prompt = prompt
        self._process = launch(Spec(name, [*leash(), *argv], env), home)
        self._started_at = 0

    @property
    def pid(self) -> int:
        """Process id of the parent, which leads the group of its children."""
        return self._process.pid

    @property
    def status(self) -> str:
        """`running` or `exited`."""
        return "running" if self._process.running else "exited"

    @property
    def works(self) -> bool:
        """Whether it runs, and its log says the prompt since this start."""
        return self.status == "running" and self.ready_prompt in self.logs()[self._started_at :]

    def start(self) -> None:
        """Start the process; `ready` waits for it."""
        self._started_at = len(self.logs())
        self._process.start()

    @property
    def starts(self) -> int:
        """How often it was started."""
        return self._process.starts

    def ready(self) -> bool:
        """Wait until the log of this start says the prompt."""
        eventually(self._prompted, f"{self.name} to say {self.ready_prompt!r}", START_S, self.logs)
        return True

    def logs(self) -> str:
        """All that it has written, since the first start."""
        path = self._process.log_path
        return path.read_text(errors="replace") if path.exists() else ""

    def kill(self, signal: str | int = "SIGKILL") -> None:
        """Send a signal; SIGKILL, SIGSTOP and SIGCONT reach its children too, as they do in a container."""
        number = _signal_of(signal)
        if number in _WHOLE_GROUP:
            self._process.signal(number)
        else:
            psutil.Process(self.pid).send_signal(number)
        if number is _KILL:
            self._process.wait(START_S)
        if number is _STOP:
            eventually(self._stopped, f"{self.name} to stop", START_S)

    def wait(self) -> None:
        """Wait for its end."""
        self._process.wait(START_S)

    def reload(self) -> None:
        """Nothing: the state is read from the process each time."""

    def restart(self, timeout: float = START_S) -> None:
        """Stop it if it runs, softly, and start it again."""
        self._process.ask_to_stop()
        self._process.wait(timeout)
        self.start()

    def teardown(self) -> None:
        """Kill it with its children."""
        self.kill("SIGCONT")
        self.kill("SIGKILL")

    def family(self) -> list[psutil.Process]:
        """The process and its children."""
        parent = psutil.Process(self.pid)
        return [parent, *parent.children(recursive=True)]

    def _stopped(self) -> bool:
        return all(process.status() == psutil.STATUS_STOPPED for process in self.family())

    def _prompted(self) -> bool:
        if self.status != "running":
            raise AssertionError(f"{self.name} has exited:\n{self.logs()[-4000:]}")
        return self.works


class WorkerProcess(ProcessContainer):
    """A Celery worker.

    Args:
        argv: the command, without node name and queues.
        env: the whole environment.
        home: the log file is made here.
        name: the part of its node name before the @; behind it stands the id, as in a container.
        queues: separated by commas.
        launch: what starts it.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        home: Path,
        name: str,
        queues: str,
        launch: Launch = Supervised,
    ) -> None:
        identity = uuid.uuid4().hex
        command = [*argv, "-n", f"{name}@{identity[:12]}", "-Q", queues]
        super().__init__(command, env, home, name, prompt=" ready.", launch=launch)
        self.id = identity
        self._queues = queues

    def version(self) -> str:
        """Celery's version."""
        return str(celery.__version__)

    def log_level(self) -> str:
        """Level of its log."""
        return "INFO"

    def worker_name(self) -> str:
        """The part of its node name before the @."""
        return self.name

    def worker_queue(self) -> str:
        """Its queues, separated by commas."""
        return self._queues


class EngineProcess:
    """An `Engine` as pytest-celery sees a container.

    Args:
        engine: running.
        database: number of the database that is the broker or the backend.
    """

    def __init__(self, engine: Engine, database: int) -> None:
        self.name = f"engine-{engine.port}-{database}"
        self.id = uuid.uuid4().hex
        self._engine = engine
        self._database = database

    @property
    def status(self) -> str:
        """`running` or `exited`."""
        return "running" if self._engine.running else "exited"

    @property
    def celeryconfig(self) -> dict[str, Any]:
        """Where it is: the same address for the host and for the workers."""
        url = f"{self._engine.url.rpartition('/')[0]}/{self._database}"
        return {"url": url, "host_url": url, "hostname": "127.0.0.1", "port": self._engine.port, "vhost": "0"}

    @property
    def client(self) -> redis.Redis:
        """A client that decodes responses."""
        return self._engine.client(db=self._database)

    def ready(self) -> bool:
        """Whether it answers."""
        return bool(self.client.ping())

    def logs(self) -> str:
        """What the server said."""
        return self._engine.log

    def kill(self, signal: str | int = "SIGKILL") -> None:
        """SIGKILL, or with any other signal an orderly shutdown."""
        if _signal_of(signal) is _KILL:
            self._engine.kill()
        else:
            self._engine.stop()

    def reload(self) -> None:
        """Nothing: the state is read from the process each time."""

    def restart(self, timeout: float = START_S) -> None:
        """Stop it if it runs, and start it again on its port and data."""
        self._engine.stop()
        self._engine.start(timeout_s=timeout)

    def teardown(self) -> None:
        """Nothing: whoever started the engine ends it."""


class ProcessWorker(CeleryTestWorker):
    """A worker node over a process."""

    def get_running_processes_info(
        self, columns: list[str] | None = None, filters: dict[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """Its processes, as psutil tells them."""
        infos = [process.as_dict(attrs=columns) for process in self.container.family()]
        return [info for info in infos if all(info.get(key) == value for key, value in (filters or {}).items())]


class PipelineSetup(CeleryTestSetup):
    """The setup whose app sends to the pipeline's queues."""

    config_of_pipeline: Mapping[str, Any] = {}

    @classmethod
    def name(cls) -> str:
        """The app's name."""
        return "candlelatch"

    @classmethod
    def update_app_config(cls, app: Celery) -> None:
        """Queues, routes and transport options as the workers have them."""
        addresses = ("broker_url", "broker_read_url", "broker_write_url", "result_backend")
        app.conf.update({name: value for name, value in cls.config_of_pipeline.items() if name not in addresses})


def broker_node(engine: Engine) -> CeleryTestBroker:
    """The engine's first database as pytest-celery's broker."""
    return CeleryTestBroker(EngineProcess(engine, 0))


def backend_node(engine: Engine) -> CeleryTestBackend:
    """The engine's second database as pytest-celery's result backend."""
    return CeleryTestBackend(EngineProcess(engine, 1))


def worker_node(worker: WorkerProcess, app: Celery) -> ProcessWorker:
    """A worker process as pytest-celery's worker."""
    return ProcessWorker(worker, app)


def beat_node(beat: ProcessContainer) -> CeleryTestNode:
    """A beat process as a node: pytest-celery has no beats of its own."""
    return CeleryTestNode(beat)


_KILL, _STOP = signal.SIGKILL, signal.SIGSTOP
_WHOLE_GROUP = (_KILL, _STOP, signal.SIGCONT)


def _signal_of(name: str | int) -> signal.Signals:
    return signal.Signals[name] if isinstance(name, str) else signal.Signals(name)


def leash() -> list[str]:
    """A test run that is killed takes its processes with it."""
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
