"""Whoever may write to the broker runs no code in a worker by a message, and ends no worker by one."""

from __future__ import annotations

import json
import logging
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from celery.exceptions import SecurityError
from hypothesis import given
from hypothesis import strategies as st
from kombu import Producer, Queue
from kombu.exceptions import DecodeError

from tasks import app as app_module
from tasks.broker import Broker, broker_of
from tasks.doctor import examine
from tasks.envelope import problem_with_headers, problem_with_text
from tasks.settings import Settings
from tasks.transport import UNREADABLE, UNREADABLE_ENTRIES
from tests.engines import HOST, Engine, free_port
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of
from tests.pipeline.waiting import eventually
from tests.security.poison import NO_MESSAGES, distorted, envelope
from tests.topology.certificates import Authority
from tests.topology.conftest import server_binary
from tests.topology.sentinels import Sentinels


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment with one worker."""
    with deploy(tmp_path_factory.mktemp("poison"), [watch("GOLD", "SILVER", "COPPER")]) as deployment:
        for instrument in ("GOLD", "SILVER", "COPPER"):
            deployment.feed(instrument, [ORIGIN - HOUR, ORIGIN])
        deployment.worker(processes=1)
        yield deployment


@pytest.fixture
def raw(running: Deployment) -> Iterator[redis.Redis]:
    """What an attacker has who reached the broker."""
    with running.engine.client(decode_responses=False) as client:
        client.delete(UNREADABLE)
        yield client


@pytest.fixture
def log(running: Deployment) -> Callable[[], str]:
    """What the worker has said since the test began."""
    worker = running.processes["worker1"]
    began = len(worker.logs())
    return lambda: worker.logs()[began:]


@pytest.fixture
def unharmed(running: Deployment) -> Iterator[None]:
    """After the test the same worker, never reconnected, still works through all its queues."""
    yield
    assert running.sweep()["outcome"] == "swept"
    worker = running.processes["worker1"]
    assert worker.status == "running"
    assert worker.logs().count(" ready.") == 1
    assert "broker lost" not in worker.logs()
    with running.engine.client() as client:
        queues = ("control", "candles", "publish")
        running.until(lambda: not any(map(client.llen, queues)) and not client.hlen("unacked"), "all to be worked")


def swallowed(running: Deployment, raw: redis.Redis, queue: str, items: list[bytes]) -> None:
    """Push items into a queue and wait until workers have taken them."""
    raw.lpush(queue, *items)
    running.until(lambda: raw.llen(queue) == 0, f"{queue} to be empty")


@pytest.mark.parametrize("queue", ["control", "candles", "publish"])
@pytest.mark.usefixtures("unharmed")
def test_what_is_no_message_is_set_aside(
    running: Deployment, raw: redis.Redis, log: Callable[[], str], queue: str
) -> None:
    """An entry that is no message is moved to a list of its own, told in an ERROR line, and ends nothing."""
    swallowed(running, raw, queue, list(NO_MESSAGES))
    running.until(lambda: raw.llen(UNREADABLE) == len(NO_MESSAGES), "all to be set aside")
    kept = {item[:100] for item in raw.lrange(UNREADABLE, 0, -1)}
    assert kept == {item[:100] for item in NO_MESSAGES}
    assert log().count(f"unreadable message in {queue}: ") == len(NO_MESSAGES)


@pytest.mark.usefixtures("unharmed")
def test_no_distortion_of_a_message_ends_a_worker(
    running: Deployment, raw: redis.Redis, log: Callable[[], str]
) -> None:
    """Whatever part, header, property or argument of a message is wrong, the worker refuses it and goes on."""
    items = list(distorted())
    swallowed(running, raw, "control", items)
    running.until(lambda: running.sweep()["outcome"] == "swept", "the worker to work on")
    told = log()
    assert told.count("unreadable message in control: ") > 30
    assert told.count("refused a message that is no task: ") > 50


@pytest.mark.usefixtures("unharmed")
def test_set_aside_is_bounded(running: Deployment, raw: redis.Redis) -> None:
    """However much rubbish comes, the list of it does not grow beyond its bound, in entries and in bytes."""
    raw.lpush(UNREADABLE, *[b"old"] * UNREADABLE_ENTRIES)
    swallowed(running, raw, "control", [b"new", b"x" * 1_000_000])
    running.until(lambda: set(raw.lrange(UNREADABLE, 0, 1)) == {b"new", b"x" * 65_536}, "both to be set aside")
    assert raw.llen(UNREADABLE) == UNREADABLE_ENTRIES


@pytest.mark.usefixtures("unharmed")
def test_doctor_counts_what_is_set_aside(running: Deployment, raw: redis.Redis) -> None:
    """Doctor warns of messages that nobody could read, and says how many there are."""
    given = {name.lower(): value for name, value in running.env.items() if name.lower() in Settings.model_fields}

    def told() -> list[str]:
        sections = examine(_env_file=None, **given)
        return [one.found for section in sections for one in section.findings if one.check == "unreadable"]

    assert told() == []
    swallowed(running, raw, "control", [b"garbage", b"1"])
    running.until(lambda: raw.llen(UNREADABLE) == 2, "both to be set aside")
    assert told() == ["2 messages set aside"]


@pytest.mark.usefixtures("unharmed")
def test_what_is_no_message_to_all_is_dropped(
    running: Deployment, raw: redis.Redis, log: Callable[[], str], tmp_path: Path
) -> None:
    """Rubbish among the control commands, which every worker hears, ends no worker, and pickled ones are not read."""
    channel = "/0.celery.pidbox"
    mark = tmp_path / "unpickled"
    bomb = envelope() | {"content-type": "application/x-python-serialize", "body": base64_of(pickle.dumps(Bomb(mark)))}
    wrong_body = [json.dumps(envelope(body)).encode() for body in (1, "x", [], {"method": 1}, {"method": "x"})]
    for item in (*NO_MESSAGES, *wrong_body, json.dumps(bomb).encode()):
        assert raw.publish(channel, item) == 1
    # Celery opens its mailbox anew after a command that failed; what is said meanwhile is not heard.
    running.until(lambda: running.app.control.ping(timeout=1), "the worker to answer")
    assert not mark.exists()
    assert "unreadable message to all at /0.celery.pidbox dropped: " in log()


@pytest.mark.timeout(180)
def test_rubbish_among_what_was_not_acknowledged(tmp_path: Path) -> None:
    """An entry that cannot be delivered again is set aside, and does not keep the others from coming back."""
    with deploy(tmp_path, [watch("GOLD")], PUBLISH_TIME_LIMIT="2.1", VISIBILITY_TIMEOUT="8") as deployment:
        deployment.feed("GOLD", [ORIGIN - HOUR, ORIGIN])
        worker = deployment.worker(processes=1)
        with deployment.engine.client(decode_responses=False) as raw:
            good = envelope(task="sweep")
            entries = [*NO_MESSAGES, b'["x", "y"]', b"[1, 2, 3]", json.dumps([good, "control", "control"]).encode()]
            for number, entry in enumerate(entries):
                raw.hset("unacked", f"tag{number}", entry)
                # The good one is the oldest: kombu brings back the youngest first.
                raw.zadd("unacked_index", {f"tag{number}": time.time() - 1000 - number})
            deployment.until(lambda: deployment.outcomes("sweep")["swept"] == 1, "the good message to come back")
            deployment.until(lambda: raw.hlen("unacked") == 0, "the others to be given up")
            assert raw.zcard("unacked_index") == 0
            assert raw.llen(UNREADABLE) >= len(NO_MESSAGES)
            assert worker.logs().count(" ready.") == 1


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.path,))


def base64_of(data: bytes) -> str:
    from base64 import b64encode

    return b64encode(data).decode()


def yaml_bomb(path: Path) -> bytes:
    return f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{path}]]".encode()


@pytest.mark.parametrize(
    ("content_type", "encoding", "bomb"),
    [
        ("application/x-python-serialize", "binary", lambda path: pickle.dumps(((), {"x": Bomb(path)}, {}))),
        ("application/x-python-serialize", "utf-8", lambda path: pickle.dumps(Bomb(path), protocol=0)),
        ("application/x-yaml", "utf-8", yaml_bomb),
        ("application/x-msgpack", "binary", lambda path: b"\x93\x90\x80\x80"),
        ("application/data", "binary", lambda path: pickle.dumps(Bomb(path))),
        ("application/json", "binary", lambda path: pickle.dumps(Bomb(path))),
    ],
    ids=["pickle", "pickle as text", "yaml", "msgpack", "data", "pickle that says it is JSON"],
)
@pytest.mark.usefixtures("unharmed")
def test_only_json_is_read(
    running: Deployment,
    raw: redis.Redis,
    log: Callable[[], str],
    tmp_path: Path,
    content_type: str,
    encoding: str,
    bomb: Callable[[Path], bytes],
) -> None:
    """A message in another form than JSON is refused unread: what it would do on the way does not happen."""
    mark = tmp_path / "exploded"
    message = envelope() | {"content-type": content_type, "content-encoding": encoding}
    message["body"] = base64_of(bomb(mark))
    swallowed(running, raw, "control", [json.dumps(message).encode()])
    running.until(lambda: any(word in log() for word in ("Refusing to", "Can't decode", "refused a")), "the refusal")
    assert not mark.exists()


@pytest.mark.parametrize(
    "meta",
    [
        lambda path: pickle.dumps(Bomb(path)),
        lambda path: json.dumps(
            {
                "status": "FAILURE",
                "result": {"exc_type": "system", "exc_module": "os", "exc_message": [f"touch {path}"]},
                "traceback": None,
                "children": [],
            }
        ).encode(),
    ],
    ids=["pickle", "a function for an exception"],
)
def test_poisoned_result_runs_nothing(running: Deployment, tmp_path: Path, meta: Callable[[Path], bytes]) -> None:
    """Whoever may write to the result backend runs no code in those who read results."""
    mark = tmp_path / "exploded"
    with redis.Redis.from_url(running.env["CELERY_RESULT_BACKEND"]) as client:
        client.set("celery-task-meta-poisoned", meta(mark))
    with pytest.raises((ValueError, DecodeError, SecurityError)):
        running.app.backend.get_task_meta("poisoned")
    assert not mark.exists()


def test_poisoned_event_runs_nothing(running: Deployment, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What Flower reads, the events, is JSON only too."""
    mark = tmp_path / "exploded"
    seen: list[Any] = []
    with running.app.connection_for_read() as own, running.app.connection_for_write() as sender:
        receiver = running.app.events.Receiver(own, handlers={"*": seen.append})
        with receiver.consumer_context() as (connection, *_):
            with suppress(TimeoutError):
                # Listens from then on.
                connection.drain_events(timeout=0.2)
            Producer(sender.channel(), exchange=receiver.exchange).publish(
                [{"x": Bomb(mark)}], routing_key="task.multi", serializer="pickle", declare=[receiver.exchange]
            )
            connection.drain_events(timeout=5)
    assert "Refusing to deserialize untrusted content of type pickle" in caplog.text
    assert (seen, mark.exists()) == ([], False)


