"""The names of keys in Redis.

=====================================  ==========================================================================
key                                    holds
=====================================  ==========================================================================
``candle:{instrument}:{tf}:{start}``   the record of a candle; once DONE it carries the candle's signals
``signal:publish:{instrument}:{start}``  the record of a signal; the pipeline appends ``:{tf}:{strategy}``
``dedup:since``                        when this store's memory began, in ms of its own clock (`dedup.marking.Begin`)
``dedup:swept``                        when the pipeline's sweep last went through, ms since the epoch
=====================================  ==========================================================================

``{start}`` is the candle's start in UTC, ISO-8601 without offset: ``2025-01-01T10:15:00``. A prefix separates
deployments that share a server. Characters that could forge a key, match as a pattern or move a key to another
Cluster slot are refused.
"""

from __future__ import annotations

import re
from datetime import datetime

from dedup.errors import InvalidInput, InvalidInstrument
from dedup.timeframe import Timeframe, as_utc

CANDLE = "candle"
SIGNAL = "signal:publish"
SINCE = "dedup:since"
SWEPT = "dedup:swept"

MAX_INSTRUMENT_CHARS = 64
_FORGING = set(":*?[]{}\\\"'`")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z0-9_.\-:]{0,64}", re.ASCII)


def normalize_instrument(instrument: str) -> str:
    """Trim and upper-case an instrument's name.

    Raises:
        InvalidInstrument: empty, over 64 characters, or holding white space, a control character or one of
            ``: * ? [ ] { } \\ " ' ```, which could forge a key.
    """
    if not isinstance(instrument, str):
        raise InvalidInstrument("instrument", instrument, "give a string such as GOLD or EUR_USD")
    name = instrument.strip(" ").upper()
    if not name:
        raise InvalidInstrument("instrument", instrument, "give a name such as GOLD or EUR_USD")
    if len(name) > MAX_INSTRUMENT_CHARS:
        raise InvalidInstrument("instrument", instrument[:80], f"use at most {MAX_INSTRUMENT_CHARS} characters")
    forging = sorted({c for c in name if c in _FORGING or not c.isprintable() or c.isspace()})
    if forging:
        raise InvalidInstrument("instrument", instrument, f"leave out {forging}, which could forge a key")
    return name


def check_label(what: str, label: str) -> str:
    """A strategy's label as part of a key: letters, digits, ``_ . -``, at most 64.

    Raises:
        InvalidInput: anything else; `what` names the field.
    """
    if not isinstance(label, str) or not _LABEL.fullmatch(label):
        raise InvalidInput(what, label, "use up to 64 letters, digits, _ . or -, beginning with a letter or digit")
    return label


def check_prefix(prefix: str) -> str:
    """A deployment's prefix: letters, digits, ``_ . - :``, at most 64. Empty is none.

    Raises:
        InvalidInput: anything else.
    """
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        raise InvalidInput("KEY_PREFIX", prefix, "use up to 64 letters, digits, _ . - or :")
    return prefix


def format_start(start: datetime) -> str:
    """A candle's start as it stands in a key.

    Raises:
        InvalidCandle: `start` is naive.
    """
    return as_utc(start, "candle_start").replace(tzinfo=None).isoformat()


def candle_key(instrument: str, timeframe: Timeframe | str, start: datetime, prefix: str = "") -> str:
    """``candle:{instrument}:{timeframe}:{start}``."""
    tf = timeframe if isinstance(timeframe, Timeframe) else Timeframe.parse(timeframe)
    return f"{prefix}{CANDLE}:{normalize_instrument(instrument)}:{tf}:{format_start(start)}"


def signal_key(
    instrument: str,
    start: datetime,
    timeframe: Timeframe | str | None = None,
    strategy: str | None = None,
    prefix: str = "",
) -> str:
    """``signal:publish:{instrument}:{start}``, and what of timeframe and strategy is given behind it.

    The pipeline gives both, because 15m and 1h candles share their starts and would silence each other.
    """
    parts = [f"{prefix}{SIGNAL}", normalize_instrument(instrument), format_start(start)]
    if timeframe is not None:
        parts.append(str(timeframe if isinstance(timeframe, Timeframe) else Timeframe.parse(timeframe)))
    if strategy is not None:
        parts.append(check_label("strategy", strategy))
    return ":".join(parts)


def is_candle(key: str) -> bool:
    """Whether a key is a candle's, whose work may be done again. Any other may stand for an effect that may not."""
    return f"{CANDLE}:" in key and f"{SIGNAL}:" not in key


def swept_key(prefix: str = "") -> str:
    """``dedup:swept``."""
    return f"{prefix}{SWEPT}"


def since_key(prefix: str = "") -> str:
    """``dedup:since``."""
    return f"{prefix}{SINCE}"
