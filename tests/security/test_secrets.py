"""Secrets are in no log, result, event, record, page or output, whatever goes wrong."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import pytest
import redis
import requests
from rich.console import Console

from dedup.signals import Signal
from tasks.doctor import as_json, as_table, examine
from tasks.settings import Settings
from tests.delivery.scripted_api import Exchange, ScriptedApi
from tests.engines import DURABLE, free_port
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import CELERY, Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of
from tests.pipeline.nodes import ProcessContainer
from tests.security.roles import PASSWORDS, Guarded
from tests.security.test_acl import RUN_COMMANDS
from tests.topology.conftest import server_binary

API_PASSWORD, API_TOKEN, API_PATH = "api-pa55word/@:x", "api-query-t0ken", "T0KEN-IN-A-LONG-PATH"
FEED_TOKEN, FEED_KEY = "feed-b3arer-t0ken", "feed-query-k3y"
SIGNING = b64encode(b"signing-secret-of-32-bytes-here!").decode()
SECRETS = {
    **PASSWORDS,
    "API password": API_PASSWORD,
    "API token": API_TOKEN,
    "API path": API_PATH,
    "signing secret": SIGNING,
    "feed token": FEED_TOKEN,
    "feed key": FEED_KEY,
}
INSTRUMENTS = ("GOLD", "SILVER", "COPPER", "IRON")
WEB = "ZINC"


def found_in(text: str) -> list[str]:
    """The names of the secrets that a text holds, as they are or quoted for a URL."""
    return [name for name, secret in SECRETS.items() if secret in text or quote(secret, safe="") in text]


def echo(exchange: Exchange) -> None:
    """Answer an error that repeats the whole request, or a redirect that does."""
    asked = exchange.read()
    said = f"{asked.line}\n{asked.fields}\nwhsec_{SIGNING}".encode()
    if len(exchange.api.received) % 3 == 0:
        return
    if len(exchange.api.received) % 3 == 1:
        exchange.send(b"HTTP/1.1 422 No\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))
        return
    target = asked.line.split()[1].encode()
    exchange.send(b"HTTP/1.1 302 No\r\nLocation: http://h.example%b\r\nContent-Length: 0\r\n\r\n" % target)


class Talkative:
    """A pipeline in which everything has a secret and much goes wrong."""

    def __init__(self, deployment: Deployment, engine: Guarded) -> None:
        self.deployment, self.engine, self.flower_port = deployment, engine, free_port()

    def start(self) -> None:
        """A worker, and Flower."""
        self.deployment.worker(processes=1)
        argv = [*CELERY, "flower", "--address=127.0.0.1", f"--port={self.flower_port}"]
        env = {**self.deployment.env, "FLOWER_BASIC_AUTH": "u:p"}
        flower = ProcessContainer(argv, env, self.deployment.home, "flower", "Visit me", self.deployment.launch)
        self.deployment.processes["flower"] = flower
        flower.start()
        flower.ready()

    def flower(self, path: str) -> str:
        """A page."""
        return requests.get(f"http://127.0.0.1:{self.flower_port}{path}", auth=("u", "p"), timeout=30).text

    def run(self, *lines: Sequence[str]) -> str:
        """All that commands print, and their errors with traces."""
        argv = [sys.executable, "-c", RUN_COMMANDS, json.dumps(lines)]
        env, home = self.deployment.env, self.deployment.home
        ran = subprocess.run(argv, check=True, env=env, cwd=home, capture_output=True, text=True)
        return ran.stdout + ran.stderr

    def logs(self) -> str:
        """Of all processes."""
        return "".join(one.logs() for one in self.deployment.processes.values())

    def stored(self) -> str:
        """Everything that Redis holds: records, messages, results."""
        texts = []
        with self.engine.client() as admin:
            for key in admin.scan_iter("*"):
                texts += [str(key), *_values(admin, str(key))]
        return "\n".join(texts)


def _values(client: redis.Redis, key: str) -> Iterable[str]:
    reading: dict[str, Any] = {
        "string": lambda: [client.get(key)],
        "list": lambda: client.lrange(key, 0, -1),
        "hash": lambda: client.hgetall(key).values(),
        "set": lambda: client.smembers(key),
        "zset": lambda: client.zrange(key, 0, -1),
    }
    return map(str, reading[str(client.type(key))]())


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talkative]:
    """A pipeline of which the API and a feed repeat whatever they are told, and the work that came of it."""
    home, api, feed = tmp_path_factory.mktemp("secrets"), ScriptedApi(echo), ScriptedApi(echo)
    engine = Guarded(server_binary("valkey9"), home, DURABLE)
    credentials = f"desk:{quote(API_PASSWORD, safe='')}"
    address = f"http://{credentials}@127.0.0.1:{api.port}/{API_PATH}"
    settings = {
        "SIGNAL_API_URL": f"{address}?token={API_TOKEN}",
        "SIGNAL_LOOKUP_URL": f"{address}/{{id}}?token={API_TOKEN}",
        "SIGNAL_API_SECRET": f"whsec_{SIGNING}",
        "ON_UNKNOWN": "lookup",
    }
    with contextlib.ExitStack() as stack:
        for server in (api, feed):
            stack.callback(server.stop)
        deployment = stack.enter_context(deploy(home, [watch(*INSTRUMENTS)], engine=engine, **settings))
        with (home / "pipeline.toml").open("a") as watchlist:
            watchlist.write(_web(feed))
        own = {"REDIS_URL": engine.url_of("worker"), "CELERY_BROKER_URL": engine.url_of("admin")}
        deployment.env.update(own, CELERY_RESULT_BACKEND=engine.url_of("worker", 1))
        for instrument in INSTRUMENTS:
            deployment.feed(instrument, [ORIGIN - HOUR, ORIGIN])
        found = Talkative(deployment, engine)
        found.start()
        _work(found)
        yield found


def _web(feed: ScriptedApi) -> str:
    url = f"http://127.0.0.1:{feed.port}/{{instrument}}/{{timeframe}}?apikey={FEED_KEY}"
    return f"""