@contextmanager
def reading(broker: Broker) -> Iterator[tuple[Celery, Any]]:
    """The app's kind of client and connection, on a broker."""
    app = Celery("reader", amqp="tasks.transport:AMQP", set_as_current=False)
    app.conf.update(
        broker_url=broker.url,
        broker_use_ssl=broker.tls or False,
        broker_transport_options={**broker.options, "global_keyprefix": "p:"},
    )
    with app.connection_for_read() as connection:
        yield app, connection
    app.close()


def reads_on(broker: Broker, attacker: redis.Redis) -> None:
    """A consumer behind rubbish gets the message that is good, and the rubbish is set aside."""
    attacker.lpush("p:letters", *NO_MESSAGES)
    with reading(broker) as (_, connection):
        sender = connection.clone()
        queue = sender.SimpleQueue("letters")
        queue.put({"n": 1})
        got: list[Any] = []
        consumer = connection.Consumer(
            [Queue("letters")], callbacks=[lambda body, message: got.append(body) or message.ack()]
        )
        with consumer:

            def arrived() -> bool:
                with suppress(TimeoutError):
                    connection.drain_events(timeout=0.2)
                return bool(got)

            eventually(arrived, "the good message")
        queue.close()
        sender.release()
    assert got == [{"n": 1}]
    assert attacker.llen(f"p:{UNREADABLE}") == len(NO_MESSAGES)


