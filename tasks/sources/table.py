"""Reading bars from CSV files, which another process may be appending to."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dedup.errors import InvalidSetting, SourceError
from tasks.bars import Bar
from tasks.sources import options
from tasks.sources.moments import Moments
from tasks.sources.rows import NAMES, NEEDED, Place, RowReader, detect

COLUMNS = (*NAMES, "instrument")
_HEADER_BYTES = 65_536
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class TableFormat:
    """How a CSV file is written.

    Attributes:
        columns: the header's name for a field, where it is not found by itself.
        delimiter: one character; None finds it out from the header.
        moments: how times are written.
    """

    columns: Mapping[str, str]
    delimiter: str | None
    moments: Moments

    @classmethod
    def from_options(
        cls, source: str, columns: object, delimiter: object, time: object, timezone: object
    ) -> TableFormat:
        """From a source's options of the same names.

        Raises:
            InvalidSetting: an option of the wrong kind.
        """
        given = options.texts(f"{source}.columns", columns)
        for field in given:
            options.choice(f"{source}.columns", field, COLUMNS)
        if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1):
            raise InvalidSetting(f"{source}.delimiter", delimiter, "write one character")
        return cls(given, delimiter, Moments.from_options(source, time, timezone))


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a file, understood: where each field is, and how wide a row is."""

    delimiter: str
    width: int
    index: Mapping[str, int]

    def reader(self, moments: Moments) -> RowReader:
        """What reads the rows under this header."""
        places: dict[str, Place] = {field: (i,) for field, i in self.index.items() if field in NAMES}
        return RowReader(places, moments)


def parse_header(line: str, form: TableFormat) -> Header:
    """Understand a header.

    Raises:
        SourceError: a column that is named in the options or needed is not there, or two may be meant.
    """
    delimiter = form.delimiter or max(_DELIMITERS, key=line.count)
    names = [name.strip() for name in next(_split(line, delimiter), [])]
    for field, name in form.columns.items():
        if name not in names:
            raise SourceError(f"there is no column {name!r} for the {field}; the header has {', '.join(names)}")
    named = dict(form.columns)
    rest = [name for name in names if name not in named.values()]
    named = {**detect(rest, [field for field in COLUMNS if field not in named]), **named}
    missing = [field for field in NEEDED if field not in named]
    if missing:
        known = ", ".join(names)
        raise SourceError(f"no column is the {', '.join(missing)}; set the source's option columns. There are {known}")
    return Header(delimiter, len(names), {field: names.index(name) for field, name in named.items()})


def parse_rows(text: str, header: Header, moments: Moments) -> Iterator[tuple[str | None, Bar]]:
    """The bars in `text`, complete lines under `header`, each with what its instrument column says.

    Raises:
        SourceError: a row with another number of columns, or with a field that is no time or number.
    """
    reader = header.reader(moments)
    column = header.index.get("instrument")
    for row in _split(text, header.delimiter):
        if not row:
            continue
        if len(row) != header.width:
            raise SourceError(f"the row {repr(row)[:200]} has {len(row)} columns and the header {header.width}")
        bar = reader.bar(row)
        if bar is not None:
            yield (None if column is None else row[column].strip()), bar


def _split(text: str, delimiter: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    except csv.Error as error:
        raise SourceError(f"is no CSV: {error}") from error


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a file: its header line, complete lines, and whether these are all there are.

    The header is empty where not even the first line is complete.
    """

    header: str
    text: str
    whole: bool


def read_tail(path: Path, max_bytes: int) -> Tail:
    """The header and the complete lines within the last `max_bytes` of a file.

    A last line without a line end is still being written and is left out.

    Raises:
        SourceError: the file cannot be read or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            header = file.readline(_HEADER_BYTES)
            first = file.tell()
            size = file.seek(0, io.SEEK_END)
            begin = max(first, size - max_bytes)
            file.seek(begin)
            data = file.read(size - begin)
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror or error}") from error
    if not header.endswith(b"\n"):
        if len(header) >= _HEADER_BYTES:
            raise SourceError(f"begins with a line of more than {_HEADER_BYTES} bytes, which is no header")
        return Tail("", "", whole=True)
    whole = begin == first
    if not whole:
        data = data.partition(b"\n")[2]
    complete = data[: data.rfind(b"\n") + 1]
    return Tail(decode(header).strip("\r\n"), decode(complete), whole)


def decode(data: bytes) -> str:
    """Text of a file.

    Raises:
        SourceError: not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SourceError("is not UTF-8; save it as UTF-8") from None
