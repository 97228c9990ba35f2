"""Watchlists that cannot be: the error names the file, the table, the key and the value, and says what to write."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dedup.errors import InvalidInput, InvalidInstrument, InvalidSetting, InvalidTimeframe
from tasks.bars import Bar
from tasks.settings import load_settings
from tasks.watchlist import Watchlist, load_watchlist, parse_watchlist
from tests.settings.conftest import WATCHLIST, Environment

TOKEN = "token-hunter2"


def idle(bars: Sequence[Bar], depth: int = 1) -> None:
    """A strategy that a watchlist may name."""


def load(text: str, path: Path) -> Watchlist:
    """The watchlist of a text."""
    path.write_text(text)
    return load_watchlist(path, lambda: datetime.now(UTC))


def changed(old: str, new: str) -> str:
    """The watchlist that loads, with one thing changed."""
    assert old in WATCHLIST
    return WATCHLIST.replace(old, new)


def entry(**keys: str) -> str:
    """The watchlist with a second entry, like the first but for these keys."""
    table = {"instruments": '["SILVER"]', "timeframe": '"15m"', "source": '"feed"', "strategy": '"ema_cross"'}
    return WATCHLIST + "\n[[watch]]\n" + "".join(f"{key} = {value}\n" for key, value in {**table, **keys}.items())


REFUSED_SETTINGS = [
    ("", "WATCHLIST", "{path}", "watches nothing: add a [[watch]] table"),
    ('[sources.feed]\nkind = "replay"\n', "WATCHLIST", "{path}", "watches nothing: add a [[watch]] table"),
    ("[[watch]\n", "WATCHLIST", "{path}", "is no TOML: "),
    (changed("instruments", "instrument"), "{path}: watch 1: instrument", "a list", "did you mean instruments?"),
    (changed("timeframe =", "time_frame ="), "{path}: watch 1: time_frame", "15m", "did you mean timeframe?"),
    (entry(whatever="1"), "{path}: watch 2: whatever", "1", "there are instruments, timeframe, source, strategy"),
    (changed("[[watch]]", "[[watches]]"), "{path}: watches", "a list", "did you mean watch?"),
    (changed("[[watch]]", "[watch]"), "{path}: watch", "a dict", "write [[watch]], with two brackets on either side"),
    (changed('timeframe = "15m"\n', ""), "{path}: watch 1: timeframe", "missing", "this key is needed"),
    (entry(timeframe="15"), "{path}: watch 2: timeframe", "15", "must be a valid string"),
    (entry(instruments="[]"), "{path}: watch 2: instruments", "a list", "should have at least 1 item"),
    (entry(instruments='["SILVER", 7]'), "{path}: watch 2: instruments", "7", "must be a valid string"),
    (entry(instruments='"SILVER"'), "{path}: watch 2: instruments", "SILVER", "must be a valid list"),
    (changed("[sources.feed]", "[sources]\nfeed = 1\n[other]"), "{path}: other", "a dict", "there are sources, watch"),
    (entry(source='"broker"'), "{path}: watch 2: source", "broker", "this file defines feed"),
    (entry(strategy='"moving_average"'), "{path}: watch 2: strategy", "moving_average", "ema_cross, rsi, or package"),
    (entry(strategy='"ema cross"'), "{path}: watch 2: strategy", "ema cross", "ema_cross, rsi, or package"),
    (entry(strategy='"nowhere.mod:f"'), "{path}: watch 2: strategy", "nowhere.mod:f", "there is no module nowhere"),
    (entry(params="{ fats = 5 }"), "{path}: watch 2: strategy ema_cross: fats", "5", "is no option; there are"),
    (entry(params="{ fast = 30 }"), "{path}: watch 2: ema_cross.fast", "30", "must be less than slow, which is 26"),
    (entry(params="{ fast = 0 }"), "{path}: watch 2: ema_cross.fast", "0", "write a whole number, 2 or more"),
    (entry(alignment='"paris"'), "{path}: watch 2: alignment", "paris", "offered are utc, ny17"),
    (entry(calendar='"NYSE Arca"'), "{path}: watch 2: calendar", "NYSE Arca", "offered are 24/7, forex"),
    (changed('kind = "csv"\n', ""), "{path}: sources.feed: kind", "missing", "name the kind of source, as in kind ="),
    (changed('"csv"', '"ftp"'), "{path}: sources.feed: source", "ftp", "write one of replay, csv, http, or package"),
    (changed('path = "', 'pth = "'), "{path}: sources.feed: source csv: pth", None, "is no option; there are path"),
    (changed('kind = "csv"', 'kind = "csv"\nfinality = "soon"'), "{path}: sources.feed: csv.finality", "soon", "flag"),
    (entry(instruments='["GOLD"]'), "{path}: watch 2: strategy", "ema_cross", "GOLD 15m has this entry already"),
    (
        entry(instruments='["SILVER", " silver "]'),
        "{path}: watch 2: strategy",
        "ema_cross",
        "SILVER 15m has this entry",
    ),
    (entry(instruments='["GOLD"]', alignment='"ny17"'), "{path}: watch 2: alignment", "ny17", "a candle has one"),
    (entry(instruments='["GOLD"]', calendar='"forex"'), "{path}: watch 2: calendar", "forex", "a candle has one"),
]


@pytest.mark.parametrize(
    ("text", "what", "value", "remedy"), REFUSED_SETTINGS, ids=[row[1].format(path="file") for row in REFUSED_SETTINGS]
)
def test_watchlist_that_cannot_be_is_refused(
    tmp_path: Path, text: str, what: str, value: str | None, remedy: str
) -> None:
    """A mistake in the watchlist is an InvalidSetting that names where it stands, its value and the remedy."""
    path = tmp_path / "pipeline.toml"
    with pytest.raises(InvalidSetting) as refused:
        load(text, path)
    error = refused.value
    assert error.what == what.format(path=path)
    assert value is None or error.value == value.format(path=path)
    assert remedy in error.remedy
    assert str(error) == f"{error.what} = {error.value!r}: {error.remedy}"


@pytest.mark.parametrize(
    ("instrument", "remedy"),
    [
        (r"GO:LD", "which could forge a key"),
        (r"GOLD*", "which could forge a key"),
        (r"GO\nLD", "which could forge a key"),
        (r"GO\u0000LD", "which could forge a key"),
        (r"GO LD", "which could forge a key"),
        (r"{GOLD}", "which could forge a key"),
        (r" ", "give a name such as GOLD or EUR_USD"),
        (r"G" * 65, "use at most 64 characters"),
    ],
)
def test_instrument_that_could_forge_a_key_is_refused(tmp_path: Path, instrument: str, remedy: str) -> None:
    """An instrument that could forge a key is refused where the watchlist is read, and named with its entry."""
    path = tmp_path / "pipeline.toml"
    with pytest.raises(InvalidInstrument) as refused:
        load(entry(instruments=f'["SILVER", "{instrument}"]'), path)
    assert refused.value.what == f"{path}: watch 2: instrument"
    assert refused.value.value == tomllib.loads(f'name = "{instrument}"')["name"]
    assert remedy in refused.value.remedy


@pytest.mark.parametrize(
    ("timeframe", "remedy"),
    [
        ("1M", "months are not offered; a minute is written with a small m, as in 1m"),
        ("15", "as in 30s, 15m, 4h, 1d, 1w"),
        ("0m", "as in 30s, 15m, 4h, 1d, 1w"),
        ("-1m", "as in 30s, 15m, 4h, 1d, 1w"),
        ("1.5h", "as in 30s, 15m, 4h, 1d, 1w"),
        ("15m ", "as in 30s, 15m, 4h, 1d, 1w"),
        ("quarter", "as in 30s, 15m, 4h, 1d, 1w"),
    ],
)
def test_unknown_timeframe_is_refused(tmp_path: Path, timeframe: str, remedy: str) -> None:
    """A timeframe that is none is refused where the watchlist is read; `1M` is told from `1m`."""
    path = tmp_path / "pipeline.toml"
    with pytest.raises(InvalidTimeframe) as refused:
        load(entry(timeframe=f'"{timeframe}"'), path)
    assert (refused.value.what, refused.value.value) == (f"{path}: watch 2: timeframe", timeframe)
    assert remedy in refused.value.remedy


@pytest.mark.parametrize("name", ["two words", "a:b", "x" * 65, "-dash"])
def test_label_that_could_forge_a_key_is_refused(tmp_path: Path, name: str) -> None:
    """An entry's name becomes part of a key, so it is held to letters, digits and a few signs."""
    path = tmp_path / "pipeline.toml"
    with pytest.raises(InvalidInput) as refused:
        load(entry(name=f'"{name}"'), path)
    assert (refused.value.what, refused.value.value) == (f"{path}: watch 2: name", name)
    assert "use up to 64 letters, digits, _ . or -" in refused.value.remedy


