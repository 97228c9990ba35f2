"""The watchlist: which candles are watched, by which strategies, from which source. Read from a TOML file.

::

    [sources.feed]                  # a name of your own
    kind = "http"                   # replay, csv, http, or a dotted path to your own
    url = "https://…"               # the rest are the source's options

    [[watch]]
    instruments = ["GOLD", "EUR_USD"]
    timeframe = "15m"
    source = "feed"
    strategy = "ema_cross"          # ema_cross, rsi, or a dotted path to your own
    params = { fast = 12, slow = 26 }
    name = "ema_12_26"              # its label in keys and signals; the strategy's name where left out
    alignment = "utc"               # utc, ny17, or an exchange such as XNYS
    calendar = "24/7"               # when the market trades: 24/7, 24/5, or an exchange
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dedup.alignment import Alignment
from dedup.errors import InvalidInput, InvalidSetting
from dedup.keys import check_label, normalize_instrument
from dedup.timeframe import Timeframe
from tasks.calendars import MarketCalendar, alignment_for, calendar_named
from tasks.sources import make_source
from tasks.sources.protocol import Source
from tasks.strategies import make_strategy
from tasks.strategies.protocol import Strategy


class _WatchTable(BaseModel):
    model_config = ConfigDict(extra="forbid")
    instruments: list[str] = Field(min_length=1)
    timeframe: str
    source: str
    strategy: str
    params: dict[str, Any] = Field(default_factory=dict)
    name: str = ""
    alignment: str = "utc"
    calendar: str = "24/7"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    sources: dict[str, dict[str, Any]] = Field(default_factory=dict)
    watch: list[_WatchTable] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class NamedStrategy:
    """A strategy and its label in keys and signals."""

    label: str
    strategy: Strategy


@dataclass(frozen=True, slots=True)
class Watch:
    """One instrument and timeframe, with every strategy that looks at its candles."""

    instrument: str
    timeframe: Timeframe
    alignment: Alignment
    calendar: MarketCalendar
    source_name: str
    source: Source
    strategies: tuple[NamedStrategy, ...]

    @property
    def warmup(self) -> int:
        """How many bars the hungriest strategy looks at."""
        return max(named.strategy.warmup for named in self.strategies)


@dataclass(frozen=True, slots=True)
class Watchlist:
    """Every watch, by instrument and timeframe."""

    watches: Mapping[tuple[str, str], Watch]

    def __iter__(self) -> Iterator[Watch]:
        return iter(self.watches.values())

    def __len__(self) -> int:
        return len(self.watches)

    def find(self, instrument: str, timeframe: str) -> Watch | None:
        """The watch of an instrument and timeframe."""
        return self.watches.get((normalize_instrument(instrument), str(Timeframe.parse(timeframe))))

    def closes(self) -> list[tuple[Timeframe, Alignment]]:
        """Each timeframe with each alignment that it is watched under: beat's entries."""
        found = {(str(watch.timeframe), watch.alignment.name): watch for watch in self}
        return [(watch.timeframe, watch.alignment) for watch in found.values()]

    def closing(self, timeframe: str, alignment: str) -> list[Watch]:
        """The watches whose candles close together."""
        return [watch for watch in self if (str(watch.timeframe), watch.alignment.name) == (timeframe, alignment)]


def chosen(watchlist: Watchlist, instruments: Sequence[str] = (), timeframe: str | None = None) -> list[Watch]:
    """The watches of these instruments and this timeframe; of all where none is named.

    Raises:
        InvalidInput: a name that is not watched.
    """
    wanted = {normalize_instrument(name) for name in instruments}
    length = None if timeframe is None else str(Timeframe.parse(timeframe))
    for what, names, watched in (
        ("instrument", wanted, {watch.instrument for watch in watchlist}),
        ("timeframe", {length} - {None}, {str(watch.timeframe) for watch in watchlist}),
    ):
        for name in sorted(map(str, names - watched)):
            raise InvalidInput(what, name, f"is not watched; there are {', '.join(sorted(watched))}")
    return [
        watch
        for watch in watchlist
        if (not wanted or watch.instrument in wanted) and length in (None, str(watch.timeframe))
    ]


