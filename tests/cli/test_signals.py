"""`celery -A tasks signals`: what is held is found, shown whole, and settled as a person says."""

from __future__ import annotations

import getpass
from typing import Any

import pytest

from dedup.ops import Resolution
from dedup.records import Record, State
from dedup.rules import new_token
from tasks.commands.signals import signals
from tasks.held import Name, parse_key, why_not
from tasks.receiver import Receiver
from tests.cli.conftest import Desk, closed
from tests.engines import free_port
from tests.pipeline.feeds import HOUR, ORIGIN

WHY = ("--why", "asked the broker")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("signal:publish:GOLD:2025-01-04T09:00:00:1h:buyer", "GOLD 1h 2025-01-04T09:00:00Z buyer"),
        ("signal:publish:GOLD:2025-01-04T09:00:00", "GOLD 2025-01-04T09:00:00Z"),
        ("signal:publish:GOLD:2025-01-04T09:00:00.500000:1h", "GOLD 1h 2025-01-04T09:00:00.500000Z"),
        ("signal:publish:GOLD:yesterday:a:b", ""),
        ("signal:publish:GOLD", ""),
        ("candle:GOLD:1h:2025-01-04T09:00:00", ""),
    ],
)
def test_keys_are_read(key: str, expected: str) -> None:
    """A signal's key says its instrument, candle, timeframe and strategy; another key says nothing."""
    name = parse_key(key)
    assert (str(name) if name else "") == expected
    assert parse_key(f"blue:{key}", "blue:") == name


def test_id_of_a_key(desk: Desk) -> None:
    """The id that a key stands for is the signal's."""
    signal = desk.signal(closed("GOLD"))
    name = parse_key(desk.key_of(signal))
    assert name is not None
    assert name.id == signal.id
    assert Name("GOLD", signal.candle_start).id == ""


def listed(desk: Desk, *argv: str) -> list[str]:
    return [f"{one['instrument']} {one['state']}" for one in desk.run(signals, "list", "--json", *argv).document]


def fill(desk: Desk) -> None:
    desk.worked(closed("GOLD"), "held")
    desk.worked(closed("GOLD", 3), "posted")
    desk.worked(closed("SILVER", 1), "rejected")
    desk.worked(closed("SILVER", 2), "released")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ((), ["GOLD held"]),
        (("--held",), ["GOLD held"]),
        (("--state", "posted"), ["GOLD posted"]),
        (("--state", "posted", "--held"), ["GOLD posted", "GOLD held"]),
        (("--state", "done"), ["GOLD posted", "SILVER rejected"]),
        (("--state", "unknown"), ["GOLD held"]),
        (("--state", "all"), ["GOLD posted", "SILVER released", "SILVER rejected", "GOLD held"]),
        (("--state", "all", "--instrument", "silver"), ["SILVER released", "SILVER rejected"]),
        (("--state", "all", "--since", "150m"), ["SILVER rejected", "GOLD held"]),
        (("--state", "all", "--since", "2025-01-04T09:00:00Z"), ["GOLD held"]),
    ],
)
def test_list_is_filtered(desk: Desk, argv: tuple[str, ...], expected: list[str]) -> None:
    """The list shows what is held, or what its filters say, by the candles' starts."""
    fill(desk)
    assert listed(desk, *argv) == expected


def test_list_for_people(desk: Desk) -> None:
    """A line says which signal, how it stands, its id and why; the exit code is 1 where something is held."""
    signal = desk.worked(closed("GOLD"), "held")
    told = desk.run(signals, "list")
    assert told.code == 1
    line = next(line for line in told.out.splitlines() if signal.id in line)
    for part in ("GOLD 1h 2025-01-04T09:00:00Z buyer", "held", "read timeout"):
        assert part in line


def test_nothing_is_held(desk: Desk) -> None:
    """Where nothing is held the list says so, with exit code 0."""
    desk.worked(closed("GOLD"), "posted")
    told = desk.run(signals, "list")
    assert (told.code, told.out.strip()) == (0, "none")


@pytest.mark.parametrize("how", ["id", "beginning", "key"])
def test_show_whole(desk: Desk, how: str) -> None:
    """A signal is shown whole by its id, the beginning of it, or its key, with what can be said of it."""
    signal = desk.worked(closed("GOLD"), "held")
    reference = {"id": signal.id, "beginning": signal.id[:12], "key": desk.key_of(signal)}[how]
    told = desk.run(signals, "show", reference, "--json")
    document = told.document
    assert (document["id"], document["state"], document["reason"]) == (signal.id, "held", "read timeout")
    assert document["payload"] == signal.fields()
    assert document["resolve"] == {"posted": "possible", "rejected": "possible", "resend": "possible"}
    assert (document["candle"], document["attempt"], told.code) == ("evaluated", 1, 1)
    assert signal.id in desk.run(signals, "show", reference).out


