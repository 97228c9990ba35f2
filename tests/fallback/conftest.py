"""Stores that fall back, over servers that the test takes away, in both flavours."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from dedup import BreakerRules, Circuit, Fallback, FallbackStore, MemoryStore, RedisStore, connect
from dedup import aio as dedup_aio
from dedup.stores.protocol import Store
from tests.contract.subjects import SUBJECTS, Driven, SetClock, Subject
from tests.engines import DURABLE, HOST, Engine

WAIT_MS = 1_000
READY = "Ready to accept connections"


@pytest.fixture(params=sorted(SUBJECTS))
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """Every store of the contract suite."""
    yield from SUBJECTS[request.param](request)


class Server(Engine):
    """A server that keeps its data over a restart, and that is back only when it has them all: between two files of
    its log it says for a moment that it is not loading.
    """

    def back(self) -> None:
        ready = self.log.count(READY)
        self.start()
        while self.log.count(READY) == ready:
            time.sleep(0.005)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of the test's own."""
    with Server(config=DURABLE) as engine:
        yield engine


@dataclass
class Outage:
    """A process beside a server that comes and goes: one memory, one circuit, and the time that the test lets pass.

    Attributes:
        patience_s: how long a call waits for a server that says nothing.
        clock: the circuit's.
        memory: what is kept while the server is away.
        circuit: what every store made here shares.
    """

    awaited: bool
    url: str
    patience_s: float = 10.0
    clock: SetClock = field(default_factory=SetClock)
    made: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.memory = MemoryStore()
        rules = BreakerRules(first_wait_s=WAIT_MS / 1000, max_wait_s=8)
        self.circuit = Circuit(rules, self.clock)

    def store(self, policy: Fallback = Fallback.MEMORY) -> Store:
        """A store of this process; the awaited flavour is driven call by call."""
        patience = {"socket_timeout": self.patience_s, "socket_connect_timeout": self.patience_s}
        if self.awaited:
            client = dedup_aio.connect(self.url, retry=AsyncRetry(NoBackoff(), 0), **patience)
            falling = dedup_aio.FallbackStore(dedup_aio.RedisStore(client), self.memory, self.circuit, policy)
            self.made.append(Driven(falling))
        else:
            primary = RedisStore(connect(self.url, retry=Retry(NoBackoff(), 0), **patience))
            self.made.append(FallbackStore(primary, self.memory, self.circuit, policy))
        store: Store = self.made[-1]
        return store

    def wait(self, ms: int = WAIT_MS) -> None:
        """Let the circuit's time pass."""
        self.clock.pass_ms(ms)

    def close(self) -> None:
        for store in self.made:
            store.end() if self.awaited else store.close()


@pytest.fixture(params=[False, True], ids=["blocking", "awaited"])
def beside(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Outage]]:
    """Make a process beside a server."""
    made: list[Outage] = []

    def make(url: str) -> Outage:
        made.append(Outage(request.param, url))
        return made[-1]

    yield make
    for outage in made:
        outage.close()


@pytest.fixture
def outage(beside: Callable[[str], Outage], server: Server) -> Outage:
    """A process beside the test's server."""
    return beside(server.url)


@dataclass
class BlackHole:
    """Takes connections and never answers, as a frozen server or a wrong firewall does; counts them."""

    listener: socket.socket
    taken: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.listener.getsockname()[1]}/0"

    def take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.taken.append(self.listener.accept()[0])


@pytest.fixture
def black_hole() -> Iterator[BlackHole]:
    """A server that is there and says nothing."""
    hole = BlackHole(socket.create_server((HOST, 0)))
    taking = threading.Thread(target=hole.take, daemon=True)
    taking.start()
    yield hole
    hole.listener.shutdown(socket.SHUT_RDWR)
    hole.listener.close()
    taking.join(10)
    for connection in hole.taken:
        connection.close()
