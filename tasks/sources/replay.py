"""Recorded bars, shown as if they were happening."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path

from dedup.errors import InvalidSetting, SourceError
from dedup.timeframe import Candle
from tasks.bars import Bar, check_bars
from tasks.sources import options
from tasks.sources.clock import Clock, utc_now
from tasks.sources.finality import close_of
from tasks.sources.naming import FeedNames
from tasks.sources.table import TableFormat, decode, parse_header, parse_rows
from tasks.sources.window import around


class ReplaySource:
    """Bars from a recording: those whose candle has closed by the clock that the source is given. All are final.

    The file is read once, when bars are first asked for.

    Args:
        file: a CSV file; by default the daily bars of AAPL, FB, GOOG, IBM and MSFT, 2012-05-18 to 2013-03-01, that come
            with the package (see `tasks/data/ORIGIN.md`).
        timeframe: of the bars in `file`; needed with `file`.
        instrument: the only one in `file`; needed where no column tells.
        columns, delimiter, time, timezone: as for the source `csv`.
        now: the clock.

    Raises:
        InvalidInput: an option is wrong.
    """

    def __init__(
        self,
        file: str | None = None,
        *,
        timeframe: str | None = None,
        instrument: str | None = None,
        columns: Mapping[str, str] | None = None,
        delimiter: str | None = None,
        time: str = "auto",
        timezone: str | None = None,
        now: Clock = utc_now,
    ) -> None:
        self._file = None if file is None else Path(options.string("replay.file", file))
        if file is not None and timeframe is None:
            raise InvalidSetting("replay.timeframe", timeframe, f'write that of the bars in {file}, such as "15m"')
        self._names = FeedNames.from_options("replay", instrument, timeframe or "1d", None, None)
        self._format = TableFormat.from_options("replay", columns, delimiter, time, timezone)
        self._now = now
        self._recorded: Mapping[str, tuple[Bar, ...]] | None = None

    def __repr__(self) -> str:
        return f"ReplaySource(file={None if self._file is None else str(self._file)!r})"

    def bars(self, candle: Candle, count: int) -> Sequence[Bar]:
        """The last `count` bars up to the candle, and the one after it where that has closed too.

        Raises:
            SourceError: the file cannot be read, or does not hold the candle's instrument or timeframe.
            InvalidBars: the file holds bars that no strategy should see.
        """
        self._names.check(candle)
        if self._recorded is None:
            self._recorded = self._read()
        if candle.instrument not in self._recorded:
            held = ", ".join(sorted(self._recorded)) or "nothing"
            raise SourceError(f"the recording holds {held} and not {candle.instrument}")
        recorded, now = self._recorded[candle.instrument], self._now()
        after = bisect_right(recorded, candle.start, key=lambda bar: bar.start)
        near = recorded[max(0, after - count) : after + 1]
        return around([bar for bar in near if close_of(bar, candle) <= now], candle, count)

    def _read(self) -> Mapping[str, tuple[Bar, ...]]:
        if self._file is not None:
            return self._parse(self._file)
        with as_file(files("tasks") / "data" / "daily.csv") as file:
            return self._parse(file)

    def _parse(self, file: Path) -> Mapping[str, tuple[Bar, ...]]:
        try:
            recorded = self._parse_text(decode(file.read_bytes()))
        except OSError as error:
            raise SourceError(f"cannot read {file}: {error.strerror or error}") from error
        except SourceError as error:
            raise SourceError(f"{file}: {error}") from error
        for bars in recorded.values():
            check_bars(bars)
        return {name: tuple(bars) for name, bars in recorded.items()}

    def _parse_text(self, text: str) -> Mapping[str, Sequence[Bar]]:
        first, _, rest = text.partition("\n")
        header = parse_header(first.rstrip("\r"), self._format)
        if "instrument" not in header.index and self._names.instrument is None:
            raise SourceError("nothing tells which instrument the bars are of; add instrument = to the source")
        recorded: dict[str, list[Bar]] = {}
        for name, bar in parse_rows(rest, header, self._format.moments):
            recorded.setdefault((name or self._names.instrument or "").upper(), []).append(bar)
        return recorded
