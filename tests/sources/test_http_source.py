"""Bars from an HTTP API, asked from a real server."""

from __future__ import annotations

import json
import os
import pickle
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from feeding import Answer, Call, Feed, at, candle, reply, run, serve, starts

from dedup.errors import InvalidInput, SourceError
from dedup.timeframe import Candle
from tasks.bars import Bar
from tasks.sources import HttpSource, WindowState, window_of

CANDLE = candle("2024-03-05T10:00")
NOW = CANDLE.close + timedelta(seconds=3)
PLAIN = "/bars?symbol={instrument}&tf={timeframe}"
BARS = run("2024-03-05T09:15", 5)
SECRET = "tok-5f2e9c71"


def rows_of(bars: list[Bar]) -> list[list[object]]:
    return [[b.start.isoformat(), b.open, b.high, b.low, b.close, b.volume] for b in bars]


def always(body: object, status: int = 200, **headers: str) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda _, handler: reply(handler, data, status, **headers)


@contextmanager
def source(answer: Answer, path: str = PLAIN, **options: Any) -> Iterator[tuple[HttpSource, Feed]]:
    with serve(answer) as feed:
        made = HttpSource(feed.url + path, **{"now": lambda: NOW, **options})
        try:
            yield made, feed
        finally:
            made.close()


def asked(answer: Answer, count: int = 3, path: str = PLAIN, of: Candle = CANDLE, **options: Any) -> list[Bar]:
    with source(answer, path, **options) as (made, _):
        return list(made.bars(of, count))


def test_lists_in_the_usual_order_need_no_options() -> None:
    """A JSON list of lists start, open, high, low, close, volume gives bars as they are."""
    bars = asked(always(rows_of(BARS)))
    assert starts(bars) == ["09:30", "09:45", "10:00", "10:15"]
    assert [b.final for b in bars] == [True, True, True, False]
    assert (bars[0].open, bars[0].high, bars[0].low, bars[0].close, bars[0].volume) == (101, 102, 100, 101, 10)


def _mid(*prices: int) -> dict[str, str]:
    return dict(zip("ohlc", map(str, prices), strict=True))


OANDA = {
    "candles": [
        {"complete": True, "volume": 7, "time": "1709631900.000000000", "mid": _mid(1, 2, 1, 2)},
        {"complete": True, "volume": 7, "time": "1709632800.000000000", "mid": _mid(2, 3, 2, 3)},
        {"complete": False, "volume": 1, "time": "1709633700.000000000", "mid": _mid(3, 3, 3, 3)},
    ]
}
COINBASE = [[1709633700, 3, 3, 3, 3, 1.5], [1709632800, 2, 3, 2, 3, 7], [1709631900, 1, 2, 1, 2, 7]]
BINANCE = [
    [1709631900000, "1", "2", "1", "2", "7", 1709632799999, "x"],
    [1709632800000, "2", "3", "2", "3", "7", 1709633699999, "x"],
    [1709633700000, "3", "3", "3", "3", "1.5", 1709634599999, "x"],
]
KRAKEN = {"error": [], "result": {"GOLD": [["1709632800", "2", "3", "2", "3", "2.5", "7", 3]], "last": 1}}


@pytest.mark.parametrize(
    ("body", "options"),
    [
        (
            OANDA,
            {
                "rows": "candles",
                "fields": {"open": "mid.o", "high": "mid.h", "low": "mid.l", "close": "mid.c", "final": "complete"},
                "finality": "flag",
            },
        ),
        (COINBASE, {"fields": {"start": 0, "low": 1, "high": 2, "open": 3, "close": 4, "volume": 5}}),
        (BINANCE, {}),
        (
            {"data": {"list": [{"t": "2024-03-05T10:00Z", "o": 2, "h": 3, "l": 2, "c": 3, "v": 7, "state": "closed"}]}},
            {"rows": "data.list", "finality": "flag", "fields": {"final": "state"}, "final_value": "closed"},
        ),
        (
            KRAKEN,
            {
                "rows": "result.{instrument}",
                "fields": {"start": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 6},
                "finality": "settle",
                "settle_s": 2,
            },
        ),
        (
            [{"time": "2024-03-05 10:00:00", "1. open": "2", "high": 3, "low": 2, "close": 3, "volume": 7}],
            {"fields": {"open": ["1. open"]}, "timezone": "UTC", "finality": "settle", "settle_s": 0},
        ),
    ],
    ids=["oanda", "coinbase", "binance", "flag by word", "rows by instrument", "key with a dot"],
)
def test_shapes_of_replies(body: object, options: dict[str, Any]) -> None:
    """The replies of usual APIs, lists or objects, nested or not, newest first or last, are told by options alone."""
    bars = asked(always(body), **options)
    assert [b for b in bars if b.start == CANDLE.start] == [Bar(CANDLE.start, 2.0, 3.0, 2.0, 3.0, 7.0, True)]
    assert starts(bars) == sorted(starts(bars))
    assert all(b.start >= CANDLE.start or b.final for b in bars)
    assert all(not b.final for b in bars if b.start > CANDLE.start)


