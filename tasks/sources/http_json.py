"""Bars from an HTTP API that answers JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from dedup.errors import InvalidSetting, SourceError
from dedup.http_outcome import excerpt
from dedup.timeframe import Candle
from tasks.bars import Bar
from tasks.sources import options
from tasks.sources.clock import Clock, utc_now
from tasks.sources.finality import Finality
from tasks.sources.http_fetch import Fetcher
from tasks.sources.http_query import Span, UrlTemplate
from tasks.sources.moments import Moments
from tasks.sources.naming import FeedNames
from tasks.sources.rows import NAMES, NEEDED, Place, RowReader, detect, place_of
from tasks.sources.window import around

SAID_CHARS = 400
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", re.ASCII)


class HttpSource:
    """Bars from an HTTP API that answers JSON with status 200.

    Where the address holds `{start}` or `{end}` and the reply has too few bars or nothing about the candle, as over a
    weekend, a wider span is asked for, twice at most per side.

    Args:
        url: the address, with any of `{instrument}`, `{timeframe}`, `{start}`, `{end}` (both as far as the feed may
            include them) and `{count}`. Where the API gives the oldest bars first and stops at a limit, write a limit
            of your own that the whole span fits in.
        rows: where in the reply the list of bars is: keys and indexes with dots between, such as `data.candles`, in
            which `{instrument}` stands for the feed's name of it. Empty: the reply is that list.
        fields: where in a row each of start, open, high, low, close, volume and final is: a key, an index, or several
            with dots between (`mid.c`). Objects with the usual names and lists in the order start, open, high, low,
            close, volume need none; volume may be missing. Rows may be oldest or newest first.
        time: how `start` is written: `iso`, `s` or `ms` since 1970, or `auto`.
        timezone: the zone of ISO times that carry none, such as `UTC`. Without it such a time is an error.
        request_time: how `{start}` and `{end}` are written: `iso`, `s` or `ms`.
        finality: `successor` (a bar is final once a later one is there), `flag` (the field `final` says so) or `settle`
            (once its close lies `settle_s` seconds back).
        settle_s: see `finality`.
        final_value: what `final` holds for a final bar.
        headers: sent with every request; never shown.
        symbols, timeframes: the feed's names of instruments and of timeframes, where they are others.
        instrument, timeframe: the only one that the address serves, where it has no placeholder for it.
        stretch: how many times the nominal length of the bars `{start}` reaches back at first.
        timeout_s: seconds for one request as a whole.
        max_bytes: the longest reply that is read.
        now: the source's clock.

    Raises:
        InvalidInput: an option is wrong. The message shows neither headers nor the address.
    """

    def __init__(
        self,
        url: str,
        *,
        rows: str = "",
        fields: Mapping[str, str | int] | None = None,
        time: str = "auto",
        timezone: str | None = None,
        request_time: str = "iso",
        finality: str = "successor",
        settle_s: float | None = None,
        final_value: object = True,
        headers: Mapping[str, str] | None = None,
        symbols: Mapping[str, str] | None = None,
        timeframes: Mapping[str, str] | None = None,
        instrument: str | None = None,
        timeframe: str | None = None,
        stretch: float = 2.0,
        timeout_s: float = 10.0,
        max_bytes: int = 8_388_608,
        now: Clock = utc_now,
    ) -> None:
        self._names = FeedNames.from_options("http", instrument, timeframe, symbols, timeframes)
        self._address = UrlTemplate.from_options(url, self._names, request_time, stretch)
        self._layout = Layout(
            () if rows == "" else place_of("http.rows", rows),
            _places(fields),
            Moments.from_options("http", time, timezone),
            final_value,
        )
        self._finality = Finality.from_options("http", finality, settle_s)
        if self._finality.rule == "flag" and "final" not in self._layout.places:
            raise InvalidSetting("http.finality", "flag", "name the field that tells, as in fields.final")
        self._fetcher = Fetcher(
            _headers(headers),
            self._address.secrets,
            options.number("http.timeout_s", timeout_s, least=0, above=True),
            int(options.number("http.max_bytes", max_bytes, least=1)),
        )
        self._now = now

    def __repr__(self) -> str:
        return f"HttpSource(host={self._address.host!r}, finality={self._finality.rule!r})"

    def bars(self, candle: Candle, count: int) -> Sequence[Bar]:
        """The last `count` bars up to the candle, and the one after it where the API has it.

        Raises:
            SourceError: the API cannot be asked, or its answer cannot be understood.
        """
        self._names.check(candle)
        span: Span | None = Span()
        url, answer, now = "", list[Bar](), self._now()
        while span is not None:
            before, url = url, self._address.url(candle, count, now, span)
            if url == before:
                break
            found = self._decode(self._fetcher.get(url), candle)
            answer = around(self._finality.mark(found, candle, now), candle, count)
            span = span.wider(before=_is_short(answer, candle, count), after=not _is_settled(answer, candle))
        return answer

    def close(self) -> None:
        """Close this thread's connections."""
        self._fetcher.close()

    def _decode(self, body: bytes, candle: Candle) -> list[Bar]:
        try:
            return self._layout.bars(body, self._names.symbol(candle))
        except SourceError as error:
            # First without secrets, then short: a feed's own words may be as long as its reply.
            message = excerpt(self._fetcher.hide(str(error)), SAID_CHARS)
        raise SourceError(f"{self._address.host}: {message}")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in a reply the bars and their fields are.

    Attributes:
        rows: where the list of bars is.
        places: where fields are within a row; the usual names or positions are found without.
        moments: how times are written.
        final_value: what the field `final` holds for a final bar.
    """

    rows: Place
    places: Mapping[str, Place]
    moments: Moments
    final_value: object

    def bars(self, body: bytes, symbol: str) -> list[Bar]:
        """The bars in a reply, oldest first if they are in either order.

        Raises:
            SourceError: no JSON, no list where it should be, or a row that is no bar.
        """
        rows = self._find(_parse(body), symbol)
        if not rows:
            return []
        reader = RowReader(self._complete(rows[0]), self.moments, self.final_value)
        bars = [bar for bar in map(reader.bar, rows) if bar is not None]
        return bars[::-1] if len(bars) > 1 and bars[0].start > bars[-1].start else bars

    def _find(self, reply: Any, symbol: str) -> list[Any]:
        found = reply
        for part in self.rows:
            key = part if isinstance(found, list) else str(part).replace("{instrument}", symbol)
            try:
                found = found[key]
            except (KeyError, IndexError, TypeError):
                raise SourceError(f"the reply has no {key!r}, which rows names; it {_outline(found)}") from None
        if not isinstance(found, list):
            raise SourceError(f"the reply should have a list of bars, set by rows; it {_outline(found)}")
        return found

    def _complete(self, row: Any) -> Mapping[str, Place]:
        """The places given, and those that the first row tells."""
        if isinstance(row, dict):
            wanted = [name for name in NAMES if name not in self.places]
            found: dict[str, Place] = {name: (key,) for name, key in detect(list(row), wanted).items()}
        elif isinstance(row, list):
            found = {} if any(name in self.places for name in NEEDED) else _usual_order(len(row))
        else:
            raise SourceError(f"a row should be a list or an object, not {repr(row)[:200]}")
        places = {**found, **self.places}
        missing = [name for name in NEEDED if name not in places]
        if missing:
            has = f"{len(row)} values" if isinstance(row, list) else ", ".join(row)
            raise SourceError(f"set the source's option fields for {', '.join(missing)}; a row has {has}")
        return places


def _usual_order(width: int) -> dict[str, Place]:
    fields = (*NEEDED, "volume")
    return {name: (i,) for i, name in enumerate(fields[:width])}


def _is_short(answer: Sequence[Bar], candle: Candle, count: int) -> bool:
    return sum(bar.start <= candle.start for bar in answer) < count


def _is_settled(answer: Sequence[Bar], candle: Candle) -> bool:
    """Whether the answer tells what became of the candle."""
    return any(bar.start > candle.start or (bar.start == candle.start and bar.final) for bar in answer)


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        start = body[:100].decode("utf-8", "replace")
        raise SourceError(f"the reply is no JSON ({type(error).__name__}): {start!r}") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _outline(found: Any) -> str:
    if isinstance(found, dict):
        return f"has {', '.join(list(found)[:20]) or 'nothing'}"[:200]
    return f"has a list of {len(found)}" if isinstance(found, list) else f"has {repr(found)[:100]}"


def _places(fields: object) -> dict[str, Place]:
    if fields is None:
        return {}
    if not isinstance(fields, Mapping):
        raise InvalidSetting("http.fields", fields, "write a table, such as fields.close = 4")
    for name in fields:
        options.choice("http.fields", name, NAMES)
    return {name: place_of(f"http.fields.{name}", given) for name, given in fields.items()}


def _headers(headers: object) -> dict[str, str]:
    given = options.texts("http.headers", headers)
    for name, value in given.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise InvalidSetting(f"http.headers.{name}", "a value", "write visible ASCII, without line ends")
    return given
