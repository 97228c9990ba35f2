"""What a feed calls an instrument and a timeframe."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field

from dedup.errors import InvalidSetting, SourceError
from dedup.keys import normalize_instrument
from dedup.timeframe import Candle, Timeframe
from tasks.sources import options


@dataclass(frozen=True, slots=True)
class FeedNames:
    """What a feed calls instruments and timeframes, and which it holds.

    Attributes:
        instrument, timeframe: the only one that the feed holds; None where it holds several.
        symbols: the feed's name of an instrument, where it is another one.
        timeframes: the feed's name of a timeframe, where it is another one.
    """

    instrument: str | None = None
    timeframe: Timeframe | None = None
    symbols: Mapping[str, str] = field(default_factory=dict)
    timeframes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_options(
        cls, source: str, instrument: object, timeframe: object, symbols: object, timeframes: object
    ) -> FeedNames:
        """From a source's options of the same names.

        Raises:
            InvalidInput: an option of the wrong kind, or an instrument or timeframe that is none.
        """
        return cls(
            None if instrument is None else normalize_instrument(options.string(f"{source}.instrument", instrument)),
            None if timeframe is None else Timeframe.parse(options.string(f"{source}.timeframe", timeframe)),
            {normalize_instrument(k): v for k, v in options.texts(f"{source}.symbols", symbols).items()},
            {str(Timeframe.parse(k)): v for k, v in options.texts(f"{source}.timeframes", timeframes).items()},
        )

    def symbol(self, candle: Candle) -> str:
        """What the feed calls the candle's instrument."""
        return self.symbols.get(candle.instrument, candle.instrument)

    def interval(self, candle: Candle) -> str:
        """What the feed calls the candle's timeframe."""
        return self.timeframes.get(str(candle.timeframe), str(candle.timeframe))

    def check(self, candle: Candle) -> None:
        """Refuse a candle that the feed does not hold.

        Raises:
            SourceError: another instrument or timeframe than the only one.
        """
        if self.instrument is not None and candle.instrument != self.instrument:
            raise SourceError(f"this source holds {self.instrument} and not {candle.instrument}")
        if self.timeframe is not None and candle.timeframe.seconds != self.timeframe.seconds:
            raise SourceError(f"this source holds {self.timeframe} bars and not {candle.timeframe}")


def placeholders(what: str, template: str, offered: frozenset[str]) -> frozenset[str]:
    """The names in braces in `template`.

    Raises:
        InvalidSetting: unbalanced braces, or a placeholder that is not offered. The message does not show the
            template, which may hold a secret.
    """
    names = []
    try:
        for _, name, spec, conversion in string.Formatter().parse(template):
            if name is not None:
                names.append(f"{name}!{conversion}" if conversion else f"{name}:{spec}" if spec else name)
    except ValueError as error:
        raise InvalidSetting(what, str(error), "write each placeholder as {name}") from None
    wrong = sorted(set(names) - offered)
    if wrong:
        listed = " ".join(f"{{{name}}}" for name in sorted(offered))
        raise InvalidSetting(what, f"{{{wrong[0]}}}", f"is no placeholder; there are {listed}")
    return frozenset(names)
