"""The users of `deploy/redis`: each role can do its work, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import redis
import requests
from redis.exceptions import AuthenticationError

from dedup.errors import StoreDenied
from dedup.ops import Claim
from dedup.stores.connect import connect
from dedup.stores.redis import RedisStore
from tasks.receiver import Fault
from tasks.transport import UNREADABLE
from tests.engines import DURABLE, free_port
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import CELERY, Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of
from tests.pipeline.nodes import ProcessContainer
from tests.security.roles import PASSWORDS, ROLES, Guarded
from tests.topology.conftest import server_binary

INSTRUMENTS = ("GOLD", "SILVER")


RUN_COMMANDS = """
import json, sys
from celery.bin.celery import celery
from click.testing import CliRunner
ran = [CliRunner().invoke(celery, ["-A", "tasks", *argv]) for argv in json.loads(sys.argv[1])]
print(json.dumps([(one.exit_code, one.stdout) for one in ran]))
"""


class Running:
    """A pipeline of which every process has its own user.

    Args:
        deployment: on a guarded engine; the test itself is `admin`.
    """

    def __init__(self, deployment: Deployment, engine: Guarded) -> None:
        self.deployment, self.engine = deployment, engine
        self.flower_port = free_port()
        self.prefix = deployment.line.settings.key_prefix

    def env(self, role: str) -> dict[str, str]:
        """What the processes of a role get."""
        own = {"REDIS_URL": self.engine.url_of(role), "CELERY_RESULT_BACKEND": self.engine.url_of(role, 1)}
        return {**self.deployment.env, **own}

    def start(self) -> None:
        """A worker, a beat and Flower."""
        self.deployment.worker(**self.env("worker"))
        self._process("beat", ["beat", "-l", "info"], "beat: Starting")
        argv = ["flower", "--address=127.0.0.1", f"--port={self.flower_port}"]
        self._process("flower", argv, "Visit me", FLOWER_BASIC_AUTH="u:p")

    def _process(self, role: str, argv: list[str], prompt: str, **more: str) -> None:
        process = ProcessContainer(
            [*CELERY, *argv], {**self.env(role), **more}, self.deployment.home, role, prompt, self.deployment.launch
        )
        self.deployment.processes[role] = process
        process.start()
        process.ready()

    def commands(self, *lines: Sequence[str]) -> list[tuple[int, str]]:
        """Run commands of `celery -A tasks` as the operator, in one process: exit codes and what they print."""
        argv = [sys.executable, "-c", RUN_COMMANDS, json.dumps(lines)]
        env, home = self.env("operator"), self.deployment.home
        ran = subprocess.run(argv, check=True, env=env, cwd=home, capture_output=True, text=True)
        return [(code, output) for code, output in json.loads(ran.stdout.splitlines()[-1])]

    def flower(self, path: str) -> Any:
        """What Flower's API answers."""
        reply = requests.get(f"http://127.0.0.1:{self.flower_port}{path}", auth=("u", "p"), timeout=20)
        reply.raise_for_status()
        return reply.json()


