"""What the tests of sources share: candles, bars, and a real HTTP server on a port of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dedup.timeframe import Candle, Timeframe
from tasks.bars import Bar


def at(text: str) -> datetime:
    """A moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def candle(start: str, timeframe: str = "15m", instrument: str = "GOLD") -> Candle:
    """A candle aligned to UTC."""
    length = Timeframe.parse(timeframe)
    return Candle(instrument, length, at(start), at(start) + length.length)


def bar(start: str, close: float = 100.0, *, final: bool = True) -> Bar:
    """A bar around `close`."""
    return Bar(at(start), close, close + 1, close - 1, close, 10.0, final)


def run(start: str, count: int, timeframe: str = "15m") -> list[Bar]:
    """`count` bars without a gap, closing at 100, 101, 102 ..."""
    length = Timeframe.parse(timeframe).length
    return [bar((at(start) + i * length).replace(tzinfo=None).isoformat(), 100.0 + i) for i in range(count)]


def starts(bars: Any) -> list[str]:
    """The bars' starts, hours and minutes."""
    return [b.start.strftime("%H:%M") for b in bars]


@dataclass
class Call:
    """A request that the server got."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    client: tuple[str, int]


Answer = Callable[[Call, BaseHTTPRequestHandler], None]


@dataclass
class Feed:
    """A running server: its address and the requests it got."""

    url: str
    calls: list[Call] = field(default_factory=list)


@contextmanager
def serve(answer: Answer) -> Iterator[Feed]:
    """A server that lets `answer` write each reply."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            call = Call(parts.path, query, dict(self.headers), self.client_address)
            feed.calls.append(call)
            answer(call, self)

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    feed = Feed(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield feed
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reply(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    """A complete reply; an underscore in a header's name stands for a hyphen."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)
