"""The proxy between two processes does what it is told, and otherwise nothing."""

from __future__ import annotations

import random
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.pipeline.proxy import HOST, Proxy
from tests.pipeline.strikes import KINDS, PLACES, Kind, Place, Strike
from tests.pipeline.waiting import eventually

SILENCE_S = 0.2
"""After so long without an answer nothing counts as lost."""


class Echo(socketserver.ThreadingTCPServer):
    """Answers every line with `re:` and the line, and remembers what it heard."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        self.heard: list[bytes] = []
        self.ends: list[str] = []
        super().__init__((HOST, port), _Echoing)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Echoing(socketserver.StreamRequestHandler):
    server: Echo

    def handle(self) -> None:
        try:
            for line in self.rfile:
                self.server.heard.append(line.rstrip(b"\n"))
                self.wfile.write(b"re:" + line)
            self.server.ends.append("end")
        except ConnectionResetError:
            self.server.ends.append("reset")


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.port) as proxy:
        yield proxy


class Client:
    """Says lines and hears answers, through the proxy."""

    def __init__(self, proxy: Proxy) -> None:
        self.socket = socket.create_connection((HOST, proxy.port), timeout=10)

    def say(self, line: bytes, wait_s: float = 10) -> bytes | str:
        """The answer; or `silence`, `end` or `reset`."""
        try:
            self.socket.sendall(line + b"\n")
        except ConnectionError:
            return "reset"
        return self.hear(wait_s)

    def hear(self, wait_s: float = 10) -> bytes | str:
        self.socket.settimeout(wait_s)
        heard = b""
        try:
            while not heard.endswith(b"\n"):
                data = self.socket.recv(65536)
                if not data:
                    return heard or "end"
                heard += data
        except TimeoutError:
            return heard or "silence"
        except ConnectionResetError:
            return heard or "reset"
        return heard.rstrip(b"\n")


@pytest.fixture
def connect(proxy: Proxy) -> Iterator[object]:
    made: list[Client] = []

    def connect() -> Client:
        made.append(Client(proxy))
        return made[-1]

    yield connect
    for client in made:
        client.socket.close()


def test_everything_passes(proxy: Proxy, echo: Echo, connect) -> None:
    """Without a strike whatever one side says reaches the other, however long, and so does the end."""
    client = connect()
    long = b"x" * 3_000_000
    threading.Thread(target=client.socket.sendall, args=(long + b"\n",)).start()
    assert client.hear() == b"re:" + long
    assert client.say(b"a") == b"re:a"
    client.socket.shutdown(socket.SHUT_WR)
    assert client.hear() == "end"
    eventually(lambda: echo.ends == ["end"], "the server to see the end")
    eventually(lambda: proxy.connections == 0, "the connection to end")
    assert proxy.struck == ()


SEEN: dict[tuple[Kind, Place], tuple[bytes | str, bool]] = {
    ("drop", "request"): ("silence", False),
    ("drop", "reply"): ("silence", True),
    ("delay", "request"): ("silence", False),
    ("delay", "reply"): ("silence", True),
    ("truncate", "request"): ("end", False),
    ("truncate", "reply"): (b"re", True),
    ("reset", "request"): ("reset", False),
    ("reset", "reply"): ("reset", True),
}
"""What the client hears of a strike, and whether the server heard the request."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", PLACES)
def test_second_one_is_struck(proxy: Proxy, echo: Echo, connect, kind: Kind, at: Place) -> None:
    """Each kind strikes the second request or reply and no other; a new connection works at once."""
    proxy.put(Strike(kind, at, nth=2, seconds=2 * SILENCE_S, keep=2))
    client = connect()
    assert client.say(b"one") == b"re:one"
    heard, arrived = SEEN[kind, at]
    assert client.say(b"two", SILENCE_S) == heard
    assert (b"two" in echo.heard) is arrived
    assert connect().say(b"three") == b"re:three"
    assert [str(struck.strike) for struck in proxy.struck] == [f"{kind} {at} 2"]
    if kind == "delay":
        assert client.hear() == b"re:two"


def test_nothing_follows_what_was_dropped(proxy: Proxy, echo: Echo, connect) -> None:
    """After a drop nothing more arrives in that direction on that connection, as where TCP waits for what is lost."""
    client = connect()
    proxy.put(Strike("drop", "request"))
    assert client.say(b"one", SILENCE_S) == "silence"
    assert client.say(b"two", SILENCE_S) == "silence"
    assert echo.heard == []


def test_both_ends_see_a_reset(proxy: Proxy, echo: Echo, connect) -> None:
    """A reset reaches the server too, as RST and not as an end in good order."""
    proxy.put(Strike("reset", "reply"))
    assert connect().say(b"one") == "reset"
    eventually(lambda: echo.ends == ["reset"], "the server to see the reset")


