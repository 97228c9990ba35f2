"""Messages that cannot be worked: each fails visibly and claims nothing, and the worker goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Producer

from dedup.errors import (
    DedupError,
    InvalidCandle,
    InvalidInstrument,
    InvalidSignal,
    InvalidTimeframe,
)
from dedup.signals import signal_id
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of

START = "2025-01-04T09:00:00Z"
CANDLE = {"instrument": "GOLD", "timeframe": "1h", "candle_start": START}
SIGNAL = {
    "id": signal_id("always_buy", "GOLD", "1h", ORIGIN - HOUR),
    "instrument": "GOLD",
    "timeframe": "1h",
    "candle_start": START,
    "candle_close": "2025-01-04T10:00:00Z",
    "strategy": "always_buy",
    "side": "buy",
    "price": "100.25",
    "expires_at": "2025-01-04T11:00:00Z",
}

WITH_ZONE = "give ISO-8601 with a zone, as in 2025-01-01T10:15:00Z"
FORGING = "which could forge a key"
CANDLES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"instrument": "GO:LD"}, InvalidInstrument, f"instrument = 'GO:LD': leave out [':'], {FORGING}"),
    ({"instrument": "GOLD*"}, InvalidInstrument, f"instrument = 'GOLD*': leave out ['*'], {FORGING}"),
    ({"instrument": "GO\nLD"}, InvalidInstrument, f"instrument = 'GO\\nLD': leave out ['\\n'], {FORGING}"),
    ({"instrument": "GO\0LD"}, InvalidInstrument, f"instrument = 'GO\\x00LD': leave out ['\\x00'], {FORGING}"),
    ({"instrument": ""}, InvalidInstrument, "instrument = '': give a name such as GOLD or EUR_USD"),
    ({"instrument": None}, InvalidInstrument, "instrument = 'None': give a string such as GOLD or EUR_USD"),
    ({"instrument": ["GOLD"]}, InvalidInstrument, "instrument = \"['GOLD']\": give a string such as GOLD or EUR_USD"),
    ({"timeframe": "1M"}, InvalidTimeframe, "timeframe = '1M': months are not offered; a minute is written"),
    ({"timeframe": "fortnight"}, InvalidTimeframe, "timeframe = 'fortnight': write a count from 1 to 99999 and one of"),
    ({"timeframe": 60}, InvalidTimeframe, "timeframe = '60': write a count from 1 to 99999 and one of"),
    ({"timeframe": None}, InvalidTimeframe, "timeframe = 'None': write a count from 1 to 99999 and one of"),
    ({"candle_start": None}, InvalidCandle, f"candle_start = 'None': {WITH_ZONE}"),
    ({"candle_start": 1735980000}, InvalidCandle, f"candle_start = '1735980000': {WITH_ZONE}"),
    ({"candle_start": ""}, InvalidCandle, f"candle_start = '': {WITH_ZONE}"),
    ({"candle_start": "noon"}, InvalidCandle, f"candle_start = 'noon': {WITH_ZONE}"),
    ({"candle_start": "2025-01-04T09:00:00"}, InvalidCandle, "candle_start = '2025-01-04T09:00:00': give a timezone"),
    ({"candle_start": "2025-01-04T09:17:00Z"}, InvalidCandle, "the nearest starts 2025-01-04T09:00:00Z"),
    ({"candle_start": "2025-01-04T10:00:00Z"}, InvalidCandle, "candle_start = '2025-01-04T10:00:00Z': has not closed"),
    ({"candle_start": "9999-12-31T23:00:00Z"}, InvalidCandle, "lies outside the years 1 to 9999"),
    ({"candle_start": "0001-01-01T00:00:00+14:00"}, InvalidCandle, "lies outside the years 1 to 9999"),
    ({"patience": 3}, TypeError, "unexpected keyword argument 'patience'"),
]

SIGNALS: list[tuple[dict[str, Any], str]] = [
    ({"instrument": "GO:LD"}, f"signal.instrument = 'GO:LD': leave out [':'], {FORGING}"),
    ({"timeframe": "1M"}, "signal.timeframe = '1M': months are not offered"),
    ({"strategy": "always buy"}, "signal.strategy = 'always buy': use up to 64 letters"),
    ({"candle_start": "2025-01-04T09:00:00"}, "signal.candle_start = '2025-01-04T09:00:00': must have timezone info"),
    ({"candle_start": "noon"}, "signal.candle_start = 'noon': must be a valid datetime"),
    ({"candle_close": "2025-01-04T08:00:00Z"}, "candle_close comes after candle_start"),
    ({"candle_close": "2025-01-04T12:00:00Z"}, "signal.candle_close = '2025-01-04T12:00:00+00:00': has not come"),
    ({"expires_at": None}, "signal.expires_at = 'None': must be a valid datetime"),
    ({"side": "long"}, "signal.side = 'long': must be 'buy', 'sell' or 'close'"),
    ({"price": 100.25}, "signal.price = '100.25': give a price as a decimal or a string"),
    ({"price": "NaN"}, "signal.price = 'NaN': must be a finite number"),
    ({"price": "0"}, "signal.price = '0': must be greater than 0"),
    ({"price": "cheap"}, "signal.price = 'cheap': must be a valid decimal"),
    ({"stop_loss": "101"}, "stop_loss lies below the price"),
    ({"confidence": 2}, "signal.confidence = '2': must be less than or equal to 1"),
    ({"id": "GOLD\nwebhook-id: 1"}, "signal.id = 'GOLD\\nwebhook-id: 1': String should match pattern"),
    ({"leverage": 100}, "signal.leverage = '100': is no field of a signal; there are id, instrument"),
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment with a worker that watches GOLD and SILVER, whose bars are there."""
    with deploy(tmp_path_factory.mktemp("messages"), [watch("GOLD", "SILVER")]) as deployment:
        for instrument in ("GOLD", "SILVER"):
            deployment.feed(instrument, [ORIGIN - HOUR, ORIGIN])
        deployment.worker(processes=1)
        yield deployment