def test_show_asks_the_api(desk: Desk) -> None:
    """Asked to, it looks the id up at the API, and says what that said."""
    signal = desk.worked(closed("GOLD"), "held")
    with Receiver(desk.home / "posts.jsonl") as api:
        address = {"SIGNAL_API_URL": api.signals_url, "SIGNAL_LOOKUP_URL": f"{api.signals_url}/{{id}}"}
        told = desk.run(signals, "show", signal.id, "--look-up", "--json", **address)
    assert "does not have it" in told.document["api"]


@pytest.mark.parametrize("reference", ["sig_ffffffffffff", "sig_", "signal:publish:TIN:2025-01-04T09:00:00"])
def test_unknown_reference(desk: Desk, reference: str) -> None:
    """An id or key that no record has is refused with exit code 2."""
    desk.worked(closed("GOLD"), "held")
    told = desk.run(signals, "show", reference)
    assert (told.code, "signals list" in told.err) == (2, True)


@pytest.mark.parametrize("word", ["posted", "rejected"])
def test_resolve(desk: Desk, word: str) -> None:
    """What is held is settled as a person says, and the record keeps who said so, and why."""
    signal = desk.worked(closed("GOLD"), "held")
    told = desk.run(signals, "resolve", signal.id, "--as", word, *WHY, "--who", "anna", "--yes")
    assert (told.code, f"{signal.id} is {word}, as anna says" in told.out) == (0, True)
    record = desk.signals.record(desk.key_of(signal))
    assert record is not None
    assert (record.state, record.outcome, record.held) == (State.DONE, word, False)
    assert (record.by, record.by_why, record.reason) == ("anna", "asked the broker", "read timeout")
    assert "anna: asked the broker" in desk.run(signals, "list", "--state", word).out


def test_resolve_is_said_by_who_is_logged_in(desk: Desk) -> None:
    """Whoever is logged in says so, where nobody else is named."""
    signal = desk.worked(closed("GOLD"), "held")
    desk.run(signals, "resolve", signal.id, "--as", "posted", *WHY, "--yes")
    record = desk.signals.record(desk.key_of(signal))
    assert record is not None
    assert record.by == getpass.getuser()


def test_resolve_several(desk: Desk) -> None:
    """Several signals are settled at once, and each is told."""
    held = [desk.worked(closed(name), "held") for name in ("GOLD", "SILVER")]
    told = desk.run(signals, "resolve", *(one.id for one in held), "--as", "rejected", *WHY, "--yes", "--json")
    assert [one["acted"] for one in told.document] == [True, True]
    assert listed(desk) == []


def test_resolve_asks_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --yes a person is asked once for all, shown why each is held, and nothing is done where they say no."""
    held = [desk.worked(closed(name), "held") for name in ("GOLD", "SILVER")]
    monkeypatch.setattr("tasks.commands.signals.someone_is_there", lambda: True)
    argv = ("resolve", *(one.id for one in held), "--as", "posted", *WHY)
    told = desk.run(signals, *argv, typed="n\n")
    assert (told.code, len(listed(desk)), told.err.count("[y/N]")) == (1, 2, 1)
    assert told.err.count("held at try 1: read timeout") == 2
    assert desk.run(signals, *argv, typed="y\n").code == 0
    assert listed(desk) == []


def test_resolve_needs_somebody_to_ask(desk: Desk) -> None:
    """Where nobody can be asked, and without --yes, nothing is done."""
    signal = desk.worked(closed("GOLD"), "held")
    told = desk.run(signals, "resolve", signal.id, "--as", "posted", *WHY)
    assert (told.code, "--yes" in told.err, listed(desk)) == (2, True, ["GOLD held"])


@pytest.mark.parametrize(
    "argv",
    [
        ("--as", "posted"),
        WHY,
        ("--as", "maybe", *WHY),
        ("--as", "posted", "--why", " "),
        ("--as", "posted", *WHY, "--who", ""),
    ],
    ids=["no why", "no word", "another word", "empty why", "nobody"],
)
def test_resolve_is_answered_for(desk: Desk, argv: tuple[str, ...]) -> None:
    """Nothing is settled without a word, without a reason, or by nobody."""
    signal = desk.worked(closed("GOLD"), "held")
    assert desk.run(signals, "resolve", signal.id, *argv, "--yes").code == 2
    assert listed(desk) == ["GOLD held"]


@pytest.mark.parametrize("outcome", ["posted", "released", "claimed"])
def test_only_held_is_resolved(desk: Desk, outcome: str) -> None:
    """What is not held is left alone, and how it stands is said."""
    signal = desk.worked(closed("GOLD"), outcome)
    told = desk.run(signals, "resolve", signal.id, "--as", "rejected", *WHY, "--yes")
    assert (told.code, f"not held but {outcome}" in told.err) == (1, True)


def test_late_owner_comes_first(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the delivery itself settles a signal while the person is asked, that stands, and the person is told."""
    signal = desk.worked(closed("GOLD"), "held")
    key = desk.key_of(signal)

    def asked(*_: Any, **__: Any) -> bool:
        desk.signals.ask([desk.signals.rules.posted(key, new_token(), "", "201 Created")])
        return True

    monkeypatch.setattr("tasks.commands.signals.someone_is_there", lambda: True)
    monkeypatch.setattr("click.confirm", asked)
    told = desk.run(signals, "resolve", signal.id, "--as", "rejected", *WHY)
    assert (told.code, "moved on since it was read, to posted" in told.out) == (1, True)
    record = desk.signals.record(key)
    assert record is not None
    assert (record.outcome, record.by) == ("posted", "")