def test_needle_counts_what_says_it(proxy: Proxy, connect) -> None:
    """With a needle only exchanges in which it was said are counted: by the client, or in the reply itself."""
    proxy.put(Strike("reset", "reply", nth=2, needle=b"GOLD"))
    client = connect()
    answers = [client.say(line) for line in (b"GOLD 1", b"SILVER", b"GOLD 2")]
    assert answers == [b"re:GOLD 1", b"re:SILVER", "reset"]
    proxy.put(Strike("reset", "reply", needle=b"re:TIN"))
    client = connect()
    assert [client.say(b"GOLD"), client.say(b"TIN")] == [b"re:GOLD", "reset"]


def test_request_in_pieces_is_one(proxy: Proxy, connect) -> None:
    """What is said in pieces before it is answered is one request, and a needle may lie across them."""
    proxy.put(Strike("reset", "request", nth=2, needle=b"GOLD"))
    client = connect()
    client.socket.sendall(b"GO")
    time.sleep(SILENCE_S)
    assert client.say(b"LD GOLD") == b"re:GOLD GOLD"
    assert client.say(b"GOLD") == "reset"


def test_strikes_go_on_or_stop(proxy: Proxy, connect) -> None:
    """`times` says how many are struck from the n-th on; `clear` ends it."""
    proxy.put(Strike("reset", "request", nth=2, times=2))
    assert [connect().say(b"x") for _ in range(4)] == [b"re:x", "reset", "reset", b"re:x"]
    proxy.put(Strike("reset", "request", times=None))
    assert [connect().say(b"x") for _ in range(3)] == ["reset"] * 3
    proxy.clear()
    assert connect().say(b"x") == b"re:x"


def test_first_strike_has_it(proxy: Proxy, connect) -> None:
    """Of several strikes the first that is due strikes, and those behind it do not count what it has struck."""
    proxy.put(Strike("truncate", "reply", keep=0), Strike("reset", "reply"))
    assert [connect().say(b"x") for _ in range(3)] == ["end", "reset", b"re:x"]


def test_chance_can_be_replayed(echo: Echo) -> None:
    """Strikes by chance fall alike for the same seed, and about as often as they should."""

    def fallen(seed: int) -> str:
        with Proxy(echo.port, random.Random(seed)) as proxy:
            proxy.put(Strike("reset", "request", times=None, chance=0.5))
            clients = [Client(proxy) for _ in range(40)]
            heard = ["x" if client.say(b"x") == "reset" else "-" for client in clients]
            for client in clients:
                client.socket.close()
            return "".join(heard)

    assert fallen(1) == fallen(1) != fallen(2)
    assert 8 < fallen(1).count("x") < 32


@pytest.mark.parametrize("new", [True, False], ids=["all", "old ones only"])
def test_frozen_connections_are_half_open(proxy: Proxy, echo: Echo, connect, new: bool) -> None:
    """Frozen connections take everything and give nothing, not even their end, until they are thawed."""
    client = connect()
    assert client.say(b"one") == b"re:one"
    proxy.freeze(new)
    assert client.say(b"two", SILENCE_S) == "silence"
    other = connect()
    assert other.say(b"three", SILENCE_S if new else 10) == ("silence" if new else b"re:three")
    assert b"two" not in echo.heard
    proxy.thaw()
    assert client.hear() == b"re:two"
    assert connect().say(b"four") == b"re:four"


def test_cut_ends_what_is_open(proxy: Proxy, connect) -> None:
    """`cut` resets every connection, frozen ones too, and new ones work."""
    clients = [connect(), connect()]
    assert [client.say(b"x") for client in clients] == [b"re:x"] * 2
    proxy.freeze(new=False)
    proxy.cut()
    assert [client.hear() for client in clients] == ["reset"] * 2
    assert connect().say(b"x") == b"re:x"


def test_target_that_is_away_resets(connect, proxy: Proxy, echo: Echo) -> None:
    """While nobody listens behind it, connections are reset; when somebody does again, they work."""
    echo.shutdown()
    echo.server_close()
    with pytest.raises(ConnectionResetError):
        connect().socket.recv(1)
    with Echo(echo.port) as back:
        threading.Thread(target=back.serve_forever, args=(0.01,), daemon=True).start()
        assert connect().say(b"x") == b"re:x"
        back.shutdown()


@pytest.mark.parametrize("wrong", [{"nth": 0}, {"times": 0}, {"chance": 0.0}, {"chance": 1.5}], ids=str)
def test_strike_that_cannot_be_is_refused(wrong: dict[str, int | float]) -> None:
    """Counting begins at 1 and a chance lies above 0 and up to 1."""
    with pytest.raises(ValueError, match="begin at 1"):
        Strike("drop", "reply", **wrong)  # type: ignore[arg-type]


def test_url_through_the_proxy(proxy: Proxy) -> None:
    """A URL led through the proxy differs in its port alone."""
    assert proxy.through("redis://u:p@127.0.0.1:6379/0") == f"redis://u:p@127.0.0.1:{proxy.port}/0"
