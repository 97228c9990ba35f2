"""The names of keys: their exact form, and what may not be in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.errors import InvalidCandle, InvalidInput, InvalidInstrument, InvalidTimeframe
from dedup.keys import candle_key, check_label, check_prefix, normalize_instrument, signal_key, since_key
from dedup.timeframe import Timeframe

START = datetime(2025, 1, 1, 10, 15, tzinfo=UTC)

FORGING = {
    "colon": "EUR:USD",
    "star": "GOLD*",
    "question mark": "GOLD?",
    "opening bracket": "GOLD[A",
    "closing bracket": "GOLD]",
    "opening brace": "{GOLD",
    "closing brace": "GOLD}",
    "backslash": "GOLD\\",
    "double quote": 'GOLD"',
    "single quote": "GOLD'",
    "backtick": "GOLD`",
    "inner blank": "GOLD SPOT",
    "newline": "GOLD\n",
    "inner newline": "GO\nLD",
    "tab": "\tGOLD",
    "null": "GOLD\x00",
    "escape": "GOLD\x1b[31m",
    "no-break space": "GOLD\u00a0SPOT",
    "line separator": "GOLD\u2028",
    "zero-width space": "GO\u200bLD",
    "right-to-left override": "GO\u202eLD",
    "lone surrogate": "GOLD\ud800",
}


def test_candle_key_has_the_seeds_form() -> None:
    """A candle's key is `candle:{instrument}:{timeframe}:{start}`, UTC without offset."""
    assert candle_key("GOLD", "15m", START) == "candle:GOLD:15m:2025-01-01T10:15:00"
    assert candle_key("GOLD", Timeframe.parse("15m"), START) == "candle:GOLD:15m:2025-01-01T10:15:00"


def test_signal_key_has_the_seeds_form() -> None:
    """A signal's key is `signal:publish:{instrument}:{start}`, with timeframe and strategy behind it where given."""
    assert signal_key("GOLD", START) == "signal:publish:GOLD:2025-01-01T10:15:00"
    assert signal_key("GOLD", START, "15m", "ema_cross") == "signal:publish:GOLD:2025-01-01T10:15:00:15m:ema_cross"


def test_prefix_separates_deployments() -> None:
    """A prefix stands before every key as it is."""
    assert candle_key("GOLD", "15m", START, prefix="prod:") == "prod:candle:GOLD:15m:2025-01-01T10:15:00"
    assert signal_key("GOLD", START, prefix="prod:") == "prod:signal:publish:GOLD:2025-01-01T10:15:00"
    assert since_key("prod:") == "prod:dedup:since"
    assert since_key() == "dedup:since"