def test_same_strategy_twice_needs_a_name(tmp_path: Path) -> None:
    """Two entries for the same candles are welcome once `name` tells them apart."""
    found = load(entry(instruments='["GOLD"]', name='"second"'), tmp_path / "pipeline.toml").find("gold", "15m")
    assert found is not None
    assert [named.label for named in found.strategies] == ["ema_cross", "second"]


@pytest.mark.parametrize(
    "table",
    [
        f'url = "https://api.example/{{instrument}}?key={TOKEN}"\nheaders = "Bearer {TOKEN}"',
        f'url = "ftp://{TOKEN}.example/{{instrument}}/{{timeframe}}"',
        f'url = "https://user:{TOKEN}@api.example/{{instrument}}/{{timeframe}}"',
        f'url = "https://api.example/{TOKEN}/{{instrument"',
        f'url = "https://api.example/{{instrument}}/{{timeframe}}"\nheaders = {{ Authorization = ["{TOKEN}"] }}',
    ],
)
def test_refused_source_shows_no_secret(tmp_path: Path, table: str) -> None:
    """A source whose options are refused is named; addresses and headers, which may hold keys, are not shown."""
    path = tmp_path / "pipeline.toml"
    with pytest.raises(InvalidSetting) as refused:
        load(changed('kind = "csv"\npath = "/nowhere/{instrument}-{timeframe}.csv"', f'kind = "http"\n{table}'), path)
    assert refused.value.what.startswith(f"{path}: sources.feed: http.")
    assert TOKEN not in str(refused.value)


