"""The addresses to ask for the bars around a candle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, quote, urlsplit

from dedup.errors import InvalidSetting
from dedup.timeframe import Candle
from tasks.sources import options
from tasks.sources.naming import FeedNames, placeholders

_PLACEHOLDERS = frozenset({"instrument", "timeframe", "start", "end", "count"})
TIMES = ("iso", "s", "ms")

_WIDER = (1, 4, 16)
# A weekend and a holiday on either side of it.
_SHUT = timedelta(days=4)


@dataclass(frozen=True, slots=True)
class Span:
    """How far around the candle to ask, in steps: 0 is the usual, and the widest reaches over a weekend."""

    before: int = 0
    after: int = 0

    def wider(self, *, before: bool, after: bool) -> Span | None:
        """The span to ask next, wider on the sides named; None where there is nothing left to widen."""
        widest = len(_WIDER) - 1
        wider = Span(min(self.before + before, widest), min(self.after + after, widest))
        return None if wider == self else wider

    def reach_before(self, usual: timedelta) -> timedelta:
        """How far to look back where `usual` is enough while the market is open."""
        return _reach(usual, self.before)

    def reach_after(self, usual: timedelta) -> timedelta:
        """The same for looking ahead."""
        return _reach(usual, self.after)


def _reach(usual: timedelta, step: int) -> timedelta:
    reach = usual * _WIDER[step]
    return max(reach, _SHUT) if step == len(_WIDER) - 1 else reach


@dataclass(frozen=True, slots=True)
class UrlTemplate:
    """An address with placeholders.

    Attributes:
        template: the address.
        names: what the feed calls instruments and timeframes.
        times: how `{start}` and `{end}` are written: `iso`, `s` or `ms`.
        stretch: how many times the nominal length of the bars asked for `{start}` reaches back, as nights and weekends
            have none.
        used: the placeholders in the template.
    """

    template: str
    names: FeedNames
    times: str
    stretch: float
    used: frozenset[str]

    @classmethod
    def from_options(cls, url: object, names: FeedNames, request_time: object, stretch: object) -> UrlTemplate:
        """From the options of the source `http`.

        Raises:
            InvalidSetting: an option that is wrong. The message does not show the address, which may hold a secret.
        """
        template = options.string("http.url", url)
        used = placeholders("http.url", template, _PLACEHOLDERS)
        _check_address(template)
        for name, only in (("instrument", names.instrument), ("timeframe", names.timeframe)):
            if name not in used and only is None:
                remedy = f"write {{{name}}} in it, or add {name} = to the source, if it serves only one"
                raise InvalidSetting("http.url", f"an address without {{{name}}}", remedy)
        times = options.choice("http.request_time", request_time, TIMES)
        return cls(template, names, times, options.number("http.stretch", stretch, least=1), used)

    @property
    def host(self) -> str:
        """The host asked, which may be shown."""
        return urlsplit(self.template).netloc

    @property
    def secrets(self) -> list[str]:
        """Values in the template's query that may be keys, and so must not be shown."""
        pairs = parse_qsl(urlsplit(self.template).query)
        return [value for _, value in pairs if len(value) >= 8 and "{" not in value]

    def url(self, candle: Candle, count: int, now: datetime, span: Span) -> str:
        """The address that asks for `count` bars up to the candle and for what comes after it, as far as `now`."""
        length = candle.timeframe.length
        start = candle.start - span.reach_before(length * math.ceil((count - 1) * self.stretch))
        end = max(candle.close, min(now, candle.close + span.reach_after(length)))
        # Feeds that hold the end for inclusive give one bar more than the span is long.
        limit = count + 1 + math.ceil((end - candle.close) / length)
        values = {
            "instrument": self.names.symbol(candle),
            "timeframe": self.names.interval(candle),
            "start": _written(start, self.times),
            "end": _written(end, self.times),
            "count": str(limit),
        }
        return self.template.format(**{name: quote(value, safe="") for name, value in values.items()})


def _written(moment: datetime, form: str) -> str:
    if form == "iso":
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    seconds = moment.timestamp()
    return str(round(seconds * 1000) if form == "ms" else int(seconds))


def _check_address(template: str) -> None:
    try:
        parts = urlsplit(template)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        raise InvalidSetting("http.url", "an address that cannot be read", "write http(s)://host/path") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_fits:
        raise InvalidSetting("http.url", f"an address with scheme {parts.scheme!r}", "write http(s)://host/path")
    if parts.username is not None or parts.password is not None:
        raise InvalidSetting("http.url", "an address with a password", "send credentials in the option headers")
    if "{" in parts.netloc:
        raise InvalidSetting("http.url", "an address with a placeholder in its host", "write the host in full")
