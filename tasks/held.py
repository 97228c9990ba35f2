"""Signals' records for people: found, told, and judged as to what a person may say of them. Reads only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dedup.errors import InvalidInput
from dedup.keys import SIGNAL, candle_key, format_start
from dedup.ops import Peeked, Resolution
from dedup.records import Record
from dedup.signals import Signal, digest, signal_id
from dedup.timeframe import as_utc
from tasks.runtime import Pipeline
from tasks.sweep import signals_of


@dataclass(frozen=True, slots=True)
class Name:
    """What a signal's key says.

    Attributes:
        timeframe, strategy: empty where the key was made without them.
    """

    instrument: str
    start: datetime
    timeframe: str = ""
    strategy: str = ""

    @property
    def id(self) -> str:
        """The signal's id; empty where the key does not say enough to know it."""
        if not (self.timeframe and self.strategy):
            return ""
        return signal_id(self.strategy, self.instrument, self.timeframe, self.start)

    def __str__(self) -> str:
        parts = (self.instrument, self.timeframe, format_start(self.start) + "Z", self.strategy)
        return " ".join(part for part in parts if part)


def parse_key(key: str, prefix: str = "") -> Name | None:
    """Read ``signal:publish:{instrument}:{start}[:{tf}[:{strategy}]]``; None for a key that is none."""
    head = f"{prefix}{SIGNAL}:"
    parts = key.removeprefix(head).split(":")
    if not key.startswith(head) or not 4 <= len(parts) <= 6:
        return None
    try:
        start = datetime.fromisoformat(":".join(parts[1:4])).replace(tzinfo=UTC)
    except ValueError:
        return None
    return Name(parts[0], start, *parts[4:])


@dataclass(frozen=True, slots=True)
class Found:
    """A signal's record, and what its key says."""

    key: str
    name: Name
    record: Record

    @property
    def state(self) -> str:
        """In a word: ``held``, the outcome where it is done, or the state."""
        if self.record.waits:
            return "held"
        return self.record.outcome or self.record.state.value

    @property
    def reference(self) -> str:
        """What `signals show` and `signals resolve` take: the id, or the key where there is none."""
        return self.name.id or self.key


def find_all(line: Pipeline) -> list[Found]:
    """Every signal's record, by its candle's start. Walks with SCAN.

    Raises:
        StoreError: Redis is away.
    """
    found = (
        Found(one.key, name, one.record)
        for one in line.recorded_signals().list_records()
        if (name := parse_key(one.key, line.settings.key_prefix)) is not None
    )
    return sorted(found, key=lambda one: (one.name.start, one.key))


def find_one(line: Pipeline, reference: str) -> Found:
    """The signal of an id, of the beginning of one, or of a key.

    Raises:
        InvalidInput: there is none, or more than one.
    """
    matching = [one for one in find_all(line) if reference in (one.key, one.name.id)]
    if not matching and len(reference) >= 8:
        matching = [one for one in find_all(line) if one.name.id.startswith(reference)]
    if len(matching) == 1:
        return matching[0]
    many = f"is the beginning of {len(matching)} ids; write more of it"
    raise InvalidInput("signal", reference, many if matching else "no record has this id or key; see `signals list`")


def chosen(
    found: Iterable[Found], states: Iterable[str], instruments: Iterable[str], since: datetime | None
) -> list[Found]:
    """Those in these states (all where none is named), of these instruments, whose candles start since then."""
    wanted, named = set(states), {name.strip().upper() for name in instruments}
    return [
        one
        for one in found
        if (not wanted or wanted & {one.state, one.record.state.value})
        and (not named or one.name.instrument in named)
        and (since is None or one.name.start >= as_utc(since, "since"))
    ]


def payload_of(line: Pipeline, name: Name) -> tuple[Signal | None, Record | None]:
    """The signal as its candle's record carries it, and that record; None for what is gone."""
    if not name.timeframe:
        return None, None
    key = candle_key(name.instrument, name.timeframe, name.start, line.settings.key_prefix)
    peeked: Peeked = line.recorded_candles().peek_many([key])[0]
    carried = signals_of(peeked, 0)
    signal = next((one for one in carried if one.strategy == name.strategy), None)
    return signal, peeked.record


def why_not(record: Record, resolution: Resolution, signal: Signal | None, now: datetime, oldest: datetime) -> str:
    """Why a person's word cannot be carried out, in words; empty where it can.

    Args:
        record: of the signal.
        resolution: what they say.
        signal: its payload; None where it is not known any more.
        now: market time.
        oldest: candles that closed at or before are older than the horizon.
    """
    if not record.waits:
        return f"it is not held but {record.outcome or record.state.value}: there is nothing to settle"
    if resolution is not Resolution.RESEND:
        return ""
    other = "; say posted or rejected instead"
    if signal is None:
        return f"its candle's record is gone, and with it what was to be posted{other}"
    if record.digest and record.digest != digest(signal.body()):
        return f"its candle was evaluated again since, to another payload, which is never posted under this id{other}"
    if signal.expires_at <= now:
        return f"it expired at {signal.expires_at.isoformat()} and would not be posted any more{other}"
    if signal.candle_close <= oldest:
        return f"its candle is older than the horizon, and no delivery of it is worked any more{other}"
    return ""


def as_document(one: Found) -> dict[str, Any]:
    """A signal's key and record for machines."""
    return {
        "id": one.name.id,
        "key": one.key,
        "instrument": one.name.instrument,
        "timeframe": one.name.timeframe,
        "candle_start": format_start(one.name.start) + "Z",
        "strategy": one.name.strategy,
        **told(one.record),
        "state": one.state,
    }


def told(record: Record) -> dict[str, Any]:
    """A record's fields by name; times as ISO-8601, of its token only the beginning."""
    return {
        "state": record.state.value,
        "outcome": record.outcome,
        "attempt": record.attempt,
        "failures": record.failures,
        "in_doubt": record.in_doubt,
        "reason": record.reason,
        "written": _moment(record.at_ms),
        "until": _moment(record.until_ms),
        "digest": record.digest,
        "token": record.token[:6],
        "by": record.by,
        "by_why": record.by_why,
        "let_go": record.granted,
    }


def _moment(ms: int) -> str:
    return (
        datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if ms else ""
    )