HELD = Record(State.UNKNOWN, held=True)


def test_why_resend_is_refused(desk: Desk) -> None:
    """A signal is not sent once more where its payload is gone or another, where it expired, or beyond the horizon."""
    signal = desk.signal(closed("GOLD"))
    now, oldest = ORIGIN, ORIGIN - 3 * HOUR

    def why(record: Record = HELD, **changes: Any) -> str:
        given = {"signal": signal, "now": now, "oldest": oldest} | changes
        return why_not(record, Resolution.RESEND, **given)

    assert why() == ""
    assert "record is gone" in why(signal=None)
    assert "another payload" in why(Record(State.UNKNOWN, held=True, digest="0123456789abcdef"))
    assert "expired at" in why(now=signal.expires_at)
    assert "older than the horizon" in why(oldest=signal.candle_close)
    assert why_not(HELD, Resolution.POSTED, None, now, oldest) == ""


def test_resend_of_what_is_gone_is_refused(desk: Desk) -> None:
    """What cannot be sent once more is refused before anything is written, and what can be said instead is said."""
    signal = desk.worked(closed("GOLD"), "held")
    desk.candles.delete(desk.candles.key("GOLD", "1h", signal.candle_start))
    told = desk.run(signals, "resolve", signal.id, "--as", "resend", *WHY, "--yes")
    assert (told.code, "say posted or rejected instead" in told.err, listed(desk)) == (1, True, ["GOLD held"])


@pytest.mark.parametrize("command", ["list", "show", "resolve"])
def test_redis_away(desk: Desk, command: str) -> None:
    """While Redis is away each says so in a sentence, with exit code 69."""
    rest = {"list": (), "show": ("sig_12345678",), "resolve": ("sig_12345678", "--as", "posted", *WHY, "--yes")}
    told = desk.run(signals, command, *rest[command], REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert (told.code, told.err.startswith("Error: Redis is away")) == (69, True)


def test_records_of_the_library_are_shown(desk: Desk) -> None:
    """A signal that the library's own users publish, whose key has no timeframe and strategy, is found by its key."""
    cache, key = desk.signals, desk.signals.key("GOLD", ORIGIN)
    cache.ask([cache.rules.claim(key, "t", "d"), cache.rules.doubt(key, "t", "d", "read timeout", hold=True)])
    assert listed(desk) == ["GOLD held"]
    assert desk.run(signals, "show", key, "--json").document["payload"] is None
    assert desk.run(signals, "resolve", key, "--as", "posted", *WHY, "--yes").code == 0


def test_prefix_of_a_deployment(desk: Desk) -> None:
    """Of several deployments on one server each sees and settles its own signals only."""
    desk.env["KEY_PREFIX"] = "blue:"
    desk.line.store.put("blue:dedup:since", "1000", 86_400_000)
    signal = desk.worked(closed("GOLD"), "held")
    assert desk.run(signals, "list", KEY_PREFIX="green:").out.strip() == "none"
    assert desk.run(signals, "show", signal.id, "--json").document["payload"] == signal.fields()
    assert desk.run(signals, "resolve", signal.id, "--as", "posted", *WHY, "--yes").code == 0
    assert listed(desk, "--state", "posted") == ["GOLD posted"]
