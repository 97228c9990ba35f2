"""The scripts: one for each operation, each headed by its contract, each on one key."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
import redis

import dedup
from dedup import lua
from dedup.lua import script
from dedup.ops import Op
from dedup.stores.redis import RedisStore
from dedup.transitions import apply
from tests.engines import Engine

KEYLESS = {"TIME", "INFO"}
SAMPLES = {"str": "text-{}", "int": 1_000, "bool": True}


def _operations() -> Iterator[type[Any]]:
    """Every class of the library that offers what an operation offers."""
    for module in pkgutil.walk_packages(dedup.__path__, "dedup."):
        for kind in vars(importlib.import_module(module.name)).values():
            defined_here = isinstance(kind, type) and kind.__module__ == module.name
            if defined_here and dataclasses.is_dataclass(kind) and isinstance(getattr(kind, "script", None), str):
                yield kind


OPERATIONS = {kind.script: kind for kind in _operations()}
SCRIPTS = sorted(path.name.removesuffix(".lua") for path in files(lua).iterdir() if path.name.endswith(".lua"))


def sample(kind: type[Any]) -> Op[Any]:
    """An operation, each of whose fields can be told from the others."""
    made: dict[str, Any] = {}
    for number, field in enumerate(dataclasses.fields(kind)):
        value = SAMPLES[str(field.type)]
        made[field.name] = value.format(number) if isinstance(value, str) else value + number
    op: Op[Any] = kind(**made)
    return op


def header(name: str) -> str:
    """The comment at the top of a script."""
    lines = script(name).text.splitlines()
    return "\n".join(lines[: next(at for at, line in enumerate(lines) if not line.startswith("--"))])


def test_every_operation_has_its_script() -> None:
    """There is a script for each operation, and no other."""
    assert sorted(OPERATIONS) == SCRIPTS
    assert len(SCRIPTS) >= 6


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_operation_has_its_transition(name: str) -> None:
    """Whatever Redis can do memory can do too."""
    step = apply(sample(OPERATIONS[name]), None, 1_750_000_000_000)
    assert OPERATIONS[name].parse is not None
    sample(OPERATIONS[name]).parse(step.reply, "memory")


@pytest.mark.parametrize("name", SCRIPTS)
def test_header_says_what_the_script_is(name: str) -> None:
    """A script begins with its name, what it does, its operation, its keys, its arguments and its replies."""
    kind = OPERATIONS[name]
    text = header(name)
    assert text.startswith(f"-- {name}: ")
    assert f"{kind.__module__}.{kind.__name__}" in text
    assert re.findall(r"KEYS\[(\d)\]", text) == ["1"]
    assert re.search(r"^-- replies +\{.+\}", text, re.MULTILINE)


@pytest.mark.parametrize("name", SCRIPTS)
def test_header_lists_the_arguments(name: str) -> None:
    """The arguments in a script's header are the operation's fields, in the order in which they are sent."""
    op = sample(OPERATIONS[name])
    listed = re.findall(r"(\d+) ([a-z_]+)", re.search(r"ARGV(.*?)\n-- replies", header(name), re.DOTALL)[1])
    assert [int(number) for number, _ in listed] == list(range(1, len(op.args()) + 1))
    values = [getattr(op, field) for _, field in listed]
    assert [int(value) if isinstance(value, bool) else value for value in values] == list(op.args())
    assert {field for _, field in listed} | {"key"} == {field.name for field in dataclasses.fields(op)}


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_names_no_other_key(name: str) -> None:
    """A script's every command is on KEYS[1] or on no key, as Redis Cluster demands."""
    body = "\n".join(line.partition("--")[0] for line in script(name).text.splitlines())
    assert set(re.findall(r"KEYS\[(.+?)\]", body)) == {"1"}
    assert re.findall(r"local key = (.+)", body) in ([], ["KEYS[1]"])
    calls = re.findall(r"redis\.p?call\(\s*'(\w+)'\s*(?:,\s*([^,)]+))?", body)
    assert len(calls) == body.count("redis.call") + body.count("redis.pcall")
    assert [call for call in calls if call[0] not in KEYLESS and call[1] not in ("key", "KEYS[1]")] == []


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("server", ["empty_valkey", "empty_redis7"])
def test_script_touches_no_other_key(request: pytest.FixtureRequest, server: str, name: str) -> None:
    """A user who may use one key only can run every operation on it, before and after it holds something."""
    engine: Engine = request.getfixturevalue(server)
    admin = engine.client()
    op = sample(OPERATIONS[name])
    (key,) = op.keys()
    admin.execute_command("ACL", "SETUSER", "narrow", "on", ">pw", f"~{key}", "+@all")
    try:
        store = RedisStore(redis.Redis.from_url(engine.url, username="narrow", password="pw"))
        store.run(op)
        store.run_many([op, op])
        assert set(admin.keys("*")) <= {key}
        store.close()
    finally:
        admin.execute_command("ACL", "DELUSER", "narrow")
        admin.close()


@pytest.mark.parametrize("server", ["empty_valkey", "empty_redis7"])
def test_servers_know_scripts_by_our_digest(request: pytest.FixtureRequest, server: str) -> None:
    """The digest by which we call a script is the one that the server gives it."""
    engine: Engine = request.getfixturevalue(server)
    client = engine.client()
    assert [client.script_load(script(name).text) for name in SCRIPTS] == [script(name).sha for name in SCRIPTS]
    client.close()


def test_unknown_script_is_an_error() -> None:
    """A script that does not exist is not made up."""
    with pytest.raises(FileNotFoundError):
        script("steal")
