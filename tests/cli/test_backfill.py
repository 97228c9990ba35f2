"""`celery -A tasks backfill`: which candles of a span are evaluated, and why the others are left alone."""

from __future__ import annotations

from typing import Any

import pytest

from dedup.ops import Peeked
from dedup.records import FOREIGN, Record, State
from tasks.backfill import Situation, Verdict, verdict_of
from tasks.commands.backfill import backfill
from tests.cli.conftest import Desk, closed
from tests.engines import free_port

NOW_MS = 1_750_000_000_000


def verdict(record: Record | None, **changes: bool) -> Verdict:
    given = {"closed": True, "in_horizon": True, "watched": True, "market_open": True, "force": False}
    return verdict_of(Peeked(record, NOW_MS, "redis"), Situation(**given | changes))[0]


def record(state: State, left_ms: int = 0, **fields: Any) -> Record:
    return Record(state, until_ms=NOW_MS + left_ms, **fields)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Verdict.EVALUATE),
        ({"closed": False}, Verdict.NOT_CLOSED),
        ({"in_horizon": False}, Verdict.TOO_OLD),
        ({"in_horizon": False, "force": True}, Verdict.TOO_OLD),
        ({"watched": False}, Verdict.UNWATCHED),
        ({"market_open": False}, Verdict.MARKET_CLOSED),
    ],
)
def test_candle_without_a_record(changes: dict[str, bool], expected: Verdict) -> None:
    """What has no record is evaluated, but for what is not closed, not watched, no market's, or older than the horizon,
    however hard one asks."""
    assert verdict(None, **changes) is expected


@pytest.mark.parametrize("outcome", ["evaluated", "closed_market"])
@pytest.mark.parametrize("force", [False, True])
def test_done_stays_done(outcome: str, force: bool) -> None:
    """What was worked is not worked again, with or without force."""
    assert verdict(record(State.DONE, outcome=outcome), force=force) is Verdict.DONE


@pytest.mark.parametrize("outcome", ["failed", "missing", "too_few_bars"])
def test_force_redoes_what_came_to_nothing(outcome: str) -> None:
    """What failed, had no bar or too few is tried again with force only."""
    found = record(State.DONE, outcome=outcome)
    assert verdict(found) is Verdict.DONE
    assert verdict(found, force=True) is Verdict.REDO
    assert verdict(found, force=True, in_horizon=False) is Verdict.TOO_OLD


@pytest.mark.parametrize(
    ("found", "force", "expected"),
    [
        (record(State.CLAIMED, 1000), False, Verdict.WORKING),
        (record(State.CLAIMED, 1000), True, Verdict.WORKING),
        (record(State.CLAIMED, -1), False, Verdict.EVALUATE),
        (record(State.RELEASED, 1000), False, Verdict.WORKING),
        (record(State.RELEASED, 1000), True, Verdict.EVALUATE),
        (record(State.RELEASED, 1000, reason="missing: no bar yet"), False, Verdict.EVALUATE),
        (record(State.RELEASED, -1), False, Verdict.EVALUATE),
        (Record(State.DONE, attempt=0, outcome=FOREIGN), True, Verdict.DONE),
    ],
)
def test_candle_on_its_way(found: Record, force: bool, expected: Verdict) -> None:
    """What a worker is at is left to it; what nobody is at is evaluated; another program's word stands."""
    assert verdict(found, force=force) is expected


def test_dry_run_only_says(desk: Desk) -> None:
    """A dry run says which candles would be enqueued, and enqueues none; older ones are refused, with exit code 1."""
    desk.evaluated(closed("GOLD"))
    desk.evaluated(closed("SILVER"), outcome="failed", reason="ZeroDivisionError")
    told = desk.run(backfill, "--from", "6h", "--dry-run", "--json")
    document = told.document
    assert (told.code, document["dry_run"], document["outcomes"]) == (1, True, [])
    assert document["counts"] == {"evaluate": 10, "done": 2, "older than the horizon": 6}
    assert [one["instrument"] for one in document["candles"]][:3] == ["COPPER", "GOLD", "SILVER"]
    with_force = desk.run(backfill, "--from", "6h", "--dry-run", "--json", "--force").document
    assert with_force["counts"]["redo"] == 1
    record = desk.candles.record(desk.candles.key("SILVER", "1h", closed("SILVER").start))
    assert record is not None
    assert record.outcome == "failed"


def test_dry_run_for_people(desk: Desk) -> None:
    """Each candle that would be enqueued has a line, and what is left alone is counted."""
    desk.evaluated(closed("GOLD"))
    told = desk.run(backfill, "--from", "2025-01-04T08:30:00Z", "--to", "now", "--instrument", "gold", "--dry-run")
    assert told.code == 0
    assert told.out.splitlines() == [
        "1 candle would be enqueued",
        "  GOLD 1h 2025-01-04T08:00Z–09:00Z  evaluate: no record",  # noqa: RUF001
        "1 left alone: done",
    ]


def test_beyond_the_horizon(desk: Desk) -> None:
    """A span that lies beyond the horizon is refused, with the reason and the setting."""
    told = desk.run(backfill, "--from", "2025-01-03T00:00:00Z", "--to", "2025-01-04T00:00:00Z", "--dry-run")
    assert (told.code, told.out) == (1, "")
    for part in ("older than HORIZON = 14400 s", "nobody can know any more", "Raise HORIZON"):
        assert part in told.err


def test_not_watched(desk: Desk) -> None:
    """What is not watched is left alone, and said to be."""
    told = desk.run(backfill, "--from", "2h", "--dry-run", "--json", WATCH_FROM="2025-01-04T09:30:00Z")
    assert told.document["counts"] == {"not watched": 3, "evaluate": 3}


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("--from", "yesterday"),
        ("--from", "2025-01-04T09:00:00"),
        ("--from", "1h", "--to", "2h"),
        ("--from", "1h", "--instrument", "TIN"),
        ("--from", "1h", "--timeframe", "15m"),
    ],
    ids=["no from", "no moment", "no zone", "backwards", "instrument", "timeframe"],
)
def test_wrong_usage(desk: Desk, argv: tuple[str, ...]) -> None:
    """A span or a name that is none is refused with exit code 2."""
    assert desk.run(backfill, *argv, "--dry-run").code == 2


def test_redis_away(desk: Desk) -> None:
    """While Redis is away nothing can be known, and nothing is enqueued."""
    told = desk.run(backfill, "--from", "1h", "--dry-run", REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert (told.code, told.err.startswith("Error: Redis is away")) == (69, True)
