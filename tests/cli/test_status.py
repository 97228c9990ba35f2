"""`celery -A tasks status`: every candle's mark, the picture, and what is said beside it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dedup.ops import Peeked
from dedup.records import FOREIGN, Record, State
from tasks.commands.status import status
from tasks.coverage import Around, Mark, mark_of
from tasks.runtime import wall_now_ms
from tests.cli.conftest import Desk, closed, watchlist
from tests.engines import free_port

NOW_MS = 1_750_000_000_000
GRACE_MS = 50_000


def mark(record: Record | None, **around: Any) -> Mark:
    given = {"in_horizon": True, "young": False, "market_open": True, "watched": True, "grace_ms": GRACE_MS}
    return mark_of(Peeked(record, NOW_MS, "redis"), (), Around(**given | around))[0]


def record(state: State, left_ms: int = 0, **fields: Any) -> Record:
    return Record(state, until_ms=NOW_MS + left_ms, **fields)


@pytest.mark.parametrize(
    ("around", "expected"),
    [
        ({}, Mark.MISSING),
        ({"young": True}, Mark.WORKING),
        ({"in_horizon": False}, Mark.NOT_KEPT),
        ({"market_open": False}, Mark.MARKET_CLOSED),
        ({"market_open": False, "in_horizon": False}, Mark.MARKET_CLOSED),
        ({"watched": False}, Mark.UNWATCHED),
    ],
)
def test_candle_without_a_record(around: dict[str, bool], expected: Mark) -> None:
    """A candle without a record is missing only where somebody should have come to it by now."""
    assert mark(None, **around) is expected


@pytest.mark.parametrize(
    ("found", "around", "expected"),
    [
        (record(State.CLAIMED, 1000), {}, Mark.WORKING),
        (record(State.CLAIMED, -1000), {}, Mark.WORKING),
        (record(State.CLAIMED, -GRACE_MS - 1), {}, Mark.MISSING),
        (record(State.RELEASED, 1000, reason="the bar is not final"), {}, Mark.WORKING),
        (record(State.RELEASED, 1000, reason="missing: no bar"), {}, Mark.MISSING),
        (record(State.RELEASED, -GRACE_MS - 1), {}, Mark.MISSING),
        (record(State.RELEASED, -1000), {"in_horizon": False}, Mark.MISSING),
        (record(State.DONE, outcome="evaluated"), {}, Mark.NO_SIGNAL),
        (record(State.DONE, outcome="evaluated"), {"watched": False}, Mark.NO_SIGNAL),
        (record(State.DONE, outcome="too_few_bars"), {}, Mark.TOO_FEW),
        (record(State.DONE, outcome="closed_market"), {}, Mark.MARKET_CLOSED),
        (record(State.DONE, outcome="missing"), {}, Mark.MISSING),
        (record(State.DONE, outcome="failed"), {}, Mark.FAILED),
        (Record(State.DONE, attempt=0, outcome=FOREIGN, value="processed"), {}, Mark.NO_SIGNAL),
    ],
)
def test_candle_with_a_record(found: Record, around: dict[str, bool], expected: Mark) -> None:
    """A candle's mark is its record's state, and what is overdue is missing: nobody is at it."""
    assert mark(found, **around) is expected


def cells(desk: Desk, instrument: str, *argv: str, **changes: str) -> list[dict[str, Any]]:
    document = desk.run(status, "--json", *argv, **changes).document
    found: list[dict[str, Any]] = next(row for row in document["rows"] if row["instrument"] == instrument)["candles"]
    return found


@pytest.mark.parametrize("outcome", ["posted", "held", "expired", "rejected"])
def test_signal_marks_its_candle(desk: Desk, outcome: str) -> None:
    """A candle with a signal bears the signal's outcome."""
    signal = desk.worked(closed("GOLD"), outcome)
    (cell,) = cells(desk, "GOLD", "--last", "1")
    assert (cell["mark"], cell["start"]) == (outcome, "2025-01-04T09:00:00Z")
    assert cell["signals"] == [{"id": signal.id, "strategy": "buyer", "mark": outcome}]


@pytest.mark.parametrize("outcome", ["claimed", "released", ""])
def test_signal_on_its_way(desk: Desk, outcome: str) -> None:
    """A signal that is claimed, to be tried again, or not come to yet, is being worked."""
    signal = desk.signal(closed("GOLD"))
    desk.evaluated(closed("GOLD"), signal)
    if outcome:
        desk.publish(signal, outcome)
    assert cells(desk, "GOLD", "--last", "1")[0]["mark"] == "working"


def test_gravest_signal_marks_the_candle(desk: Desk) -> None:
    """Of several signals of a candle the gravest one shows."""
    posted, held = desk.signal(closed("GOLD")), desk.signal(closed("GOLD"), "sleeper")
    desk.evaluated(closed("GOLD"), posted, held)
    desk.publish(posted, "posted")
    desk.publish(held, "held")
    (cell,) = cells(desk, "GOLD", "--last", "1")
    assert (cell["mark"], [one["mark"] for one in cell["signals"]]) == ("held", ["posted", "held"])