[sources.web]
kind = "http"
url = "{url}"
headers = {{ Authorization = "Bearer {FEED_TOKEN}" }}
[[watch]]
instruments = ["{WEB}"]
timeframe = "1h"
source = "web"
strategy = "tests.pipeline.strategies:always_buy"
"""


def _work(running: Talkative) -> None:
    deployment = running.deployment
    candles = [candle_of(instrument) for instrument in INSTRUMENTS]
    for candle in (*candles, candle_of(WEB)):
        deployment.evaluate(candle)
    # Rejected by an echo, rejected by a redirect, in doubt and held.
    deployment.until(lambda: all(map(deployment.signal_outcome, candles)), "the signals")
    deployment.until(lambda: f"{WEB} 1h" in running.logs(), "the feed's error")
    deployment.send("publish_signal", signal={"id": "x"})
    deployment.until(lambda: "InvalidSignal" in running.logs(), "a task to fail")
    deployment.until(lambda: WEB in running.flower("/api/tasks"), "Flower to know")


@pytest.mark.timeout(240)
def test_logs_hold_none(talkative: Talkative) -> None:
    """Logs of workers and Flower hold no secret, through refusals, redirects, doubts, lost feeds and failed tasks."""
    logs = talkative.logs()
    assert all(word in logs for word in ("rejected", "held", "answered 422"))
    assert found_in(logs) == []


def test_redis_holds_none(talkative: Talkative) -> None:
    """Records, messages and results hold no secret, with the reasons of all that went wrong."""
    stored = talkative.stored()
    assert "celery-task-meta-" in stored or "422" in stored
    assert found_in(stored) == []


@pytest.mark.parametrize(
    "path",
    ["/api/tasks", "/api/workers?refresh=1", "/tasks", "/workers", "/broker", "/api/queues/length", "/api/task/types"],
)
def test_flower_shows_none(talkative: Talkative, path: str) -> None:
    """No page of Flower and nothing of its API shows a secret, the workers' configuration included."""
    assert found_in(talkative.flower(path)) == []


@pytest.mark.timeout(240)
def test_commands_show_none(talkative: Talkative) -> None:
    """No command shows a secret: neither to people nor to machines, nor where it fails."""
    said = talkative.run(
        ("doctor",),
        ("doctor", "--json"),
        ("status", "--json"),
        ("signals", "list", "--state", "all", "--json"),
        ("candles", "show", WEB, "1h", "2025-01-04T09:00:00Z", "--json"),
        ("candles", "show", WEB, "1h", "2025-01-04T09:00:00Z"),
        ("inspect", "conf"),
        ("inspect", "stats"),
        ("report",),
    )
    assert "127.0.0.1" in said
    assert found_in(said) == []


MARKED = "mark3d-pa55word"
WRONG: dict[str, dict[str, str]] = {
    "malformed REDIS_URL": {"REDIS_URL": f"redis://worker:{MARKED}@[::1/0"},
    "unknown scheme": {"REDIS_URL": f"http://worker:{MARKED}@127.0.0.1/0"},
    "wrong password": {"REDIS_URL": f"redis://worker:{MARKED}@127.0.0.1:{{port}}/0"},
    "unreachable broker": {"CELERY_BROKER_URL": f"amqp://u:{MARKED}@127.0.0.1:0//"},
    "result backend": {"CELERY_RESULT_BACKEND": f"nosuch://u:{MARKED}@127.0.0.1/0"},
    "signing secret": {"SIGNAL_API_SECRET": MARKED},
    "API address": {"SIGNAL_API_URL": f"ftp://u:{MARKED}@127.0.0.1/{MARKED}"},
    "look-up address": {"SIGNAL_LOOKUP_URL": f"http://u:{MARKED}@{{id}}/x"},
}


@pytest.mark.parametrize("name", WRONG)
def test_refusals_show_none(talkative: Talkative, name: str) -> None:
    """Settings that are refused are not shown where they hold a secret, neither to people nor to machines."""
    port = str(talkative.engine.port)
    env = talkative.deployment.env | {key: value.replace("{port}", port) for key, value in WRONG[name].items()}
    given = {key.lower(): value for key, value in env.items() if key.lower() in Settings.model_fields}
    sections = examine(_env_file=None, **given)
    page = io.StringIO()
    Console(file=page, width=200).print(as_table(sections))
    said = page.getvalue() + json.dumps(as_json(sections))
    assert "FAIL" in said
    assert MARKED not in said
    assert found_in(said) == []


def test_signals_carry_none(talkative: Talkative) -> None:
    """What a task is given and what a signal holds is of the watchlist's public part."""
    signal = talkative.deployment.signal(candle_of("GOLD"))
    assert isinstance(signal, Signal)
    assert found_in(json.dumps(signal.fields())) == []
