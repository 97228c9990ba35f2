"""Log lines: what they look like in either format, that outcomes can be read back, and that no secret is in them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.logs import LogFormat, Redactor, console_line, formatter, json_line, read_outcome, secrets_in
from tasks.settings import Settings

ENVELOPE = {
    "timestamp": "2026-01-01T00:00:00.000Z",
    "level": "info",
    "process": "ForkPoolWorker-1",
    "logger": "candlelatch.outcomes",
    "event": "outcome",
}
FIELDS: dict[str, Any] = {
    "task": "publish_signal",
    "outcome": "held",
    "candle": "2025-01-04T09:00Z–10:00Z",  # noqa: RUF001 as a person reads it
    "reason": 'it said "true" = \\ and\nwent on',
    "signals": ["rsi buy"],
    "attempt": 2,
    "late_s": 0.25,
    "catch_up": True,
    "strategy": "true",
}

Line = Callable[[dict[str, Any]], str]
LINES = pytest.mark.parametrize("line", [json_line, console_line], ids=["json", "console"])


def record(message: str = "%s was here", *args: object, exc_info: Any = None) -> logging.LogRecord:
    return logging.LogRecord("candlelatch.sweep", logging.WARNING, __file__, 1, message, args, exc_info)


@LINES
def test_outcome_is_read_back(line: Line) -> None:
    """What an outcome's line tells can be read from it, with the same types, in either format."""
    assert read_outcome(line(ENVELOPE | FIELDS)) == FIELDS


words = st.from_regex(r"[a-z]\w{0,8}", fullmatch=True).filter(lambda name: name not in ENVELOPE and name != "exception")
values = st.one_of(st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans())


@LINES
@given(fields=st.dictionaries(words, st.one_of(values, st.none(), st.lists(values, max_size=3)), max_size=5))
def test_any_fields_are_read_back(line: Line, fields: dict[str, Any]) -> None:
    """Whatever the fields hold, quotes and line breaks too, an outcome is one line from which they can be read."""
    text = line(ENVELOPE | fields)
    assert "\n" not in text
    assert read_outcome(text) == fields


@LINES
def test_torn_line_tells_no_other_outcome(line: Line) -> None:
    """A line that is cut off somewhere tells nothing, or the fields before the cut; it never tells a wrong value."""
    text = line(ENVELOPE | FIELDS)
    for end in range(len(text)):
        told = read_outcome(text[:end]) or {}
        wrong = {name for name in list(told)[:-1] if told[name] != FIELDS[name]}
        assert wrong == set()


@LINES
@pytest.mark.parametrize("change", [{"event": "swept"}, {"logger": "candlelatch.publish"}])
def test_other_lines_tell_no_outcome(line: Line, change: dict[str, str]) -> None:
    """A line of another event, or of another logger, tells no outcome, even where it quotes one."""
    quoted = {"event": line(ENVELOPE | FIELDS)} | change
    assert read_outcome(line(ENVELOPE | quoted)) is None


def test_console_line_is_for_people() -> None:
    """A console line shows time, level, process and logger first, and quotes only what needs it."""
    shown = console_line(ENVELOPE | {"outcome": "posted", "attempt": 1, "reason": "201 Created"})
    prefix = "2026-01-01T00:00:00.000Z info     ForkPoolWorker-1 candlelatch.outcomes: outcome"
    assert shown == prefix + ' outcome=posted attempt=1 reason="201 Created"'


def test_lines_of_others_come_out_alike() -> None:
    """A record of any library becomes a line of the same form, its arguments filled in, its level and logger named."""
    line = json.loads(formatter(LogFormat.JSON).format(record("%s was here", "GOLD")))
    assert (line["event"], line["level"], line["logger"]) == ("GOLD was here", "warning", "candlelatch.sweep")
    shown = formatter(LogFormat.CONSOLE).format(record("%s was here", "GOLD"))
    assert shown.endswith("candlelatch.sweep: GOLD was here")


@pytest.mark.parametrize("form", LogFormat)
def test_traceback_shows_no_variables(form: LogFormat) -> None:
    """A traceback is told with its lines and its error, and never with the values of variables."""
    hidden = "".join(["whsec", "_value"])
    try:
        int(hidden[:5])
    except ValueError as error:
        shown = formatter(form).format(record("failed", exc_info=(type(error), error, error.__traceback__)))
    assert "ValueError: invalid literal" in shown
    assert "test_traceback_shows_no_variables" in shown
    assert hidden not in shown
    if form is LogFormat.JSON:
        assert "\n" not in shown


SECRETS = {
    "redis_url": ("redis://user:hunter2-redis@host:6379/0", "hunter2-redis"),
    "celery_broker_url": ("amqp://user:hunter2%2Fbroker@host//", "hunter2/broker"),
    "celery_result_backend": ("sentinel://a:1;sentinel://:hunter2-result@b:2", "hunter2-result"),
    "signal_api_secret": ("whsec_AAAAAAAAAAAA whsec_BBBBBBBBBBBB", "whsec_BBBBBBBBBBBB"),
    "signal_api_url": ("https://api.example.com/signals?token=t0ken-value", "t0ken-value"),
    "signal_lookup_url": ("https://user:hunter2-lookup@api.example.com/{id}", "hunter2-lookup"),
}


@pytest.mark.parametrize("form", LogFormat)
@pytest.mark.parametrize("name", SECRETS)
def test_secret_of_any_setting_is_taken_out(form: LogFormat, name: str) -> None:
    """Whoever logs it, the secret in a setting does not come out: not as it is written, and not as it is meant."""
    given_, secret = SECRETS[name]
    settings = Settings(_env_file=None, **{name: given_})  # type: ignore[arg-type]
    shown = formatter(form, Redactor(settings.secret_texts())).format(record("cannot reach %s (%s)", given_, secret))
    assert secret not in shown
    assert given_ not in shown
    assert "***" in shown


def test_secret_within_json_is_taken_out() -> None:
    """A secret with characters that JSON escapes is found in a JSON line too."""
    shown = formatter(LogFormat.JSON, Redactor(['pass"word\\1'])).format(record("it is %s", 'pass"word\\1'))
    assert json.loads(shown)["event"] == "it is ***"


def test_short_secrets_are_left() -> None:
    """A password as short as a word is not looked for: it would be found in words that are none."""
    assert Redactor(["redis"])("source=redis") == "source=redis"


def test_addresses_without_passwords_hold_no_secrets() -> None:
    """An address that needs no password has no secret in it."""
    assert secrets_in("redis://localhost:6379/0") == set()
    assert secrets_in("redis://@localhost") == set()