@pytest.mark.parametrize("body", [[], {"bars": []}])
def test_an_empty_reply_is_an_honest_answer(body: object) -> None:
    """No bars is no error: the candle is just not there yet."""
    bars = asked(always(body), rows="bars" if isinstance(body, dict) else "")
    assert bars == []
    assert window_of(bars, CANDLE, 1).state is WindowState.NOT_FINAL


def test_rows_without_prices_are_no_bars() -> None:
    """A span without trades, written with null prices, is a gap."""
    rows = rows_of(BARS)
    rows[3][1:] = [None] * 5
    assert window_of(asked(always(rows)), CANDLE, 2).state is WindowState.GAP


@pytest.mark.parametrize(("after_s", "final"), [(1.9, False), (2.0, True)])
def test_settling(after_s: float, final: bool) -> None:
    """With `settle` a bar is final so many seconds after its close, by the clock given."""
    now = CANDLE.close + timedelta(seconds=after_s)
    bars = asked(always(rows_of(BARS[:4])), finality="settle", settle_s=2.0, now=lambda: now)
    assert bars[-1].start == CANDLE.start
    assert bars[-1].final is final


@pytest.mark.parametrize(
    ("written", "start", "end"),
    [
        ("iso", "2024-03-05T09:00:00Z", "2024-03-05T10:15:03Z"),
        ("s", "1709629200", "1709633703"),
        ("ms", "1709629200000", "1709633703000"),
    ],
)
def test_the_request(written: str, start: str, end: str) -> None:
    """Placeholders are filled with the feed's names, a span around the candle that ends now, and enough bars."""
    path = "/v3/{instrument}/bars?tf={timeframe}&from={start}&to={end}&n={count}&sort=asc"
    options: dict[str, Any] = {"symbols": {"GOLD": "XAU/USD &"}, "timeframes": {"15m": "M15"}, "stretch": 2}
    headers = {"Authorization": f"Bearer {SECRET}"}
    with source(always(rows_of(BARS)), path, request_time=written, headers=headers, **options) as (made, feed):
        made.bars(CANDLE, 3)
    [call] = feed.calls
    assert call.path == "/v3/XAU%2FUSD%20%26/bars"
    assert call.query == {"tf": "M15", "from": start, "to": end, "n": "5", "sort": "asc"}
    assert call.headers["Authorization"] == f"Bearer {SECRET}"
    assert call.headers["Accept-Encoding"] == "identity"


