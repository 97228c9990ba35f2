"""What `SignalPublisher.publish` posts for a signal that is a `Signal`, or a mapping of the caller's own making."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from dedup.delivery import Message
from dedup.errors import InvalidSignal
from dedup.keys import signal_key
from dedup.publish_flow import Publication
from dedup.signals import Signal, canonical_json, digest, signal_id
from dedup.timeframe import Timeframe, as_utc


def publication_of(signal_data: Mapping[str, Any] | Signal, candle_start: datetime, prefix: str = "") -> Publication:
    """A signal as it is published.

    A mapping needs an `instrument`, and is posted as it is: canonical JSON, in which moments are ISO-8601 in UTC and
    decimals strings. These of its fields are read:

    ``timeframe``, ``strategy``
        where given they are part of the key, so that signals of several do not silence each other, and of the id.
    ``id``
        by default `dedup.signals.signal_id` of the others.
    ``candle_close``
        by default the start and the timeframe, where that is given. With neither, a signal that the store may have
        forgotten cannot be told from a new one.
    ``expires_at``
        from then on it is not posted; by default it never expires.

    Raises:
        InvalidCandle: `candle_start` is naive.
        InvalidInput: a field that cannot be, or a `Signal` of another candle.
    """
    start = as_utc(candle_start, "candle_start")
    if isinstance(signal_data, Signal):
        return _of_signal(signal_data, start, prefix)
    return _of_mapping(signal_data, start, prefix)


def _of_signal(signal: Signal, start: datetime, prefix: str) -> Publication:
    if signal.candle_start != start:
        remedy = f"the signal is of the candle that starts {signal.candle_start.isoformat()}"
        raise InvalidSignal("candle_start", start.isoformat(), remedy)
    key = signal_key(signal.instrument, start, signal.timeframe, signal.strategy, prefix)
    return _publication(key, signal.id, signal.body(), signal.candle_close, signal.expires_at)


def _of_mapping(data: Mapping[str, Any], start: datetime, prefix: str) -> Publication:
    if not isinstance(data, Mapping):
        raise InvalidSignal("signal_data", type(data).__name__, "give a Signal or a mapping of its fields")
    instrument, timeframe, strategy = data.get("instrument", ""), data.get("timeframe"), data.get("strategy")
    key = signal_key(instrument, start, timeframe, strategy, prefix)
    name = data.get("id") or signal_id(strategy or "", instrument, timeframe or "", start)
    if not isinstance(name, str):
        raise InvalidSignal("signal.id", repr(name), "give a string, or leave it out")
    close = _moment("candle_close", data.get("candle_close"))
    if close is None and timeframe is not None:
        close = start + timedelta(seconds=Timeframe.parse(str(timeframe)).seconds)
    return _publication(key, name, canonical_json(dict(data)), close, _moment("expires_at", data.get("expires_at")))


def _publication(key: str, name: str, body: bytes, close: datetime | None, expires_at: datetime | None) -> Publication:
    return Publication(key, Message(name, body), digest(body), _ms(close), _ms(expires_at))


def _moment(what: str, value: object) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidSignal(f"signal.{what}", str(value), "give ISO-8601, as in 2025-01-01T10:30:00Z") from None
    if not isinstance(value, datetime):
        raise InvalidSignal(f"signal.{what}", repr(value), "give a timezone-aware datetime, or ISO-8601")
    return as_utc(value, f"signal.{what}")


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)