def test_source_that_is_no_table_is_not_shown(tmp_path: Path) -> None:
    """What stands where a source's table should be may be an address with a key in it: only its type is shown."""
    path = tmp_path / "pipeline.toml"
    with pytest.raises(InvalidSetting) as refused:
        parse_watchlist({"sources": {"feed": TOKEN}, "watch": []}, str(path), lambda: datetime.now(UTC))
    assert (refused.value.what, refused.value.value) == (f"{path}: sources.feed", "a str")
    assert "write [sources.NAME], and its options below" in refused.value.remedy


def test_watchlist_that_is_not_there(environment: Environment) -> None:
    """A missing watchlist is refused by the setting that points at it, with where to find an example."""
    environment(WATCHLIST="nowhere/pipeline.toml")
    with pytest.raises(InvalidSetting) as refused:
        load_watchlist(load_settings().watchlist, lambda: datetime.now(UTC))
    assert (refused.value.what, refused.value.value) == ("WATCHLIST", "nowhere/pipeline.toml")
    assert "No such file or directory" in refused.value.remedy
    assert "tasks/pipeline.example.toml" in refused.value.remedy


def test_watchlist_that_is_no_text(tmp_path: Path) -> None:
    """A watchlist in another encoding than UTF-8 is refused with what to do about it."""
    path = tmp_path / "pipeline.toml"
    path.write_bytes('# café\n[[watch]]\ninstruments = ["GOLD"]\n'.encode("latin-1"))
    with pytest.raises(InvalidSetting, match=r"^WATCHLIST = '.*pipeline\.toml': is not UTF-8; save it as UTF-8"):
        load_watchlist(path, lambda: datetime.now(UTC))


def test_strategy_of_one_s_own_is_told_what_it_takes(tmp_path: Path) -> None:
    """A parameter that a function does not take is refused with the entry and with those that it takes."""
    path = tmp_path / "pipeline.toml"
    text = entry(strategy=f'"{__name__}:idle"', params="{ deep = 3 }")
    with pytest.raises(InvalidSetting, match=rf"watch 2: strategy {__name__}:idle: deep = '3': .*there are depth"):
        load(text, path)
    assert load(text.replace("deep", "depth"), path).find("SILVER", "15m") is not None
