"""`celery -A tasks candles show` and `watchlist check`."""

from __future__ import annotations

import pytest

from tasks.commands.candles import candles
from tasks.commands.watchlist import watchlist
from tests.cli import conftest
from tests.cli.conftest import Desk, closed
from tests.pipeline.feeds import bar_at


def test_candle_is_shown_whole(desk: Desk) -> None:
    """A candle is shown with its record, the source's bars up to it, its signals and their records."""
    signal = desk.worked(closed("GOLD"), "held")
    told = desk.run(candles, "show", "gold", "1h", "2025-01-04T09:00:00Z", "--json")
    document = told.document
    assert (document["mark"], document["close"], told.code) == ("held", "2025-01-04T10:00:00Z", 1)
    assert (document["record"]["state"], document["record"]["outcome"]) == ("done", "evaluated")
    (shown,) = document["signals"]
    assert (shown["payload"], shown["mark"], shown["record"]["reason"]) == (signal.fields(), "held", "read timeout")
    assert [bar["start"][11:13] for bar in document["bars"]] == ["07", "08", "09"]
    assert document["bars"][-1]["close"] == bar_at(closed("GOLD").start).close


def test_candle_for_people(desk: Desk) -> None:
    """Each field has its line."""
    desk.worked(closed("GOLD"), "posted")
    told = desk.run(candles, "show", "GOLD", "1h", "last")
    lines = dict(line.split(maxsplit=1) for line in told.out.splitlines() if not line.startswith(("signal", "bar")))
    assert (told.code, lines["mark"].strip(), lines["record.outcome"].strip()) == (0, "posted", "evaluated")
    assert "signal 1 record.outcome" in told.out
    assert told.out.count("\nbar ") == 3


def test_candle_without_a_record(desk: Desk) -> None:
    """A candle that nobody has come to is missing, with exit code 1; its bars are there all the same."""
    told = desk.run(candles, "show", "GOLD", "1h", "last", "--json")
    assert (told.code, told.document["mark"], told.document["record"]) == (1, "missing", None)
    assert len(told.document["bars"]) == 3


def test_source_away(desk: Desk) -> None:
    """Where the source does not answer, the records are shown all the same, and why there are no bars."""
    desk.evaluated(closed("GOLD"))
    (desk.home / "feed" / "GOLD-1h.csv").unlink()
    told = desk.run(candles, "show", "GOLD", "1h", "last", "--json")
    assert (told.code, told.document["mark"]) == (0, "no signal")
    assert "feed" in told.document["bars"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("TIN", "1h", "last"), "GOLD 1h"),
        (("GOLD", "1M", "last"), "minute"),
        (("GOLD", "1h", "yesterday"), "2025-01-01T10:15:00Z"),
        (("GOLD", "1h", "2025-01-04T09:00:00"), "timezone"),
        (("GOLD", "1h", "2025-01-04T09:10:00Z"), "nearest starts 2025-01-04T09:00:00Z"),
    ],
)
def test_wrong_candle(desk: Desk, argv: tuple[str, ...], said: str) -> None:
    """A candle that is none is refused, with what to write instead."""
    told = desk.run(candles, "show", *argv)
    assert (told.code, said in told.err) == (2, True)


def test_watchlist_is_good(desk: Desk) -> None:
    """A watchlist that loads is shown with each next close and exit code 0; nothing is asked of its sources."""
    (desk.home / "feed" / "GOLD-1h.csv").unlink()
    told = desk.run(watchlist, "check", "--json")
    rows = {row["instrument"]: row for row in told.document["watches"]}
    assert (told.code, told.document["good"], set(rows)) == (0, True, {"GOLD", "SILVER", "COPPER"})
    assert (rows["GOLD"]["next_close"], rows["GOLD"]["strategies"]) == ("2025-01-04T11:00:00Z", "buyer, sleeper")


def test_watchlist_online(desk: Desk) -> None:
    """Online every source is asked for its last closed candle, and one that has none makes the exit code 1."""
    assert desk.run(watchlist, "check", "--online").code == 0
    (desk.home / "feed" / "GOLD-1h.csv").unlink()
    told = desk.run(watchlist, "check", "--online", "--json")
    good = {row["instrument"]: row["good"] for row in told.document["watches"]}
    assert (told.code, good) == (1, {"GOLD": False, "SILVER": True, "COPPER": True})
    assert "GOLD" in desk.run(watchlist, "check", "--online").out


def test_watchlist_online_asks_for_a_candle_of_the_market(desk: Desk) -> None:
    """On a weekend a source is asked for the last candle before it."""
    conftest.watchlist(desk.home, [("buyer", "always_buy")], calendar="forex")
    told = desk.run(watchlist, "check", "--online", "--json")
    assert (told.code, "2025-01-03T21:00Z" in told.document["watches"][0]["bar"]) == (0, True)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('source = "feed"', 'source = "fed"', "this file defines feed"),
        ("always_buy", "always_bye", "always_bye"),
        ('"1h"', '"1x"', "1x"),
        ("[[watch]]", "[[watch", "no TOML"),
    ],
    ids=["source", "strategy", "timeframe", "syntax"],
)
def test_watchlist_is_wrong(desk: Desk, old: str, new: str, said: str) -> None:
    """A watchlist that does not load is refused with its mistake, and exit code 78; another file may be named."""
    text = (desk.home / "pipeline.toml").read_text()
    (desk.home / "new.toml").write_text(text.replace(old, new))
    told = desk.run(watchlist, "check", "new.toml")
    assert (told.code, "new.toml" in told.err, said in told.err) == (78, True, True)
    assert desk.run(watchlist, "check").code == 0
