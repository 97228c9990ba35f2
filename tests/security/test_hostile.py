"""Feeds and APIs that mean harm: what they cost is bounded in bytes, memory and time, and each has a name."""

from __future__ import annotations

import json
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.delivery import DeliveryOptions, HttpDelivery, Message, Verdict
from dedup.errors import InvalidBars, SourceError
from tasks.bars import as_bars
from tasks.sources.csv_file import CsvSource
from tasks.sources.http_json import HttpSource
from tasks.sources.window import window_of
from tests.delivery.scripted_api import Exchange, ScriptedApi
from tests.sources.feeding import candle, reply, serve

CANDLE = candle("2024-03-05T10:00")
BLOCK = b"x" * 65_536
DEADLINE_S = 1.0
MAX_BYTES = 1_000_000
KERNEL_BYTES = 16_000_000
"""Generous: what the sockets' buffers on both sides swallow without anybody reading it."""
PEAK_BYTES = 40_000_000
PATIENCE_S = 40.0
"""Far above every deadline: these machines may be busy."""


def head(*lines: bytes, status: bytes = b"200 OK") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"", b""])


def forever(exchange: Exchange, data: bytes, pause_s: float = 0.0) -> None:
    """Send the same again and again, for as long as the client stays."""
    while not exchange.api.stopping.wait(pause_s):
        exchange.send(data)
        exchange.api.sent += len(data)  # type: ignore[attr-defined]


def huge_body(exchange: Exchange) -> None:
    exchange.send(head(b"Content-Length: 100000000"))
    forever(exchange, BLOCK)


def endless_chunks(exchange: Exchange) -> None:
    exchange.send(head(b"Transfer-Encoding: chunked"))
    forever(exchange, b"10000\r\n" + BLOCK + b"\r\n")


def endless_chunk_size(exchange: Exchange) -> None:
    exchange.send(head(b"Transfer-Encoding: chunked"))
    forever(exchange, b"0" * 65_536)


def endless_trailers(exchange: Exchange) -> None:
    exchange.send(head(b"Transfer-Encoding: chunked") + b"2\r\n[]\r\n0\r\n")
    forever(exchange, b"X: y\r\n", 0.001)


def no_end(exchange: Exchange) -> None:
    exchange.send(head(b"Content-Type: application/json"))
    forever(exchange, BLOCK)