@pytest.mark.parametrize("prefix", ["", "p-1:"])
def test_what_waits_is_counted_behind_a_prefix(empty_valkey: Engine, prefix: str) -> None:
    """The length of a queue is found behind a `KEY_PREFIX` too: the sweep adds nothing while too much waits."""
    app = Celery("counter", amqp="tasks.transport:AMQP", broker=empty_valkey.url, set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": prefix}
    empty_valkey.client().lpush(f"{prefix}candles", "1", "2")
    empty_valkey.client().lpush(f"{prefix}candles\x06\x163", "3")
    with app.connection_or_acquire() as connection:
        channel = connection.default_channel
        assert channel.queue_declare(queue="candles", passive=True).message_count == 3
        with pytest.raises(connection.channel_errors):
            channel.queue_declare(queue="publish", passive=True)
    app.close()


def test_over_tls(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`rediss://` reads with the same care, and with a prefix."""
    port = free_port()
    authority = Authority.founded(tmp_path)
    with Engine(server_binary("redis7"), {"tls-port": str(port), **authority.issued()}) as engine:
        url = f"rediss://{HOST}:{port}/0?ssl_ca_certs={authority.certificate}"
        reads_on(broker_of(url, "REDIS_URL"), engine.client(decode_responses=False))
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == len(NO_MESSAGES)


def test_behind_sentinels() -> None:
    """`sentinel://` reads with the same care."""
    with Sentinels(server_binary("valkey9")) as running:
        reads_on(broker_of(running.url, "REDIS_URL"), running.primary.client(decode_responses=False))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_judging_never_raises(item: bytes) -> None:
    """Whatever is in the queue is judged, and nothing that is made up passes for a message."""
    assert problem_with_text(item)


@given(st.dictionaries(st.sampled_from(["task", "id", "retries", "timelimit", "eta", "stamps", "x"]), JSON))
def test_judging_headers_never_raises(headers: dict[str, Any]) -> None:
    """Headers are judged, whatever they hold."""
    assert isinstance(problem_with_headers(headers), str)


def test_good_messages_pass(running: Deployment) -> None:
    """What our own clients send passes every check, retries, countdowns, limits and chains included."""
    task = running.app.signature("sweep", queue="elsewhere")
    for options in (
        {},
        {"countdown": 5, "expires": 60.5, "retries": 2, "time_limit": 3, "soft_time_limit": 2.5, "priority": 3},
        {"link": task, "link_error": task, "shadow": "s", "ignore_result": True, "group_id": "g"},
        {"reply_to": "r", "headers": {"x": 1}},
    ):
        running.app.send_task("sweep", queue="elsewhere", **options)
    task.stamp(stamp="s").apply_async()
    with running.engine.client(decode_responses=False) as client:
        names = list(client.scan_iter("elsewhere*"))
        items = [item for name in names for item in client.lrange(name, 0, -1)]
        client.delete(*names)
    assert len(items) == 5
    assert [problem_with_text(item) for item in items] == [""] * 5
    assert [problem_with_headers(json.loads(item)["headers"]) for item in items] == [""] * 5


def test_the_app_is_careful(running: Deployment) -> None:
    """The configuration takes JSON only, wherever Celery takes anything, and names the careful parts."""
    config = app_module.celery_config(running.line.settings)
    assert (config["accept_content"], config["result_accept_content"]) == (["json"], ["json"])
    assert {config[name] for name in ("task_serializer", "result_serializer", "event_serializer")} == {"json"}
    assert config["worker_consumer"] == "tasks.consumer:Consumer"
    assert app_module.app.amqp_cls == "tasks.transport:AMQP"


def test_a_candle_behind_all_that(running: Deployment) -> None:
    """After all that the same worker works a candle, and its signal is posted once."""
    candle = candle_of("COPPER")
    running.run(candle)
    running.until(lambda: running.signal_outcome(candle) == "posted", "the signal")
    assert len(running.posts(candle)) == 1
    assert running.processes["worker1"].logs().count(" ready.") == 1
