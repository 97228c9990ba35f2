"""How log lines look: for a person at a console, or one JSON object a line (`LOG_FORMAT`).

Everything that a worker or a beat logs comes out alike, Celery's and other libraries' lines too: Celery chooses level
and file (`-l`, `-f`), this module only the format. Each delivery's end is one line whose event is `outcome`, with its
facts as fields; `tasks.outcomes` reads such lines back, in either format.

No line shows a secret: `Redactor` looks at what is about to be written, whoever wrote it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, MutableMapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl, unquote

import structlog
from celery import current_task
from structlog.processors import format_exc_info
from structlog.stdlib import ProcessorFormatter

OUTCOME = "outcome"
OUTCOMES_LOGGER = "candlelatch.outcomes"

ENVELOPE = ("timestamp", "level", "process", "logger", "event")
"""What every line has, in this order."""

SHORTEST_SECRET = 8
"""Shorter ones would be found in words that are none."""

_BARE = re.compile(r"[A-Za-z_][\w.:/+\-]*", re.ASCII)
_LITERALS = frozenset({"true", "false", "null", "NaN", "Infinity"})
_PAIR = re.compile(r" (\w+)=")
_TOLD = re.compile(rf"\S+Z \w+ +\S* {re.escape(OUTCOMES_LOGGER)}: {OUTCOME}(?= |$)")

Event = MutableMapping[str, Any]


class LogFormat(StrEnum):
    """What a line is made for."""

    CONSOLE = "console"
    JSON = "json"


class Redactor:
    """Takes secrets out of lines.

    Args:
        secrets: texts that no line may hold. Those shorter than `SHORTEST_SECRET` are not looked for.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        found = {one for one in secrets if len(one) >= SHORTEST_SECRET}
        # As it stands within a JSON string, too.
        found |= {json.dumps(one, ensure_ascii=False)[1:-1] for one in found}
        longest_first = sorted(found, key=len, reverse=True)
        self._found = re.compile("|".join(map(re.escape, longest_first))) if found else None

    def __call__(self, line: str) -> str:
        """The line, with `***` in place of each secret."""
        return line if self._found is None else self._found.sub("***", line)


def secrets_in(url: str) -> set[str]:
    """The passwords in an address, or in several with a ``;`` between them; as written and as meant."""
    found: set[str] = set()
    for part in url.split(";"):
        login, at, _ = part.partition("://")[2].rpartition("@")
        found |= {login.partition(":")[2]} if at else set()
        found |= {value for name, value in parse_qsl(part.partition("?")[2]) if "password" in name}
    return (found | {unquote(one) for one in found}) - {""}


def formatter(form: LogFormat, redact: Callable[[str], str] | None = None) -> logging.Formatter:
    """A formatter for any handler of the standard library, for records of structlog and of everybody else.

    Args:
        form: which of both.
        redact: has the last word on each line.
    """
    render = json_line if form is LogFormat.JSON else console_line
    clean = redact or Redactor()

    def rendered(_logger: Any, _method: str, event: Event) -> str:
        return clean(render(event))

    # A traceback becomes text without the values of variables: they may be secrets.
    return ProcessorFormatter(processors=[format_exc_info, _enveloped, rendered])


def outcome_logger() -> Any:
    """Where outcomes are told: ``outcome_logger().info(OUTCOME, task=…, outcome=…)``."""
    return structlog.wrap_logger(
        logging.getLogger(OUTCOMES_LOGGER),
        processors=[structlog.stdlib.filter_by_level, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def json_line(event: Event) -> str:
    """The event as one JSON object."""
    return json.dumps(event, ensure_ascii=False, default=str)


def console_line(event: Event) -> str:
    """The event as a line to read: a bare word or JSON behind each name. A traceback follows on lines of its own."""
    fields = dict(event)
    timestamp, level, process, logger, said = (fields.pop(name, "") for name in ENVELOPE)
    trace = fields.pop("exception", "")
    pairs = "".join(f" {name}={_shown(value)}" for name, value in fields.items())
    line = f"{timestamp} {level:8} {process} {logger}: {said}{pairs}"
    return f"{line}\n{trace}" if trace else line


def read_outcome(line: str) -> dict[str, Any] | None:
    """The fields of an outcome, given its line in either format; None where it is another line, or torn."""
    if line.startswith("{"):
        return _read_json(line)
    told = _TOLD.match(line)
    return None if told is None else _read_pairs(line, told.end())


def _read_json(line: str) -> dict[str, Any] | None:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    if (fields.get("logger"), fields.get("event")) != (OUTCOMES_LOGGER, OUTCOME):
        return None
    return {name: value for name, value in fields.items() if name not in ENVELOPE}


def _read_pairs(line: str, at: int) -> dict[str, Any] | None:
    fields: dict[str, Any] = {}
    decoder = json.JSONDecoder()
    while at < len(line):
        pair = _PAIR.match(line, at)
        if pair is None:
            return None
        bare = _BARE.match(line, pair.end())
        try:
            if bare and bare.group() not in _LITERALS:
                value, at = bare.group(), bare.end()
            else:
                value, at = decoder.raw_decode(line, pair.end())
        except ValueError:
            return None
        fields[pair.group(1)] = value
    return fields


def _shown(value: Any) -> str:
    if isinstance(value, str) and _BARE.fullmatch(value) and value not in _LITERALS:
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _enveloped(_logger: Any, _method: str, event: Event) -> Event:
    """The event with what every line has, and the task that it is about."""
    record: logging.LogRecord = event.pop("_record")
    event.pop("_from_structlog")
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    said = event.pop("event", "")
    envelope = (moment, record.levelname.lower(), record.processName or "", record.name, said)
    found: Event = dict(zip(ENVELOPE, envelope, strict=True))
    found.update(event)
    request = getattr(current_task, "request", None)
    if request is not None and request.id:
        found.setdefault("task_id", request.id)
    return found
