"""A signal: what is posted, its id, and its bytes.

One signal has one id, deterministic from strategy, instrument, timeframe and candle start, and one body: built once
from sorted fields, so that every attempt sends the same bytes. Prices are decimals and travel as strings.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from dedup.errors import InvalidInput, InvalidSignal
from dedup.keys import check_label, format_start, normalize_instrument
from dedup.timeframe import Timeframe, as_utc

DIGEST_CHARS = 16
MAX_SHOWN_CHARS = 80


def _no_binary_fraction(value: object) -> object:
    if isinstance(value, float):
        raise ValueError("give a price as a decimal or a string: a binary fraction is not the price")  # noqa: TRY004
    return value


Price = Annotated[Decimal, BeforeValidator(_no_binary_fraction), Field(gt=0, allow_inf_nan=False)]


class Signal(BaseModel):
    """A validated signal.

    Attributes:
        id: see `signal_id`.
        candle_start, candle_close: the span it came from, UTC.
        strategy: the watchlist entry's label.
        side: buy, sell or close.
        price: entry.
        stop_loss, take_profit: buy: below and above the entry; sell: above and below; close: not given.
        confidence: 0 to 1.
        expires_at: from then on it is not posted any more.
        payload: free, JSON.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    id: str = Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_\-]+$")
    instrument: str
    timeframe: str
    candle_start: AwareDatetime
    candle_close: AwareDatetime
    strategy: str
    strategy_version: str = "1"
    side: Literal["buy", "sell", "close"]
    price: Price
    stop_loss: Price | None = None
    take_profit: Price | None = None
    confidence: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False)
    expires_at: AwareDatetime
    payload: dict[str, Any] = Field(default_factory=dict)

    @field_validator("instrument")
    @classmethod
    def _instrument(cls, value: str) -> str:
        return normalize_instrument(value)

    @field_validator("timeframe")
    @classmethod
    def _timeframe(cls, value: str) -> str:
        return str(Timeframe.parse(value))

    @field_validator("strategy")
    @classmethod
    def _strategy(cls, value: str) -> str:
        return check_label("strategy", value)

    @field_validator("candle_start", "candle_close", "expires_at")
    @classmethod
    def _utc(cls, value: datetime) -> datetime:
        return value.astimezone(UTC)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.candle_close <= self.candle_start:
            raise ValueError("candle_close comes after candle_start")
        low, high = (self.stop_loss, self.take_profit) if self.side == "buy" else (self.take_profit, self.stop_loss)
        if self.side == "close" and (low is not None or high is not None):
            raise ValueError("a close has no stop_loss and no take_profit")
        if low is not None and low >= self.price:
            raise ValueError(f"{'stop_loss' if self.side == 'buy' else 'take_profit'} lies below the price")
        if high is not None and high <= self.price:
            raise ValueError(f"{'take_profit' if self.side == 'buy' else 'stop_loss'} lies above the price")
        return self

    @classmethod
    def parse(cls, fields: dict[str, Any]) -> Signal:
        """Validate fields, as a strategy or a message gives them.

        Raises:
            InvalidSignal: names the first field that is wrong, its value, and why.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise _refusal(error) from None

    def fields(self) -> dict[str, Any]:
        """The signal as JSON fields: prices as strings, times in ISO-8601 with Z."""
        return self.model_dump(mode="json")

    def body(self) -> bytes:
        """The bytes that are posted: JSON with sorted keys, the same every time."""
        return canonical_json(self.fields())


def _refusal(error: ValidationError) -> InvalidSignal:
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    given, remedy = first["input"], cause.remedy if isinstance(cause, InvalidInput) else first["msg"]
    if first["type"] == "missing":
        given, remedy = "missing", "this field is needed"
    elif first["type"] == "extra_forbidden":
        remedy = f"is no field of a signal; there are {', '.join(Signal.model_fields)}"
    elif not first["loc"]:
        given = given.get("id", "without an id") if isinstance(given, dict) else f"a {type(given).__name__}"
    shown = given if isinstance(given, str) else repr(given)
    remedy = remedy.removeprefix("Value error, ").replace("Input should", "must", 1)
    return InvalidSignal(".".join(("signal", *map(str, first["loc"]))), shown[:MAX_SHOWN_CHARS], remedy)


def canonical_json(fields: Any) -> bytes:
    """JSON with sorted keys and no white space, UTF-8. Moments are ISO-8601 in UTC with Z, decimals are strings.

    Raises:
        InvalidSignal: something in it is no JSON, such as NaN or a naive datetime; names its field.
    """
    try:
        text = _dumped(fields)
    except (TypeError, ValueError) as error:
        raise _no_json(fields, error) from None
    return text.encode()


def _dumped(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)


def _no_json(fields: Any, error: Exception) -> InvalidSignal:
    for name, value in fields.items() if isinstance(fields, dict) else ():
        try:
            _dumped(value)
        except (TypeError, ValueError) as cause:
            remedy = cause.remedy if isinstance(cause, InvalidInput) else str(cause)
            return InvalidSignal(f"signal.{name}", repr(value)[:MAX_SHOWN_CHARS], remedy)
    return InvalidSignal("signal", "(no JSON)", str(error))


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return as_utc(value, "moment").isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal) and value.is_finite():
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def digest(body: bytes) -> str:
    """The payload's digest as it stands in a record: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(body).hexdigest()[:DIGEST_CHARS]


def signal_id(strategy: str, instrument: str, timeframe: Timeframe | str, candle_start: datetime) -> str:
    """``sig_`` and 32 hex digits: the same for the same strategy, instrument, timeframe and candle start."""
    parts = (strategy, normalize_instrument(instrument), str(timeframe), format_start(candle_start))
    return "sig_" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
