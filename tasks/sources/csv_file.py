"""Bars from CSV files that another process writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dedup.errors import InvalidSetting, SourceError
from dedup.http_outcome import excerpt
from dedup.timeframe import Candle
from tasks.bars import Bar
from tasks.sources import options
from tasks.sources.clock import Clock, utc_now
from tasks.sources.finality import Finality
from tasks.sources.naming import FeedNames, placeholders
from tasks.sources.table import TableFormat, parse_header, parse_rows, read_tail
from tasks.sources.window import around

_PLACEHOLDERS = frozenset({"instrument", "timeframe"})
_IN_DIRECTORY = "{instrument}-{timeframe}.csv"
SAID_CHARS = 400
_LINE_BYTES = 128
_LEAST_BYTES = 4_096
_SEPARATORS = str.maketrans("/\\", "__")


class CsvSource:
    """Bars from a CSV file, or from one file per instrument and timeframe.

    Files are read from the end, as far as needed, each time bars are asked for, so another process may append to them
    or replace them. A last line without a line end is still being written: it is no bar yet. Rows are oldest first or
    newest first.

    Args:
        path: a file, a path with `{instrument}` and `{timeframe}` in it, or a directory, which stands for
            `{instrument}-{timeframe}.csv` in it. Relative to the process's working directory. In these names `/` and
            the backslash of an instrument become `_`.
        instrument: the only one in the file. Needed where neither `path` nor a column tells.
        timeframe: the only one in the file. Needed where `path` does not tell.
        columns: the header's name for any of start, open, high, low, close, volume, instrument and final. The usual
            names are found without; volume and final may be missing.
        delimiter: one character; found from the header by default.
        time: `iso`, `s` or `ms` since 1970, or `auto`.
        timezone: the zone of ISO times that carry none, such as `UTC`. Without it such a time is an error.
        finality: `successor` (a bar is final once a later one is there), `settle` (once its close lies `settle_s`
            seconds back) or `flag` (once the column `final` says true).
        settle_s: see `finality`.
        symbols: the files' name of an instrument where it is another one.
        timeframes: the same of timeframes.
        max_bytes: how much of a file is read at most, from its end.
        now: the clock that `settle` goes by.

    Raises:
        InvalidInput: an option is wrong.
    """

    def __init__(
        self,
        path: str,
        *,
        instrument: str | None = None,
        timeframe: str | None = None,
        columns: Mapping[str, str] | None = None,
        delimiter: str | None = None,
        time: str = "auto",
        timezone: str | None = None,
        finality: str = "successor",
        settle_s: float | None = None,
        symbols: Mapping[str, str] | None = None,
        timeframes: Mapping[str, str] | None = None,
        max_bytes: int = 268_435_456,
        now: Clock = utc_now,
    ) -> None:
        self._max_bytes = int(options.number("csv.max_bytes", max_bytes, least=_LEAST_BYTES))
        self._template = _template(options.string("csv.path", path))
        self._placeholders = placeholders("csv.path", self._template, _PLACEHOLDERS)
        self._names = FeedNames.from_options("csv", instrument, timeframe, symbols, timeframes)
        if "timeframe" not in self._placeholders and self._names.timeframe is None:
            remedy = 'does not tell the timeframe; write {timeframe} in it, or add timeframe = "15m"'
            raise InvalidSetting("csv.path", path, remedy)
        self._format = TableFormat.from_options("csv", columns, delimiter, time, timezone)
        self._finality = Finality.from_options("csv", finality, settle_s)
        if self._finality.rule == "flag" and "final" not in self._format.columns:
            raise InvalidSetting("csv.finality", "flag", "name the column that tells, as in columns.final")
        self._now = now

    def __repr__(self) -> str:
        return f"CsvSource(path={self._template!r}, finality={self._finality.rule!r})"

    def bars(self, candle: Candle, count: int) -> Sequence[Bar]:
        """The last `count` bars up to the candle, and the one after it where the file has it.

        Raises:
            SourceError: the file is missing, cannot be read, or holds something that is no bar.
        """
        self._names.check(candle)
        path = self._path(candle)
        try:
            found = self._read(path, candle, count)
        except SourceError as error:
            raise SourceError(f"{path}: {excerpt(str(error), SAID_CHARS)}") from error
        return around(self._finality.mark(found, candle, self._now()), candle, count)

    def _path(self, candle: Candle) -> Path:
        symbol = self._names.symbol(candle).translate(_SEPARATORS)
        if symbol in {".", ".."}:
            raise SourceError(f"{symbol!r} is no name for a file; set the source's option symbols")
        return Path(
            self._template.format(instrument=symbol, timeframe=self._names.interval(candle).translate(_SEPARATORS))
        )

    def _read(self, path: Path, candle: Candle, count: int) -> list[Bar]:
        max_bytes = min(max(_LEAST_BYTES, _LINE_BYTES * (count + 2)), self._max_bytes)
        while True:
            tail = read_tail(path, max_bytes)
            if not tail.header:
                return []
            header = parse_header(tail.header, self._format)
            self._check_instrument_known("instrument" in header.index)
            symbol = self._names.symbol(candle).upper()
            rows = parse_rows(tail.text, header, self._format.moments)
            found = [bar for name, bar in rows if name is None or name.upper() == symbol]
            newest_first = len(found) > 1 and found[0].start > found[-1].start
            if tail.whole:
                return found[::-1] if newest_first else found
            if not newest_first and sum(bar.start <= candle.start for bar in found) >= count:
                return found
            if max_bytes >= self._max_bytes:
                raise SourceError(
                    f"its last {max_bytes} bytes do not hold {count} bars up to the candle; mend it, or raise max_bytes"
                )
            max_bytes = min(4 * max_bytes, self._max_bytes)

    def _check_instrument_known(self, has_column: bool) -> None:
        if not has_column and self._names.instrument is None and "instrument" not in self._placeholders:
            remedy = "write {instrument} in path, add instrument = to the source, or add a column"
            raise SourceError(f"nothing tells which instrument these bars are of; {remedy}")


def _template(path: str) -> str:
    return str(Path(path) / _IN_DIRECTORY) if path.endswith("/") or Path(path).is_dir() else path