def load_watchlist(path: Path, now: Callable[[], datetime]) -> Watchlist:
    """Read a watchlist file, and make its sources and strategies. Nothing connects.

    Raises:
        InvalidSetting: no such file, no TOML, an empty watchlist, an unknown name, the same entry twice.
        InvalidInput: an instrument, timeframe or label that is none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        remedy = f"cannot be read ({error.strerror}); copy tasks/pipeline.example.toml and point WATCHLIST at it"
        raise InvalidSetting("WATCHLIST", str(path), remedy) from None
    except UnicodeDecodeError:
        raise InvalidSetting("WATCHLIST", str(path), "is not UTF-8; save it as UTF-8") from None
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidSetting("WATCHLIST", str(path), f"is no TOML: {error}") from None
    return parse_watchlist(tables, str(path), now)


def parse_watchlist(tables: Mapping[str, Any], where: str, now: Callable[[], datetime]) -> Watchlist:
    """Make a watchlist of TOML tables; `where` names them in messages.

    Raises:
        InvalidInput: names the table, the key, the value and the remedy. Options of sources, which may be secrets, are
            shown by the source that refuses them or not at all.
    """
    try:
        file = _File.model_validate(tables)
    except ValidationError as error:
        raise _refusal(error, where) from None
    if not file.watch:
        raise InvalidSetting("WATCHLIST", where, "watches nothing: add a [[watch]] table")
    sources: dict[str, Source] = {}
    for name, options in file.sources.items():
        with _located(f"{where}: sources.{name}"):
            sources[name] = _source(dict(options), now)
    watches: dict[tuple[str, str], Watch] = {}
    for number, table in enumerate(file.watch, 1):
        with _located(f"{where}: watch {number}"):
            for watch in _expand(table, sources):
                key = (watch.instrument, str(watch.timeframe))
                watches[key] = _merged(watches[key], watch) if key in watches else watch
    return Watchlist(watches)


@contextmanager
def _located(where: str) -> Iterator[None]:
    """Say where in the file a value stands that is refused."""
    try:
        yield
    except InvalidInput as error:
        error.what = f"{where}: {error.what}"
        error.args = (error.what, error.value, error.remedy)
        raise


def _refusal(error: ValidationError, where: str) -> InvalidSetting:
    found = error.errors(include_url=False, include_context=False)
    # A key that is misspelt is also why another one is missing.
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    place, given, remedy = first["loc"], first["input"], first["msg"].replace("Input should be", "must be", 1)
    if first["type"] == "extra_forbidden":
        known = _WatchTable.model_fields if place[0] == "watch" else _File.model_fields
        remedy = f"is no key here; {_offered(str(place[-1]), known)}"
    elif first["type"] == "missing":
        given, remedy = "missing", "this key is needed"
    elif place == ("watch",):
        remedy = "write [[watch]], with two brackets on either side"
    elif place[0] == "sources":
        remedy = "must be a table: write [sources.NAME], and its options below"
    shown = f"a {type(given).__name__}" if place[0] == "sources" or not isinstance(given, str | int | float) else given
    return InvalidSetting(f"{where}: {_named(place)}", shown, remedy)


def _offered(key: str, known: Iterable[str]) -> str:
    similar = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {similar[0]}?" if similar else f"there are {', '.join(known)}"


def _named(place: tuple[int | str, ...]) -> str:
    """`("watch", 0, "timeframe")` as `watch 1: timeframe`."""
    if len(place) > 1 and place[0] == "watch" and isinstance(place[1], int):
        return ": ".join((f"watch {place[1] + 1}", *(str(part) for part in place[2:3])))
    return ".".join(str(part) for part in place)


def _source(options: dict[str, Any], now: Callable[[], datetime]) -> Source:
    kind = options.pop("kind", None)
    if not isinstance(kind, str):
        shown = "missing" if kind is None else f"a {type(kind).__name__}"
        raise InvalidSetting("kind", shown, 'name the kind of source, as in kind = "http"')
    return make_source(kind, options, now)


def _expand(table: _WatchTable, sources: Mapping[str, Source]) -> Iterator[Watch]:
    timeframe = Timeframe.parse(table.timeframe)
    source = sources.get(table.source)
    if source is None:
        offered = ", ".join(sources) or "none: add a [sources.NAME] table"
        raise InvalidSetting("source", table.source, f"this file defines {offered}")
    strategy = make_strategy(table.strategy, table.params)
    label = check_label("name", table.name or table.strategy.rpartition(".")[2].rpartition(":")[2])
    alignment, calendar = alignment_for(table.alignment), calendar_named(table.calendar)
    for given in table.instruments:
        instrument = normalize_instrument(given)
        named = NamedStrategy(label, strategy)
        yield Watch(instrument, timeframe, alignment, calendar, table.source, source, (named,))


def _merged(first: Watch, second: Watch) -> Watch:
    what = f"{first.instrument} {first.timeframe}"
    for name in ("source_name", "alignment", "calendar"):
        one, other = getattr(first, name), getattr(second, name)
        if one != other:
            shown = getattr(other, "name", other)
            remedy = f"{what} is watched with another {name.removesuffix('_name')} before; a candle has one"
            raise InvalidSetting(name.removesuffix("_name"), shown, remedy)
    labels = {named.label for named in first.strategies}
    twice = next((named.label for named in second.strategies if named.label in labels), None)
    if twice is not None:
        remedy = f"{what} has this entry already; drop one, or tell them apart with name = …"
        raise InvalidSetting("strategy", twice, remedy)
    return Watch(
        first.instrument,
        first.timeframe,
        first.alignment,
        first.calendar,
        first.source_name,
        first.source,
        first.strategies + second.strategies,
    )