@pytest.fixture(params=["valkey9", "redis7"], scope="module")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A pipeline that has worked two candles and been looked at by every role."""
    home = tmp_path_factory.mktemp("acl")
    prefix = "p-1:" if request.param == "redis7" else ""
    version = "7.0" if request.param == "redis7" else ""
    engine = Guarded(server_binary(request.param), home, DURABLE, KEY_PREFIX=prefix, REDIS_VERSION=version)
    with deploy(home, [watch(*INSTRUMENTS)], engine=engine, SWEEP_INTERVAL="1", KEY_PREFIX=prefix) as deployment:
        with engine.client() as admin:
            # `deploy` has given the store without a prefix a memory of a day.
            admin.set(f"{prefix}dedup:since", admin.get("dedup:since"))
        engine.forgive()
        for instrument in INSTRUMENTS:
            deployment.feed(instrument, [ORIGIN - HOUR, ORIGIN])
        deployment.receiver.faults.put(Fault("drop_reply"))
        found = Running(deployment, engine)
        found.start()
        yield found


@pytest.mark.timeout(300)
def test_every_role_does_its_work(running: Running) -> None:
    """Worker, beat, Flower and the commands work as they do without users, and none of them is denied anything."""
    deployment, prefix = running.deployment, running.prefix
    candles = [candle_of(instrument) for instrument in INSTRUMENTS]
    deployment.until(lambda: all(map(deployment.signal_outcome, candles)), "the signals")
    assert [len(deployment.posts(one)) for one in candles] == [1, 1]
    (held,) = (one for one in candles if deployment.signal_outcome(one) == "held")
    with running.engine.client() as admin:
        admin.lpush(f"{prefix}candles", "rubbish")
        deployment.until(lambda: admin.llen(prefix + UNREADABLE), "the rubbish to be set aside")
    deployment.until(lambda: running.flower("/api/tasks"), "Flower to know of tasks")
    deployment.until(lambda: "stats" in str(running.flower("/api/workers?refresh=1")), "Flower to reach the worker")
    said = running.commands(
        ("inspect", "ping"),
        ("doctor", "--json"),
        ("status", "--json"),
        ("signals", "list", "--json"),
        ("candles", "show", "GOLD", "1h", "2025-01-04T09:00:00Z", "--json"),
        ("backfill", "--from", "3h", "--force", "--wait"),
        (
            "signals",
            "resolve",
            deployment.signal(held).id,
            "--as",
            "posted",
            "--why",
            "seen there",
            "--who",
            "me",
            "--yes",
        ),
    )
    # A picture with something held in it ends with 1.
    assert {code for code, _ in said} <= {0, 1}, said
    assert [said[number][0] for number in (0, 1, 6)] == [0, 0, 0], said
    pong, report, *pictures = (output for _, output in said[:5])
    assert "worker1@" in pong
    assert "fail" not in {one["level"] for one in json.loads(report)["findings"]}
    assert all(map(json.loads, pictures))
    assert deployment.signal_outcome(held) == "posted"
    deployment.until(lambda: deployment.outcomes("sweep")["swept"] > 2, "beat to send more")
    assert running.engine.denied() == []


ADMIN_ONLY = (
    *("FLUSHALL", "FLUSHDB", "KEYS *", "RANDOMKEY", "DBSIZE", "MONITOR", "SHUTDOWN", "SAVE", "BGSAVE", "BGREWRITEAOF"),
    *("CONFIG SET appendonly no", "CONFIG SET dir /tmp", "CONFIG REWRITE", "CONFIG RESETSTAT", "DEBUG SLEEP 1"),
    *("ACL LIST", "ACL SETUSER worker +@all", "ACL DELUSER worker", "ACL LOG RESET", "CLIENT LIST", "CLIENT KILL ID 1"),
    *("REPLICAOF 127.0.0.1 1", "SLAVEOF 127.0.0.1 1", "FAILOVER", "PSYNC ? -1", "MODULE LIST", "MODULE LOAD /tmp/x.so"),
    *("SCRIPT FLUSH", "SCRIPT KILL", "FUNCTION FLUSH", "FUNCTION LIST", "SWAPDB 0 1", "SLOWLOG GET", "LATENCY RESET"),
    *("SORT {candles}", "RENAME {candles} x", "MOVE {candles} 1", "COPY {candles} x", "DUMP {candles}"),
    *("MIGRATE 127.0.0.1 1 {candles} 0 1", "RESTORE x 0 x", "OBJECT HELP", "PERSIST {signal}", "TYPE {candles}"),
)
"""What no role may do, whatever the key."""

LOOKING = ("SCAN 0", "COMMAND LIST", "CLUSTER INFO")
"""What only the commands do."""

FORBIDDEN: dict[str, tuple[str, ...]] = {
    "worker": (
        *LOOKING,
        *("GET other", "SET other 1", "LPUSH other 1", "GET {p}candlex", "DEL elsewhere:candle:GOLD", "LLEN celery"),
        *("LRANGE {candles} 0 -1", "LRANGE {unreadable} 0 -1", "LPUSH {p}candlesx 1", "EVAL x 1 other"),
        *("PUBLISH other 1", "PUBLISH {p}/1.celery.pidbox 1", "SUBSCRIBE other", "PSUBSCRIBE *", "HGETALL {p}unacked"),
    ),
    "beat": (
        *LOOKING,
        *("GET {candle}", "SET {candle} 1", "GET {signal}", "SET {signal} 1", "EVAL x 1 {signal}", "GET other"),
        *("LPUSH {candles} 1", "LPUSH {publish} 1", "BRPOP {control} 1", "RPOP {control}", "DEL {control}"),
        *("HSET {p}unacked a 1", "SADD {p}_kombu.binding.candles x", "PUBLISH {p}/0.celery.pidbox 1", "PSUBSCRIBE *"),
        *("PSUBSCRIBE {p}/0.celeryev/*", "GET celery-task-meta-1", "LPUSH {unreadable} 1"),
    ),
    "flower": (
        *LOOKING,
        *("GET {candle}", "SET {candle} 1", "GET {signal}", "SET {signal} 1", "GET {since}", "SET {since} 1"),
        *(
            "CONFIG GET dir",
            "EVALSHA x 1 {signal}",
            "EVAL x 1 {p}_kombu.binding.celeryev",
            "GET celery-task-meta-1",
            "INFO",
        ),
        *("LPUSH {candles} 1", "LPUSH {publish} 1", "LPUSH {control} 1", "LPUSH x.reply.celery.pidbox 1"),
        *("BRPOP {candles} 1", "LLEN {candles}", "DEL {candles}", "HGET {p}unacked a", "DEL {p}unacked"),
        *("SADD {p}_kombu.binding.candles x", "SREM {p}_kombu.binding.candles x", "DEL {p}_kombu.binding.candles"),
        *("PUBLISH other 1", "PSUBSCRIBE *", "PSUBSCRIBE {p}/0.celery.pidbox/*"),
    ),
    "operator": (
        *("GET other", "SET other 1", "DEL other", "LPUSH other 1", "EVAL x 1 other", "SET celery-task-meta-1 x"),
        *("HGET {p}unacked a", "DEL {p}unacked", "PUBLISH other 1", "PSUBSCRIBE *", "RPOP {candles}"),
    ),
    "metrics": (
        *LOOKING,
        *("SET {candle} 1", "SET {signal} 1", "DEL {signal}", "LPUSH {candles} 1", "BRPOP {candles} 1", "GET other"),
        *(
            "CONFIG GET dir",
            "EVAL x 1 {signal}",
            "PUBLISH {p}/0.celery.pidbox 1",
            "PSUBSCRIBE {p}/0.celeryev/*",
            "SET {since} 1",
        ),
    ),
}


def filled(command: str, prefix: str) -> list[str]:
    """A command, word by word."""
    names = {name: prefix + name for name in ("candles", "publish", "control")}
    names |= {"candle": f"{prefix}candle:GOLD:1h:x", "signal": f"{prefix}signal:publish:GOLD:x", "p": prefix}
    names |= {"since": f"{prefix}dedup:since", "unreadable": prefix + UNREADABLE}
    return [word.format(**names) for word in command.split()]


@pytest.mark.parametrize("role", ROLES)
def test_no_role_does_anything_else(running: Running, role: str) -> None:
    """No role may look after the server, nor touch keys, queues or channels that are not its own."""
    prefix = running.prefix
    allowed = []
    with running.engine.client() as admin:
        for command in (*ADMIN_ONLY, *FORBIDDEN[role]):
            said = admin.execute_command("ACL", "DRYRUN", role, *filled(command, prefix))
            if "no permissions" not in str(said):
                allowed.append((command, said))
    assert allowed == []


@pytest.mark.parametrize(
    ("role", "script"),
    [
        ("worker", "return redis.call('FLUSHALL')"),
        ("worker", "return redis.call('CONFIG', 'SET', 'appendonly', 'no')"),
        ("worker", "return redis.call('SET', 'other', '1')"),
        ("worker", "return redis.call('KEYS', '*')"),
        ("beat", "return redis.call('DEL', 'signal:publish:GOLD:x')"),
        ("beat", "return redis.call('LPUSH', 'publish', '1')"),
        ("operator", "return redis.call('SET', 'other', '1')"),
    ],
)
def test_script_can_do_no_more_than_its_user(running: Running, role: str, script: str) -> None:
    """A foreign script gives nobody rights that they do not have: what it calls is checked too."""
    own = f"{running.prefix}dedup:since"
    with (
        running.engine.role(role) as client,
        pytest.raises(redis.ResponseError, match=r"ACL failure|can't|permission|not allowed"),
    ):
        client.eval(script, 1, own)


def test_nobody_gets_in_otherwise(running: Running) -> None:
    """The default user is off, and a wrong password is no password."""
    with redis.Redis(port=running.engine.port) as client, pytest.raises(AuthenticationError):
        client.ping()
    url = running.engine.url_of("worker").replace(PASSWORDS["worker"], PASSWORDS["beat"])
    with redis.Redis.from_url(url) as client, pytest.raises(AuthenticationError):
        client.ping()


def test_denial_names_the_rules(running: Running) -> None:
    """A role that lacks a permission is told where the rules of each role are; nothing was written."""
    for role in ("beat", "flower", "metrics"):
        store = RedisStore(connect(running.engine.url_of(role)))
        with pytest.raises(StoreDenied, match=r"deploy/redis/users\.acl\.template"):
            store.run(Claim("signal:publish:DENIED:x", "t", 60_000, 60_000))
        store.close()
    with running.engine.client() as admin:
        assert admin.exists("signal:publish:DENIED:x") == 0