def endless_status(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 ")
    forever(exchange, BLOCK)


def endless_header(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nX: ")
    forever(exchange, BLOCK)


def header_flood(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\n")
    forever(exchange, b"".join(b"X-%d: %s\r\n" % (number, b"y" * 1000) for number in range(60)))


def continue_flood(exchange: Exchange) -> None:
    forever(exchange, head(status=b"100 Continue") * 100)


def _bomb() -> bytes:
    """A hundred megabytes in a hundred kilobytes."""
    squeeze = zlib.compressobj(wbits=31)
    return b"".join(squeeze.compress(b" " * 1_000_000) for _ in range(100)) + squeeze.flush()


BOMB = _bomb()


def gzip_bomb(exchange: Exchange) -> None:
    exchange.send(head(b"Content-Encoding: gzip", b"Content-Length: %d" % len(BOMB)) + BOMB)


def dripping_headers(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nX: ")
    forever(exchange, b"y", 0.05)


def dripping_body(exchange: Exchange) -> None:
    exchange.send(head(b"Content-Length: 100000"))
    forever(exchange, b" ", 0.05)


def dripping_chunks(exchange: Exchange) -> None:
    exchange.send(head(b"Transfer-Encoding: chunked"))
    forever(exchange, b"1\r\n \r\n", 0.05)


def two_lengths(exchange: Exchange) -> None:
    exchange.send(head(b"Content-Length: 2", b"Content-Length: 100000000") + b"[]")
    forever(exchange, BLOCK)


def negative_length(exchange: Exchange) -> None:
    exchange.send(head(b"Content-Length: -1") + b"[]")
    forever(exchange, BLOCK)


HOSTILE: tuple[Callable[[Exchange], None], ...] = (
    *(huge_body, endless_chunks, endless_chunk_size, endless_trailers, no_end, endless_status, endless_header),
    *(header_flood, continue_flood, gzip_bomb, dripping_headers, dripping_body, dripping_chunks),
    *(two_lengths, negative_length),
)


@pytest.fixture(params=HOSTILE, ids=lambda script: script.__name__)
def hostile(request: pytest.FixtureRequest) -> Iterator[ScriptedApi]:
    """A server that does one of these things to everyone."""

    def script(exchange: Exchange) -> None:
        exchange.read()
        request.param(exchange)

    api = ScriptedApi(script)
    api.sent = 0  # type: ignore[attr-defined]
    yield api
    api.stop()


@pytest.fixture
def bounded() -> Iterator[None]:
    """What happens meanwhile takes neither much memory nor for ever."""
    began_s = time.monotonic()
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began_s < PATIENCE_S
    assert peak < PEAK_BYTES


@pytest.mark.usefixtures("bounded")
def test_feed_is_given_up(hostile: ScriptedApi) -> None:
    """Whatever a feed does on the wire, its source gives up with an error and reads no more than it may."""
    source = HttpSource(hostile.url, instrument="GOLD", timeframe="15m", timeout_s=DEADLINE_S, max_bytes=MAX_BYTES)
    with pytest.raises(SourceError, match=f"127.0.0.1:{hostile.port}") as caught:
        source.bars(CANDLE, 3)
    source.close()
    assert len(str(caught.value)) < 500
    assert hostile.sent < MAX_BYTES + KERNEL_BYTES  # type: ignore[attr-defined]


@pytest.mark.usefixtures("bounded")
def test_api_is_given_up(hostile: ScriptedApi) -> None:
    """Whatever the API does on the wire, the attempt ends: by the status of a whole reply, else in doubt."""
    delivery = HttpDelivery(DeliveryOptions(hostile.url, deadline_s=DEADLINE_S, connect_timeout_s=0.9))
    attempted = delivery.send(Message("sig_1", b"{}"), 1)
    assert attempted.verdict in (Verdict.UNKNOWN, Verdict.POSTED)
    assert (attempted.verdict is Verdict.POSTED) == (attempted.reason == "200 OK")
    assert len(attempted.reason) < 500
    assert hostile.sent < 65_536 + KERNEL_BYTES  # type: ignore[attr-defined]


TARGETS = (
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data",
    "//{inner}/",
    "http://{inner}/",
    "gopher://{inner}/",
)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", TARGETS)
def test_no_redirect_is_followed(status: int, target: str) -> None:
    """A redirect goes nowhere, to no file and no private address: the feed's is an error, the API's a rejection."""
    inner = ScriptedApi(lambda exchange: exchange.answer(head(b"Content-Length: 2") + b"[]"))
    where = target.format(inner=f"127.0.0.1:{inner.port}").encode()
    moved = head(b"Location: " + where, b"Content-Length: 0", status=b"%d Moved" % status)
    outer = ScriptedApi(lambda exchange: exchange.answer(moved))
    try:
        source = HttpSource(outer.url, instrument="GOLD", timeframe="15m", timeout_s=5)
        with pytest.raises(SourceError, match=f"answered {status} .redirects are not followed"):
            source.bars(CANDLE, 3)
        source.close()
        attempted = HttpDelivery(DeliveryOptions(outer.url)).send(Message("sig_1", b"{}"), 1)
        assert attempted.verdict is Verdict.REJECTED
        assert "redirects are not followed" in attempted.reason
        assert (outer.connections, inner.connections) == (2, 0)
    finally:
        outer.stop()
        inner.stop()


LATER = b', ["2024-03-05T10:15:00Z", 1, 2, 1, 1]]'
ROW = '["2024-03-05T10:00:00Z", 1, 2, 1, 1]'
BODIES = {
    "deep": b"[" * 900_000,
    "deep objects": b'{"a":' * 150_000,
    "NaN": ROW.replace("2", "NaN", 1).encode(),
    "NaN in a price": b'[["2024-03-05T10:00:00Z", NaN, 2, 1, 1]' + LATER,
    "Infinity": b'[["2024-03-05T10:00:00Z", 1, Infinity, 1, 1]' + LATER,
    "beyond a float": b'[["2024-03-05T10:00:00Z", 1, 1e999, 1, 1]' + LATER,
    "integer beyond a float": b'[["2024-03-05T10:00:00Z", 1, 1' + b"0" * 400 + b", 1, 1]" + LATER,
    "integer of a million digits": b"[[" + b"9" * 990_000 + b", 1, 2, 1, 1]]",
    "price of a million characters": b'[["2024-03-05T10:00:00Z", "' + b"9" * 990_000 + b'", 2, 1, 1]' + LATER,
    "nan as text": b'[["2024-03-05T10:00:00Z", "nan", 2, 1, 1]' + LATER,
    "negative": b'[["2024-03-05T10:00:00Z", -1, 2, -1, 1]' + LATER,
    "time beyond all": b"[[1e300, 1, 2, 1, 1]]",
    "time with an exponent": b'[["1e999999999", 1, 2, 1, 1]]',
    "time below an exponent": b'[["1e-999999999", 1, 2, 1, 1]]',
    "time before years": b'[["0001-01-01T00:00:00+14:00", 1, 2, 1, 1]]',
    "time after years": b'[["9999-12-31T23:59:59-14:00", 1, 2, 1, 1]]',
    "time of a million characters": b'[["' + b"1" * 990_000 + b'", 1, 2, 1, 1]]',
    "boolean": b'[["2024-03-05T10:00:00Z", true, 2, 1, 1]' + LATER,
    "lists for numbers": b'[["2024-03-05T10:00:00Z", [], {}, 1, 1]]',
    "other rows": b'[["2024-03-05T10:00:00Z", 1, 2, 1, 1], 7, null]',
    "many columns": b"[[" + b"1," * 200_000 + b"1]]",
    "many keys": b"[{" + b",".join(b'"%d":1' % number for number in range(30_000)) + b"}]",
    "rows of nothing": b"[" + b"[]," * 100_000 + b"[]]",
    "same bar again and again": b"[" + b",".join([ROW.encode()] * 2_000) + LATER,
    "HTML": b"<html>" + b"<b>" * 1000,
    "UTF-16": ROW.encode("utf-16"),
    "half of it": b'[["2024-03-05T10:00:00Z", 1, 2,',
    "NUL": b"\0" * 1000,
    "surrogates": b'[["\\ud800", 1, 2, 1, 1]]',
}


def looked_at(body: bytes, **options: str) -> object:
    """What a pipeline would make of a reply."""
    with serve(lambda _, handler: reply(handler, body, Content_Type="image/png")) as feed:
        source = HttpSource(feed.url, instrument="GOLD", timeframe="15m", timeout_s=20, max_bytes=MAX_BYTES, **options)
        try:
            return window_of(as_bars(source.bars(CANDLE, 3)), CANDLE, 3)
        finally:
            source.close()


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", BODIES)
def test_bars_that_are_none_are_refused(name: str) -> None:
    """A reply that arrives whole and is rubbish is an error that names it, and whose words are few."""
    with pytest.raises((SourceError, InvalidBars)) as caught:
        looked_at(BODIES[name])
    assert len(str(caught.value)) < 700


NUMBERS = st.integers() | st.floats() | st.text(max_size=8) | st.none() | st.booleans() | st.just(ROW)
ROWS = st.lists(st.lists(NUMBERS, max_size=7) | st.dictionaries(st.sampled_from("tohlcv"), NUMBERS), max_size=4)


def test_no_reply_raises_anything_else() -> None:
    """Whatever JSON a feed answers, it is bars, a state with a name, or one of two errors."""
    bodies: list[bytes] = [b""]
    with serve(lambda _, handler: reply(handler, bodies[0])) as feed:
        source = HttpSource(feed.url, instrument="GOLD", timeframe="15m", timeout_s=20)

        @settings(max_examples=60)
        @given(ROWS)
        def holds(rows: object) -> None:
            bodies[0] = json.dumps(rows).encode()
            try:
                window_of(as_bars(source.bars(CANDLE, 3)), CANDLE, 3)
            except (SourceError, InvalidBars) as error:
                assert len(str(error)) < 700

        holds()
        source.close()


CSV_HEAD = b"start,open,high,low,close\n"
FILES = {
    "a header without an end": b"," * 5_000_000,
    "a header of many columns": b"start,open,high,low,close" + b",x" * 15_000 + b"\n" + b"1," * 15_000 + b"\n",
    "a row without an end": CSV_HEAD + b"1," * 2_500_000,
    "a row of many columns": CSV_HEAD + b"1," * 100_000 + b"\n",
    "a field without an end": CSV_HEAD + b'"' + b"x" * 200_000 + b"\n",
    "rows of nothing": CSV_HEAD + b"\n" * 5_000_000,
    "numbers without an end": CSV_HEAD
    + b"2024-03-05T10:00:00Z,"
    + b"9" * 100_000
    + b",2,1,1\n2024-03-05T10:15:00Z,1,2,1,1\n",
    "infinite": CSV_HEAD + b"2024-03-05T10:00:00Z,inf,2,1,1\n2024-03-05T10:15:00Z,1,2,1,1\n",
    "binary": bytes(range(256)) * 20 + b"\n",
}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", FILES)
def test_file_that_is_no_table_is_refused(tmp_path: Path, name: str) -> None:
    """A file that is no table of bars is an error, and no more than `max_bytes` of it are read."""
    path = tmp_path / "bars.csv"
    path.write_bytes(FILES[name])
    source = CsvSource(str(path), instrument="GOLD", timeframe="15m", max_bytes=MAX_BYTES)
    with pytest.raises((SourceError, InvalidBars)) as caught:
        window_of(as_bars(source.bars(CANDLE, 3)), CANDLE, 3)
    assert len(str(caught.value)) < 900


@pytest.mark.usefixtures("bounded")
def test_file_larger_than_any_memory_is_refused(tmp_path: Path) -> None:
    """Of a file of a terabyte without a line end only its end is read."""
    path = tmp_path / "bars.csv"
    with path.open("wb") as file:
        file.write(CSV_HEAD)
        file.truncate(10**12)
    source = CsvSource(str(path), instrument="GOLD", timeframe="15m", max_bytes=MAX_BYTES)
    with pytest.raises(SourceError, match="its last 1000000 bytes do not hold 3 bars"):
        source.bars(CANDLE, 3)
