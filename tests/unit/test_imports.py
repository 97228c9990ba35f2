"""The direction of imports: `tasks` over `dedup`, and inside `dedup` always towards the core."""

from __future__ import annotations

import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.unit.imports import Source, sources

# From the core outwards: a module may import what stands on its own line or above. What is not named is the outside.
LAYERS = (
    ("dedup.errors", "dedup.flows", "dedup.records", "dedup.lua"),
    ("dedup.timeframe", "dedup.breaker", "dedup.amnesia"),
    ("dedup.preflight",),
    ("dedup.keys",),
    ("dedup.replies",),
    ("dedup.marking", "dedup.resolving", "dedup.ops"),
    ("dedup.adopt", "dedup.observer"),
    ("dedup.transitions",),
    ("dedup.stores",),
)
OUTSIDE, AWAITED = len(LAYERS), len(LAYERS) + 1
STORES = LAYERS.index(("dedup.stores",))

THIRD_PARTIES = {"redis", "requests", "urllib3", "standardwebhooks", "pydantic"}
WAITING = {"asyncio", "logging", "os", "random", "select", "selectors", "socket", "subprocess", "threading", "time"}
MAY_BUILD_STORES = {"dedup", "dedup.backend", "dedup.aio", "dedup.aio.backend"}
ON_REDIS = {"dedup.stores.redis", "dedup.stores.async_redis"}
READS_ENVIRONMENT = "tasks.settings"

# The one part of the library that knows Prometheus. Nothing else of it knows this part, so that it stays optional.
COUNTING, PROMETHEUS = "dedup.metrics", {"prometheus_client"}

# The one part of the library that knows Celery. Nothing else of it knows this part, so that it stays optional.
INTEGRATION, CELERY = "dedup.celery", {"celery", "kombu", "billiard"}

LIBRARY = sources("dedup")
PIPELINE = sources("tasks")
NAMES = {source.name for source in LIBRARY}


def named(source: Source) -> str:
    return source.name


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def layer(name: str) -> int:
    """How far from the core a module of the library stands."""
    if within(name, "dedup.aio"):
        return AWAITED
    found = (at for at, members in enumerate(LAYERS) if any(within(name, member) for member in members))
    return next(found, OUTSIDE)


def offences(source: Source) -> list[str]:
    """What a module of the library imports against the rules."""
    imported = set(source.imported())
    found = [name for name in imported if name in NAMES and name != "dedup" and layer(name) > layer(source.name)]
    tops = {name.partition(".")[0] for name in imported}
    integrating = within(source.name, INTEGRATION)
    allowed = set(sys.stdlib_module_names) | THIRD_PARTIES | {"dedup"} | (CELERY if integrating else set())
    allowed |= PROMETHEUS if source.name == COUNTING else set()
    found += sorted(tops - allowed)
    if not integrating:
        found += [name for name in imported if within(name, INTEGRATION) or name == COUNTING]
    if layer(source.name) != STORES:
        found += [name for name in imported if within(name, "redis")]
    if layer(source.name) < STORES:
        found += sorted(tops & (THIRD_PARTIES | WAITING))
    if layer(source.name) > STORES and source.name not in MAY_BUILD_STORES:
        found += [name for name in imported if name in ON_REDIS]
    if source.reads_environment():
        found.append("the environment")
    return found


@pytest.mark.parametrize("source", LIBRARY, ids=named)
def test_library_imports_towards_its_core(source: Source) -> None:
    """A module of the library imports only what lies nearer to the core, and never the pipeline or Celery."""
    assert offences(source) == []


FORBIDDEN = {
    "the pipeline": ("dedup.cache", "import tasks.app"),
    "the pipeline, later": ("dedup.cache", "def f():\n    from tasks import app"),
    "Prometheus": ("dedup.backend", "import prometheus_client"),
    "Prometheus by way of its part": ("dedup.backend", "from dedup.metrics import Metrics"),
    "Celery": ("dedup.publisher", "from celery import Celery"),
    "Celery by way of its part": ("dedup.publisher", "from dedup.celery import Once"),
    "the pipeline, in Celery's part": ("dedup.celery.task", "from tasks.app import app"),
    "another library": ("dedup.signals", "import pandas"),
    "outwards": ("dedup.ops", "from dedup.stores.protocol import Store"),
    "outwards, relative": ("dedup.records", "from .ops import Claim"),
    "outwards, from the package": ("dedup.keys", "from dedup import stores"),
    "a store that knows caches": ("dedup.stores.redis", "from dedup.cache import CandleCache"),
    "blocking code that knows awaited": ("dedup.cache", "from dedup.aio.cache import CandleCache"),
    "Redis outside the stores": ("dedup.cache", "import redis.asyncio"),
    "a cache that picks its store": ("dedup.cache", "from dedup.stores.redis import RedisStore"),
    "I/O in the core": ("dedup.transitions", "import time"),
    "HTTP in the core": ("dedup.ops", "import requests"),
    "the environment": ("dedup.options", "import os\nTTL = os.environ['CANDLE_TTL']"),
    "the environment by name": ("dedup.options", "from os import getenv"),
}


@pytest.mark.parametrize(("name", "text"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_rules_catch(name: str, text: str) -> None:
    """Each rule catches what it is for."""
    assert offences(Source.written(name, text)) != []


def test_library_has_no_cycles() -> None:
    """No module of the library imports itself by way of others."""
    # A package that shows its modules' names is no part of what those modules need.
    modules = [source for source in LIBRARY if not source.is_package]
    names = {source.name for source in modules}
    graph = {source.name: (set(source.imported()) & names) - {source.name} for source in modules}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("source", PIPELINE, ids=named)
def test_settings_alone_read_the_environment(source: Source) -> None:
    """Only `tasks/settings.py` knows the environment; everything else is handed what it needs."""
    assert source.name == READS_ENVIRONMENT or not source.reads_environment()


def test_library_needs_neither_pipeline_nor_celery() -> None:
    """Importing the whole library, but for the part that is for Celery, loads neither `tasks` nor Celery."""
    loaded = set(_import_all("dedup", but=INTEGRATION).split())
    assert loaded & {"tasks", "celery", "kombu"} == set()
    assert "dedup" in loaded


def test_importing_connects_to_nothing() -> None:
    """Importing every module of library and pipeline opens no connection."""
    assert "tasks" in _import_all("dedup", "tasks").split()


_IMPORT_ALL = """
import importlib, pkgutil, socket, sys

def refuse(*_):
    raise AssertionError("a connection was opened at import")

socket.socket.connect = socket.socket.connect_ex = refuse

def walk(package):
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, package + "."):
        if not module.name.startswith({but!r}):
            yield module
            if module.ispkg:
                yield from walk(module.name)

for package in {packages!r}:
    for module in walk(package):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(*{{name.partition(".")[0] for name in sys.modules}})
"""


def _import_all(*packages: str, but: str = "?") -> str:
    script = _IMPORT_ALL.format(packages=packages, but=but)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
