"""A TCP proxy that loses, delays, cuts short or resets what it is told to: the network between two processes.

::

    with Proxy(engine.port) as proxy:
        deployment.worker(REDIS_URL=proxy.through(engine.url))
        proxy.put(Strike("drop", "reply", needle=b"candle:GOLD"))   # from now on
        ...
        proxy.clear()

It knows no protocol: see `tests.pipeline.strikes.Strike` for what it takes for a request and a reply.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.pipeline.strikes import Counted, Exchange, Place, Strike

HOST = "127.0.0.1"
CHUNK_BYTES = 65_536

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Struck:
    """Something that was struck.

    Attributes:
        strike: by what.
        data: the part of it at which that was decided.
        at_s: `time.monotonic()` then.
    """

    strike: Strike
    data: bytes
    at_s: float


class Proxy:
    """Forwards a port of its own to another one on this machine, in threads. A context manager.

    Every method may be called from any thread while connections are open.

    Args:
        target_port: what it forwards to. While nobody listens there, connections to the proxy are reset.
        rng: decides where strikes have a `chance`; seeded with 0 by default, so that a plan can be replayed.
    """

    def __init__(self, target_port: int, rng: random.Random | None = None) -> None:
        self._target_port = target_port
        self._rng = rng or random.Random(0)
        self._listener = socket.create_server((HOST, 0), backlog=128)
        self._changed = threading.Condition()
        self._plan: list[Counted] = []
        self._struck: list[Struck] = []
        self._connections: set[_Connection] = set()
        self._frozen_new = False
        self._closing = False
        self._acceptor = threading.Thread(target=self._accept, name="proxy", daemon=True)

    @property
    def port(self) -> int:
        """Where clients connect to."""
        port: int = self._listener.getsockname()[1]
        return port

    def through(self, url: str) -> str:
        """A URL of the target, led through this proxy."""
        return url.replace(f":{urlsplit(url).port}", f":{self.port}", 1)

    def put(self, *strikes: Strike) -> None:
        """Replace all strikes by these, counting from now. The first that strikes a request or reply has it."""
        with self._changed:
            self._plan = [Counted(strike) for strike in strikes]

    def clear(self) -> None:
        """Forward everything from now on. What was dropped or delayed stays so."""
        self.put()

    @property
    def struck(self) -> tuple[Struck, ...]:
        """All that was struck so far, oldest first."""
        with self._changed:
            return tuple(self._struck)

    @property
    def connections(self) -> int:
        """How many are open."""
        with self._changed:
            return len(self._connections)

    def freeze(self, new: bool = True) -> None:
        """Half-open: connections stay open, and nothing passes any more, not even their end.

        Args:
            new: connections made from now on are accepted and frozen too. Otherwise they work, as after a firewall has
                forgotten the old ones.
        """
        with self._changed:
            self._frozen_new = new
            for connection in self._connections:
                connection.frozen = True

    def thaw(self) -> None:
        """Undo `freeze`: what was said meanwhile arrives now."""
        with self._changed:
            self._frozen_new = False
            for connection in self._connections:
                connection.frozen = False
            self._changed.notify_all()

    def cut(self) -> None:
        """Reset every connection that is open now; both ends see it. New ones work."""
        with self._changed:
            for connection in self._connections:
                connection.doom()
            self._changed.notify_all()

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._changed:
            self._closing = True
        self._acceptor.join()
        self._listener.close()
        with self._changed:
            running = list(self._connections)
        self.cut()
        for connection in running:
            connection.join()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((HOST, self._target_port), timeout=5)
            except OSError:
                _close(client, reset=True)
                continue
            for one in (client, server):
                one.settimeout(None)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._changed:
                connection = _Connection(self, client, server, self._frozen_new)
                self._connections.add(connection)
            connection.start()

    def judge(self, exchange: Exchange, data: bytes) -> Strike | None:
        """For its connections: the strike that strikes what is being said."""
        with self._changed:
            strike = exchange.struck_by(self._plan, self._rng)
            if strike is not None:
                self._struck.append(Struck(strike, data, time.monotonic()))
            return strike

    def let_through(self, connection: _Connection) -> bool:
        """For its connections: wait while one is frozen, and say whether it goes on."""
        with self._changed:
            self._changed.wait_for(lambda: connection.doomed or not connection.frozen)
            return not connection.doomed

    def delay(self, connection: _Connection, seconds: float) -> None:
        """For its connections: wait, unless one is cut."""
        with self._changed:
            self._changed.wait_for(lambda: connection.doomed, seconds)

    def forget(self, connection: _Connection) -> None:
        """For its connections: one has ended."""
        with self._changed:
            self._connections.discard(connection)


class _Connection(threading.Thread):
    """One client's connection, forwarded both ways by one thread."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket, frozen: bool) -> None:
        super().__init__(name=f"proxy connection {client.fileno()}", daemon=True)
        self.frozen = frozen
        self.doomed = False
        self._proxy = proxy
        self._ends: dict[Place, socket.socket] = {"request": client, "reply": server}
        self._mute: set[Place] = set()
        self._exchange = Exchange()
        self._alarm, self._bell = socket.socketpair()

    def doom(self) -> None:
        """Let it end with a reset."""
        self.doomed = True
        with contextlib.suppress(OSError):
            self._bell.send(b"!")

    def run(self) -> None:
        """Forward until both sides have ended, or a strike ends it."""
        reset = False
        try:
            self._forward()
            reset = self.doomed
        except OSError:
            reset = True
        finally:
            self._proxy.forget(self)
            for end in self._ends.values():
                _close(end, reset)
            self._alarm.close()
            self._bell.close()

    def _forward(self) -> None:
        speaking = dict(self._ends)
        while speaking:
            readable, _, _ = select.select([*speaking.values(), self._alarm], [], [])
            for place in [place for place, end in speaking.items() if end in readable]:
                data = speaking[place].recv(CHUNK_BYTES)
                if not self._proxy.let_through(self):
                    return
                if not data:
                    del speaking[place]
                    self._end(place)
                elif not self._pass_on(place, data):
                    return
            if self.doomed:
                return

    def _pass_on(self, place: Place, data: bytes) -> bool:
        """Forward something, or what a strike leaves of it, and say whether the connection goes on."""
        self._exchange.hear(place, data)
        strike = self._proxy.judge(self._exchange, data)
        other = self._ends["reply" if place == "request" else "request"]
        match strike and strike.kind:
            case "drop":
                self._mute.add(place)
            case "delay":
                assert strike is not None
                self._proxy.delay(self, strike.seconds)
            case "truncate":
                assert strike is not None
                other.sendall(data[: len(data) // 2 if strike.keep is None else strike.keep])
                return False
            case "reset":
                self.doomed = True
                return False
        if place not in self._mute:
            other.sendall(data)
        return True

    def _end(self, place: Place) -> None:
        # Where something was lost, its end is lost too: the other side waits for it in vain.
        if place not in self._mute:
            self._ends["reply" if place == "request" else "request"].shutdown(socket.SHUT_WR)


def _close(end: socket.socket, reset: bool) -> None:
    with contextlib.suppress(OSError):
        if reset:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        end.close()