def records(running: Deployment) -> set[str]:
    """The keys of all candles and signals."""
    with running.engine.client() as client:
        return {str(key) for key in client.scan_iter("*") if str(key).startswith(("candle:", "signal:"))}


@pytest.fixture
def untouched(running: Deployment) -> Iterator[Deployment]:
    """The deployment; after the test no candle and no signal may have a new key, and the API no new POST."""
    before = records(running), len(running.receiver.read().posts)
    yield running
    assert (records(running), len(running.receiver.read().posts)) == before


def failure(running: Deployment, task: str, **kwargs: Any) -> Exception:
    """What a task fails with, as the result backend tells it; the worker's log has to tell it too."""
    sent = running.send(task, **kwargs)
    running.until(lambda: sent.state == "FAILURE", f"{task} to fail")
    error = sent.result
    assert isinstance(error, Exception)
    told = f"Task {task}[{sent.id}] raised unexpected: {type(error).__name__}"
    running.until(lambda: told in running.processes["worker1"].logs(), "the log to tell it")
    return error


@pytest.mark.parametrize(("wrong", "kind", "message"), CANDLES, ids=[f"{row[0]}" for row in CANDLES])
def test_rubbish_for_a_candle_fails_and_claims_nothing(
    untouched: Deployment, wrong: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """An argument that no candle has fails the task with an error that names it, its value and the remedy."""
    error = failure(untouched, "evaluate_candle", **{**CANDLE, **wrong})
    assert type(error) is kind
    assert message in str(error)


@pytest.mark.parametrize("missing", list(CANDLE))
def test_candle_with_something_missing_fails_and_claims_nothing(untouched: Deployment, missing: str) -> None:
    """A message without one of the candle's arguments fails the task with an error that names it."""
    kwargs = {name: value for name, value in CANDLE.items() if name != missing}
    error = failure(untouched, "evaluate_candle", **kwargs)
    assert isinstance(error, TypeError)
    assert f"'{missing}'" in str(error)


@pytest.mark.parametrize(("instrument", "timeframe"), [("PLATINUM", "1h"), ("GOLD", "4h")])
def test_candle_that_nobody_watches_is_told(untouched: Deployment, instrument: str, timeframe: str) -> None:
    """A candle that the watchlist does not have ends as `unwatched`, and claims nothing."""
    sent = untouched.send("evaluate_candle", instrument=instrument, timeframe=timeframe, candle_start=START)
    expected = {"outcome": "unwatched", "instrument": instrument, "timeframe": timeframe, "candle": START}
    assert untouched.result(sent) == expected


@pytest.mark.parametrize(("wrong", "message"), SIGNALS, ids=[f"{row[0]}" for row in SIGNALS])
def test_rubbish_in_a_signal_fails_and_claims_nothing(
    untouched: Deployment, wrong: dict[str, Any], message: str
) -> None:
    """A signal with a field that cannot be is not posted: the error names the field, its value and the remedy."""
    error = failure(untouched, "publish_signal", signal={**SIGNAL, **wrong})
    assert type(error) is InvalidSignal
    assert message in str(error)


@pytest.mark.parametrize("missing", list(SIGNAL))
def test_signal_with_something_missing_fails_and_claims_nothing(untouched: Deployment, missing: str) -> None:
    """A signal without one of its fields is not posted, and the error names the field."""
    error = failure(untouched, "publish_signal", signal={k: v for k, v in SIGNAL.items() if k != missing})
    assert type(error) is InvalidSignal
    assert str(error) == f"signal.{missing} = 'missing': this field is needed"


@pytest.mark.parametrize(("rubbish", "kind"), [("buy!", "str"), (None, "NoneType"), ([SIGNAL], "list"), (7, "int")])
def test_signal_that_is_no_table_fails_and_claims_nothing(untouched: Deployment, rubbish: Any, kind: str) -> None:
    """What is no table of fields is no signal."""
    error = failure(untouched, "publish_signal", signal=rubbish)
    assert type(error) is InvalidSignal
    assert str(error).startswith(f"signal = 'a {kind}': must be a valid dictionary")


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.path,))