class Exchange:
    """An API over 15-minute bars that trades on weekdays only, both ends of the span included."""

    def __init__(self, limit: int = 10_000) -> None:
        self.limit = limit

    def __call__(self, call: Call, handler: BaseHTTPRequestHandler) -> None:
        start, end = (datetime.fromisoformat(call.query[name]) for name in ("from", "to"))
        step = timedelta(minutes=15)
        first = datetime(2024, 1, 1, tzinfo=UTC) + -(-(start - datetime(2024, 1, 1, tzinfo=UTC)) // step) * step
        moments = [first + i * step for i in range(max(0, (end - first) // step + 1))]
        rows = [[m.isoformat(), 1, 2, 1, 2, 3] for m in moments if m.weekday() < 5]
        reply(handler, json.dumps(rows[-self.limit :]).encode())


SPAN = "/bars?s={instrument}&t={timeframe}&from={start}&to={end}"


def test_on_monday_morning_a_wider_span_is_asked_for() -> None:
    """Where the usual span falls into a weekend, wider ones are asked for until the history is there."""
    monday = candle("2024-03-04T00:15")
    with source(Exchange(), SPAN, now=lambda: monday.close) as (made, feed):
        window = window_of(made.bars(monday, 20), monday, 20)
    assert window.state is WindowState.FINAL
    assert window.gaps == 1
    assert 1 < len(feed.calls) <= 3


def test_on_a_plain_day_one_request_is_enough() -> None:
    """While the market trades, one request gives the candle, its history and its successor."""
    with source(Exchange(), SPAN) as (made, feed):
        assert window_of(made.bars(CANDLE, 20), CANDLE, 20).state is WindowState.FINAL
    assert len(feed.calls) == 1


def test_waiting_for_a_bar_costs_one_request_per_look() -> None:
    """A candle that is not there yet is no reason to ask the same again within one look."""
    with source(always(rows_of(BARS[:3])), SPAN) as (made, feed):
        assert window_of(made.bars(CANDLE, 3), CANDLE, 3).state is WindowState.NOT_FINAL
    assert len(feed.calls) <= 2


@pytest.mark.parametrize(
    ("start", "state"), [("2024-03-01T23:45", WindowState.FINAL), ("2024-03-02T10:00", WindowState.GAP)]
)
def test_later_on_the_far_side_of_a_weekend_is_found(start: str, state: WindowState) -> None:
    """A sweep days later learns that Friday's last candle is final, and that Saturday's was never there."""
    old = candle(start)
    assert window_of(asked(Exchange(), 20, SPAN, old, now=lambda: at("2024-03-06")), old, 20).state is state


def test_too_short_a_history_ends_the_asking() -> None:
    """A feed that has no more is asked three times at most, and what it has is the answer."""
    with source(always(rows_of(BARS)), SPAN) as (made, feed):
        assert len(made.bars(CANDLE, 50)) == 5
    assert len(feed.calls) == 3


@pytest.mark.parametrize(
    ("body", "options", "says"),
    [
        (b"<html>", {}, "is no JSON"),
        (b"", {}, "is no JSON"),
        (b"[NaN]", {}, "is no JSON"),
        (b"\xff\xfe", {}, "is no JSON"),
        (b"[" * 100_000, {}, "is no JSON"),
        (b"null", {}, "should have a list"),
        ({"error": "no such symbol"}, {}, "should have a list of bars, set by rows; it has error"),
        ({"data": {}}, {"rows": "data.candles"}, "has no 'candles'"),
        ({"data": [1]}, {"rows": "data.1"}, "has no 1"),
        ({"data": "x"}, {"rows": "data.0"}, "has no '0'"),
        ([1, 2], {}, "a row should be a list or an object"),
        ([[1709632800, 1, 2]], {}, "option fields for low, close"),
        ([{"time": 1709632800, "open": 1}], {}, "option fields for high, low, close"),
        ([[1709632800, 1, 2, 1, "1,5"]], {}, "close '1,5' is no number"),
        ([[1709632800, 1, 2, 1, True]], {}, "close True is no number"),
        ([[1709632800, 1, 2, 1, [1]]], {}, "is no number"),
        ([[1709632800, None, 2, 1, 1]], {}, "open None is no number"),
        ([["2024-03-05T10:00:00", 1, 2, 1, 1]], {}, "has no zone"),
        ([[1709632800, 1, 2, 1, 1], [1709633700, 1, 2]], {}, "a row has no low"),
        ([[1709632800, 1, 2, 1, 1], 7], {}, "a row has no open"),
        ([{"t": 1, "time": 1, "o": 1, "h": 1, "l": 1, "c": 1}], {}, "both 't' and 'time' may be the start"),
    ],
)
def test_replies_that_are_not_understood(body: object, options: dict[str, Any], says: str) -> None:
    """A reply that is something else is an error that says what was found, and never a guess or another exception."""
    with pytest.raises(SourceError, match=says) as caught:
        asked(always(body), **options)
    assert str(caught.value).startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("status", "headers", "says"),
    [
        (500, {}, "answered 500: 'sorry'"),
        (404, {}, "answered 404: 'sorry'"),
        (204, {"Content_Length": "0"}, "answered 204"),
        (429, {"Retry_After": "30"}, r"answered 429 \(Retry-After 30\)"),
        (302, {"Location": "/elsewhere"}, r"answered 302 \(redirects are not followed"),
        (200, {"Content_Encoding": "gzip"}, "Content-Encoding 'gzip'"),
    ],
)
def test_statuses_other_than_200(status: int, headers: dict[str, str], says: str) -> None:
    """Any other status, and a coding that was not asked for, is an error; redirects are not followed."""
    with source(always(b"sorry" if status != 204 else b"", status, **headers)) as (made, feed):
        with pytest.raises(SourceError, match=says):
            made.bars(CANDLE, 3)
        assert len(feed.calls) == 1


def _cut(_: Call, handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"[[1709632800, 1, 2, 1, 1]]")
    handler.close_connection = True


def _slam(_: Call, handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def _silent(_: Call, handler: BaseHTTPRequestHandler) -> None:
    time.sleep(1)
    handler.close_connection = True


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (_cut, "200 OK, but the reply was cut short"),
        (_slam, "the connection was (closed|reset)"),
        (_silent, r"no complete reply before the deadline \(timeout_s = 0\.3\)"),
    ],
    ids=["cut", "slam", "silent"],
)
def test_replies_that_do_not_arrive(answer: Answer, says: str) -> None:
    """A reply that is cut short, a closed connection and silence are errors."""
    with pytest.raises(SourceError, match=says):
        asked(answer, timeout_s=0.3)


def test_a_body_that_drips_is_given_up() -> None:
    """The time limit is for the reply as a whole and not for each read."""
    enough = threading.Event()

    def drip(_: Call, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        try:
            while not enough.wait(0.05):
                handler.wfile.write(b" ")
        except OSError:
            pass
        handler.close_connection = True

    try:
        with pytest.raises(
            SourceError, match=r"200 OK, but no complete reply before the deadline \(timeout_s = 0\.4\)"
        ):
            asked(drip, timeout_s=0.4)
    finally:
        enough.set()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_long_is_given_up(chunked: bool) -> None:
    """No more than `max_bytes` are read, whatever the reply says of its length."""
    sent: list[int] = []

    def endless(_: Call, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(10**9))))
        handler.end_headers()
        block = b"x" * 65_536
        try:
            for _ in range(10_000):
                handler.wfile.write(b"10000\r\n" + block + b"\r\n" if chunked else block)
                sent.append(len(block))
        except OSError:
            pass
        handler.close_connection = True

    with pytest.raises(SourceError, match="more than 100000 bytes; ask for less, or raise max_bytes"):
        asked(endless, max_bytes=100_000)
    assert sum(sent) < 10_000 * 65_536


def test_chunked_replies_are_read() -> None:
    """A reply without a length, in chunks, is as good as any."""

    def chunks(_: Call, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        data = json.dumps(rows_of(BARS)).encode()
        for i in range(0, len(data), 50):
            part = data[i : i + 50]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        handler.wfile.write(b"0\r\n\r\n")

    with source(chunks) as (made, feed):
        assert len(made.bars(CANDLE, 3)) == 4
        assert len(made.bars(CANDLE, 3)) == 4
    assert len({call.client for call in feed.calls}) == 1


def test_nobody_listening() -> None:
    """A refused connection is an error that names the host."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    made = HttpSource(f"http://127.0.0.1:{port}{PLAIN}&apikey={SECRET}")
    with pytest.raises(SourceError, match=f"127.0.0.1:{port}: connect refused"):
        made.bars(CANDLE, 1)
    made.close()


def test_connections_are_kept_and_not_shared() -> None:
    """One thread keeps its connection from look to look, even after an error status; another has its own."""
    answers = [always([]), always(b"later", 503), always(b"", 204, Content_Length="0"), always([]), always([])]

    def next_answer(call: Call, handler: BaseHTTPRequestHandler) -> None:
        answers.pop(0)(call, handler)

    with source(next_answer) as (made, feed):
        made.bars(CANDLE, 1)
        for _ in range(2):
            with pytest.raises(SourceError):
                made.bars(CANDLE, 1)
        made.bars(CANDLE, 1)

        def elsewhere() -> None:
            made.bars(CANDLE, 1)
            made.close()

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    clients = [call.client for call in feed.calls]
    assert clients[0] == clients[1] == clients[2] == clients[3] != clients[4]


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded")
def test_a_forked_process_has_its_own_connection() -> None:
    """A connection of the parent is not used by a child that was forked from it."""
    with source(always([])) as (made, feed):
        made.bars(CANDLE, 1)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = len(made.bars(CANDLE, 1))
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        made.bars(CANDLE, 1)
    clients = [call.client for call in feed.calls]
    assert clients[0] == clients[2] != clients[1]


def test_the_environment_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a proxy from the environment is used nor a cookie kept."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    with source(always([], Set_Cookie="id=1; Path=/")) as (made, feed):
        made.bars(CANDLE, 1)
        made.bars(CANDLE, 1)
    assert "Cookie" not in feed.calls[1].headers


@pytest.mark.parametrize(
    "answer",
    [
        always(f"bad key {SECRET}".encode(), 401),
        always({"error": f"Bearer {SECRET}"}),
        always(f"no json: {SECRET}".encode()),
        always([{"time": SECRET, "open": 1, "high": 1, "low": 1, "close": 1}]),
        _slam,
        _cut,
        _silent,
    ],
    ids=["status", "shape", "no json", "row", "slam", "cut", "silent"],
)
@pytest.mark.parametrize("where", ["header", "url"])
def test_secrets_are_never_shown(answer: Answer, where: str) -> None:
    """Neither an error, nor its trace, nor a repr shows a header's value or a key in the address."""
    path = PLAIN if where == "header" else f"{PLAIN}&apikey={SECRET}"
    headers = {"Authorization": f"Bearer {SECRET}"} if where == "header" else None
    with source(answer, path, headers=headers, timeout_s=0.3) as (made, feed):
        with pytest.raises(SourceError) as caught:
            made.bars(CANDLE, 3)
        assert SECRET in str(feed.calls[0])
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        assert SECRET not in repr(made)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"url": ""}, "http.url"),
        ({"url": "ftp://host/{instrument}/{timeframe}"}, "http.url"),
        ({"url": "https:///{instrument}/{timeframe}"}, "http.url"),
        ({"url": "https://host:x/{instrument}/{timeframe}"}, "http.url"),
        ({"url": "https://{instrument}.host/{timeframe}"}, "http.url"),
        ({"url": f"https://user:{SECRET}@host/{{instrument}}/{{timeframe}}"}, "http.url"),
        ({"url": f"https://host/{{symbol}}/{{timeframe}}?k={SECRET}"}, "http.url"),
        ({"url": f"https://host/{{instrument}}?k={SECRET}"}, "http.url"),
        ({"url": f"https://host/{{timeframe}}?k={SECRET}"}, "http.url"),
        ({"url": "https://host/{instrument}/{timeframe"}, "http.url"),
        ({"rows": 1.5}, "http.rows"),
        ({"rows": "data..list"}, "http.rows"),
        ({"fields": {"opening": 1}}, "http.fields"),
        ({"fields": {"open": -1}}, "http.fields.open"),
        ({"fields": {"open": ""}}, "http.fields.open"),
        ({"fields": {"open": True}}, "http.fields.open"),
        ({"fields": ["open"]}, "http.fields"),
        ({"time": "days"}, "http.time"),
        ({"timezone": "Mars"}, "http.timezone"),
        ({"request_time": "auto"}, "http.request_time"),
        ({"finality": "flag"}, "http.finality"),
        ({"finality": "settle"}, "http.settle_s"),
        ({"stretch": 0.5}, "http.stretch"),
        ({"timeout_s": 0}, "http.timeout_s"),
        ({"timeout_s": float("inf")}, "http.timeout_s"),
        ({"timeout_s": "10"}, "http.timeout_s"),
        ({"max_bytes": 0}, "http.max_bytes"),
        ({"headers": {"X-Key": f"{SECRET}\r\nX-Other: 1"}}, "http.headers.X-Key"),
        ({"headers": {"X-Key": 5}}, "http.headers.X-Key"),
        ({"headers": {"X Key": SECRET}}, "http.headers.X Key"),
        ({"headers": SECRET}, "http.headers"),
        ({"instrument": "A:B"}, "instrument"),
        ({"timeframe": "1x"}, "timeframe"),
    ],
)
def test_wrong_options_are_refused_when_the_source_is_made(options: dict[str, Any], names: str) -> None:
    """Every wrong option is refused before anything connects; the error names it and shows no secret."""
    with pytest.raises(InvalidInput) as caught:
        HttpSource(**{"url": "https://host/{instrument}/{timeframe}", **options})
    assert caught.value.what == names
    assert SECRET not in str(caught.value)


def test_an_address_for_one_instrument_needs_no_placeholders() -> None:
    """An address that serves one instrument and timeframe says so by options, and then refuses others."""
    with source(always(rows_of(BARS)), "/gold.json", instrument="gold", timeframe="15m") as (made, _):
        assert len(made.bars(CANDLE, 3)) == 4
        with pytest.raises(SourceError, match="holds GOLD and not OIL"):
            made.bars(candle("2024-03-05T10:00", instrument="OIL"), 3)