def test_conflict(desk: Desk) -> None:
    """A signal whose key is taken by another payload shows as a conflict."""
    desk.evaluated(closed("GOLD"), desk.signal(closed("GOLD"), price="99"))
    desk.publish(desk.signal(closed("GOLD")), "posted")
    assert cells(desk, "GOLD", "--last", "1")[0]["mark"] == "conflict"


def test_market_closed(desk: Desk) -> None:
    """Where the market did not trade nothing is missing."""
    watchlist(desk.home, [("buyer", "always_buy")], calendar="forex")
    assert {cell["mark"] for cell in cells(desk, "GOLD", "--last", "3")} == {"market closed"}


def test_picture(desk: Desk) -> None:
    """The picture has a row for each instrument and a glyph for each candle, oldest first, with a legend."""
    desk.worked(closed("GOLD"), "posted")
    desk.evaluated(closed("GOLD", 1))
    desk.worked(closed("SILVER", 1), "held")
    told = desk.run(status, "--last", "6")
    rows = {line.split()[0]: line.split()[1] for line in told.out.splitlines() if line[:4] in ("GOLD", "SILV", "COPP")}
    assert rows == {"GOLD": "~~??·●", "SILVER": "~~??H?", "COPPER": "~~????"}
    for legend in ("● posted", "· no signal", "H held", "? missing", "~ not kept", "1 held: celery -A tasks signals"):
        assert legend in told.out
    assert "waiting: control 0, candles 0, publish 0" in told.out
    assert "1 held, 3 missing" in told.out
    assert told.code == 1


def test_nothing_to_look_at(desk: Desk) -> None:
    """Where every candle is dealt with the exit code is 0."""
    for instrument in ("GOLD", "SILVER", "COPPER"):
        desk.evaluated(closed(instrument))
    told = desk.run(status, "--last", "1")
    assert (told.code, "nothing held" in told.out) == (0, True)


def test_held_of_any_age_is_counted(desk: Desk) -> None:
    """A signal that is held counts, however long ago its candle closed."""
    desk.publish(desk.signal(closed("GOLD", 200)), "held")
    told = desk.run(status, "--json", "--last", "1", "--instrument", "gold")
    assert (told.document["held"], told.document["found"], told.code) == (1, True, 1)


def test_chosen_rows(desk: Desk) -> None:
    """Instruments and a timeframe choose the rows, and a name that is not watched is refused with those that are."""
    told = desk.run(status, "--json", "--instrument", "silver", "--timeframe", "1h")
    assert [row["instrument"] for row in told.document["rows"]] == ["SILVER"]
    refused = desk.run(status, "--instrument", "TIN")
    assert (refused.code, "COPPER, GOLD, SILVER" in refused.err) == (2, True)
    assert desk.run(status, "--timeframe", "1M").code == 2


def test_queues_are_counted(desk: Desk) -> None:
    """What waits in the queues is counted."""
    from redis import Redis

    with Redis.from_url(desk.env["REDIS_URL"]) as client:
        client.rpush("candles", "a", "b")
    assert desk.run(status, "--json", "--last", "1").document["queues"]["candles"] == 2


def test_redis_away(desk: Desk) -> None:
    """While Redis is away a sentence says so, without a trace, and the exit code is 69."""
    told = desk.run(status, REDIS_URL=f"redis://:sesame-open@127.0.0.1:{free_port()}/0")
    assert (told.code, told.out, len(told.err.splitlines())) == (69, "", 1)
    assert told.err.startswith("Error: Redis is away")


def test_broker_away(desk: Desk) -> None:
    """While the broker is away the records are shown all the same, and that it is."""
    told = desk.run(status, "--last", "1", CELERY_BROKER_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert "broker: OperationalError" in told.out
    assert "GOLD" in told.out


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"WATCHLIST": "nowhere.toml"}, "WATCHLIST"),
        ({"HORIZON": "99999999"}, "HORIZON"),
        ({"REDIS_ENABLED": "false"}, "REDIS_ENABLED"),
    ],
)
def test_settings_wrong(desk: Desk, changes: dict[str, str], named: str) -> None:
    """Settings or a watchlist that are wrong are named, and the exit code is 78."""
    told = desk.run(status, **changes)
    assert (told.code, told.err.startswith(f"Error: {named}")) == (78, True)


def test_clock_moves_on(desk: Desk) -> None:
    """What has just closed has time to be worked before it is missing."""
    just = desk.env["MARKET_CLOCK"].replace("2025-01-04T10:00:00Z", "2025-01-04T09:58:01Z")
    assert cells(desk, "GOLD", "--last", "1", MARKET_CLOCK=just)[0]["mark"] == "working"


def test_sweep_is_shown(desk: Desk) -> None:
    """It is shown how long ago a sweep went through, and that none did."""
    assert "no sweep for a day" in desk.run(status, "--last", "1").out
    assert desk.run(status, "--last", "1", "--json").document["swept_s"] is None
    desk.line.store.put("dedup:swept", str(wall_now_ms() - 7_000), 60_000)
    assert 7 <= desk.run(status, "--last", "1", "--json").document["swept_s"] < 120
    assert re.search(r"swept \d+ s ago", desk.run(status, "--last", "1").out)