@pytest.mark.parametrize(
    "start",
    [
        datetime(2025, 1, 1, 5, 15, tzinfo=ZoneInfo("America/New_York")),
        datetime(2025, 1, 1, 15, 45, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    ],
)
def test_start_is_named_in_utc(start: datetime) -> None:
    """The same moment has the same key, in whatever zone it was given."""
    assert candle_key("GOLD", "15m", start) == candle_key("GOLD", "15m", START)


def test_naive_start_is_refused() -> None:
    """A start without a zone is an error: guessing it would move the candle by hours."""
    with pytest.raises(InvalidCandle, match="timezone"):
        candle_key("GOLD", "15m", START.replace(tzinfo=None))
    with pytest.raises(InvalidCandle, match="timezone"):
        signal_key("GOLD", START.replace(tzinfo=None))


def test_unknown_timeframe_is_refused() -> None:
    """A timeframe that could not be read is no part of a key."""
    with pytest.raises(InvalidTimeframe):
        candle_key("GOLD", "15", START)
    with pytest.raises(InvalidTimeframe):
        signal_key("GOLD", START, timeframe="1M")


@pytest.mark.parametrize(
    ("given_as", "name"),
    [("gold", "GOLD"), ("  Gold ", "GOLD"), ("eur_usd", "EUR_USD"), ("BTC/USDT", "BTC/USDT"), ("brk.b", "BRK.B")],
)
def test_instrument_is_normalised(given_as: str, name: str) -> None:
    """Blanks around an instrument and its case do not make another key."""
    assert normalize_instrument(given_as) == name
    assert candle_key(given_as, "1h", START) == candle_key(name, "1h", START)


@pytest.mark.parametrize("instrument", FORGING.values(), ids=FORGING)
def test_forging_characters_are_refused(instrument: str) -> None:
    """An instrument that could forge a key, match as a pattern or hide in a log is refused by name."""
    with pytest.raises(InvalidInstrument) as caught:
        candle_key(instrument, "15m", START)
    assert caught.value.what == "instrument"
    with pytest.raises(InvalidInstrument):
        signal_key(instrument, START)


@pytest.mark.parametrize("instrument", ["", "   ", "X" * 65, "ß" * 33])
def test_empty_and_long_instruments_are_refused(instrument: str) -> None:
    """An instrument has 1 to 64 characters once it is normalised."""
    with pytest.raises(InvalidInstrument):
        normalize_instrument(instrument)


@pytest.mark.parametrize("instrument", [None, 7, b"GOLD", ["GOLD"]])
def test_instrument_is_a_text(instrument: object) -> None:
    """Anything but a text is refused with a remedy, not with a trace of string methods."""
    with pytest.raises(InvalidInstrument, match="give a string"):
        normalize_instrument(instrument)  # type: ignore[arg-type]


@given(st.text(max_size=70))
def test_accepted_instruments_are_safe_in_a_key(text: str) -> None:
    """Whatever is accepted is printable, has no separator or pattern in it, and is its own normal form."""
    try:
        name = normalize_instrument(text)
    except InvalidInstrument:
        return
    assert name.isprintable()
    assert not set(name) & set(":*?[]{}\\\"'` ")
    assert normalize_instrument(name) == name


NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=6).map(str.upper)
TIMEFRAMES = st.sampled_from(["1m", "15m", "1h", "1d"])
STARTS = st.datetimes(datetime(2024, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC))
PARTS = st.tuples(NAMES, STARTS, TIMEFRAMES, NAMES)


@given(PARTS, PARTS)
def test_different_work_has_different_keys(one: tuple[str, datetime, str, str], other: tuple[str, datetime, str, str]):
    """No two pieces of work share a key, whether it is a candle's or a signal's."""
    keys = [signal_key(name, start, tf, strategy) for name, start, tf, strategy in (one, other)]
    keys += [candle_key(name, tf, start) for name, start, tf, _ in (one, other)]
    assert (keys[0] == keys[1]) is (one == other)
    assert (keys[2] == keys[3]) is (one[:3] == other[:3])
    assert keys[0] not in keys[2:]


@pytest.mark.parametrize("label", ["ema_cross", "rsi-14", "v1.2", "A", "x" * 64])
def test_labels_that_fit(label: str) -> None:
    """A strategy's label is made of letters, digits, `_`, `.` and `-`."""
    assert check_label("strategy", label) == label


@pytest.mark.parametrize("label", ["", "a:b", "a b", "-a", "ä", "a*", "x" * 65, "a\n", None, 7])
def test_labels_that_do_not_fit(label: object) -> None:
    """Any other label is refused; the error names the field and the value."""
    with pytest.raises(InvalidInput) as caught:
        signal_key("GOLD", START, "15m", label if label is not None else 0)  # type: ignore[arg-type]
    assert caught.value.what == "strategy"


@pytest.mark.parametrize("prefix", ["", "prod:", "eu.prod-1:", "x" * 64])
def test_prefixes_that_fit(prefix: str) -> None:
    """A prefix is made of letters, digits, `_`, `.`, `-` and `:`, and may be empty."""
    assert check_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["a b", "a*", "{a}", "é", "x" * 65, "a\n", None])
def test_prefixes_that_do_not_fit(prefix: object) -> None:
    """Any other prefix is refused; the error names the setting."""
    with pytest.raises(InvalidInput, match="KEY_PREFIX"):
        check_prefix(prefix)  # type: ignore[arg-type]