def publish_raw(running: Deployment, body: Any, **options: Any) -> None:
    """Put a message of one's own into the candles' queue."""
    with running.app.connection_for_write() as connection:
        Producer(connection.channel()).publish(body, routing_key="candles", exchange="candles", **options)


def headers(task: str) -> dict[str, Any]:
    """The headers that make a message a task's."""
    return {"task": task, "id": "rubbish", "lang": "py", "argsrepr": "", "kwargsrepr": ""}


def test_pickled_message_is_refused_unread(untouched: Deployment, tmp_path: Path) -> None:
    """A pickled message is refused before it is unpickled: what it would do on the way does not happen."""
    mark = tmp_path / "unpickled"
    body = ((), {**CANDLE, "candle_start": Bomb(mark)}, {})
    publish_raw(untouched, body, serializer="pickle", headers=headers("evaluate_candle"))
    log = untouched.processes["worker1"].logs
    untouched.until(lambda: "Refusing to deserialize" in log() and "pickle" in log(), "the refusal")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("body", "options", "told"),
    [
        ("[}", {"headers": headers("evaluate_candle"), "content_encoding": "utf-8"}, "Can't decode message body"),
        ({"instrument": "GOLD"}, {"serializer": "json"}, "refused a message that is no task"),
        ([[], CANDLE, {}], {"serializer": "json", "headers": headers("buy_everything")}, "unregistered task"),
    ],
    ids=["no JSON", "no task", "unknown task"],
)
def test_message_that_is_no_task_of_ours_is_told_and_dropped(
    untouched: Deployment, body: Any, options: dict[str, Any], told: str
) -> None:
    """A message that cannot be read, or that names no task of ours, is logged and dropped."""
    if isinstance(body, str):
        options = {**options, "content_type": "application/json"}
    log = untouched.processes["worker1"].logs
    publish_raw(untouched, body, **options)
    untouched.until(lambda: told in log(), told)


def test_nothing_is_lost_behind_rubbish(running: Deployment) -> None:
    """After all that the same worker works the candle that is right, and its signal is posted once; nothing is left
    in the queues or unacknowledged.
    """
    candle = candle_of("GOLD")
    assert running.run(candle)["outcome"] == "evaluated"
    running.until(lambda: running.signal_outcome(candle) == "posted", "the signal")
    assert len(running.posts(candle)) == 1
    assert running.processes["worker1"].logs().count(" ready.") == 1
    with running.engine.client() as client:
        running.until(lambda: client.hlen("unacked") == 0, "every message to be acknowledged")
        assert [client.llen(queue) for queue in ("control", "candles", "publish")] == [0, 0, 0]


@pytest.mark.parametrize("kind", [InvalidCandle, InvalidSignal])
def test_refusal_reaches_the_caller_as_it_was(running: Deployment, kind: type[DedupError]) -> None:
    """The error that a caller gets from the result backend is of the same class, with what, value and remedy."""
    task, kwargs = {
        InvalidCandle: ("evaluate_candle", {**CANDLE, "candle_start": "noon"}),
        InvalidSignal: ("publish_signal", {"signal": {**SIGNAL, "price": "0"}}),
    }[kind]
    error = failure(running, task, **kwargs)
    assert isinstance(error, kind)
    assert (error.what, error.value) in {("candle_start", "noon"), ("signal.price", "0")}  # type: ignore[attr-defined]
    assert error.remedy  # type: ignore[attr-defined]
