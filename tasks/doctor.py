"""`celery -A tasks doctor`: everything that the pipeline relies on, looked at before it has to work.

Reads only: nothing is claimed, nothing is enqueued, nothing is posted. Whatever is broken is a finding, settings
included, and what can still be looked at is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import requests
from pydantic import ValidationError
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dedup.delivery import HttpDelivery, Verdict
from dedup.errors import DedupError, InvalidInput
from dedup.http_outcome import shown_url
from dedup.keys import since_key
from dedup.preflight import Finding, Level, findings, worst
from dedup.rules import OnUnknown
from dedup.stores.connect import redact
from dedup.stores.inspection import inspect_all
from tasks.queues import PATIENCE_S, queue_lengths, unreadable_count
from tasks.runtime import delivery_options
from tasks.settings import Settings, load_settings
from tasks.transport import UNREADABLE
from tasks.watchlist import Watchlist, load_watchlist

PROBE_ID = "candlelatch-doctor"

BROKER_CHECKS = (
    "reachable",
    "role",
    "maxmemory-policy",
    "memory",
    "persistence",
    "AOF writes",
    "snapshots",
    "Sentinels",
)
"""What of a server's findings concerns a broker: it too must lose nothing."""

_SIGNS = {Level.OK: ("ok", "green"), Level.WARN: ("warn", "yellow"), Level.FAIL: ("FAIL", "bold red")}


@dataclass(frozen=True, slots=True)
class Section:
    """Findings about one thing."""

    title: str
    findings: tuple[Finding, ...]


def examine(**overrides: Any) -> list[Section]:
    """Look at everything.

    Args:
        overrides: settings by name, over the environment.
    """
    sections = [Section("Settings", tuple(_settings_findings(**overrides)))]
    try:
        # As they are: what breaks the protocol has been said, and the rest is worth a look all the same.
        settings = Settings(**overrides)
    except (ValidationError, UnicodeDecodeError):
        return sections
    for title, look in (
        ("Watchlist", _watchlist),
        ("Redis", _redis),
        ("Broker", _broker),
        ("Signal API", _api),
    ):
        sections += _sections(title, look, settings)
    return sections


def _sections(title: str, look: Callable[[Settings], Iterable[Section]], settings: Settings) -> list[Section]:
    try:
        return list(look(settings))
    except InvalidInput as error:
        return [Section(title, (Finding(Level.FAIL, error.what, error.value or "(empty)", error.remedy),))]
    except DedupError as error:
        return [Section(title, (Finding(Level.FAIL, title, str(error), "see the message"),))]


def _settings_findings(**overrides: Any) -> Iterator[Finding]:
    try:
        settings = load_settings(**overrides)
    except InvalidInput as error:
        yield Finding(Level.FAIL, error.what, error.value or "(empty)", error.remedy)
        return
    orders = (
        ("publishing", ("http_deadline", "publish_time_limit", "publish_lease")),
        ("candles", ("candle_time_limit", "candle_lease")),
        ("records", ("sweep_grace", "horizon", "signal_ttl")),
    )
    for check, names in orders:
        yield Finding(Level.OK, check, " < ".join(f"{name.upper()} {getattr(settings, name):g} s" for name in names))
    if settings.on_unknown is OnUnknown.RESEND:
        said = "resend: right only where the API honours Idempotency-Key"
        yield Finding(Level.OK, "ON_UNKNOWN", said)
    else:
        yield Finding(Level.OK, "ON_UNKNOWN", settings.on_unknown.value)
    if not settings.redis_enabled:
        remedy = "set REDIS_ENABLED=true wherever more than one process works, or work must outlive one"
        yield Finding(Level.WARN, "REDIS_ENABLED", "false: records are in one process's memory", remedy)
    if settings.signal_fallback == "memory":
        remedy = "set SIGNAL_FALLBACK=refuse: in memory two workers may post the same signal"
        yield Finding(Level.WARN, "SIGNAL_FALLBACK", "memory", remedy)


def _watchlist(settings: Settings) -> Iterator[Section]:
    watchlist = load_watchlist(settings.watchlist, settings.clock.now)
    yield Section("Watchlist", tuple(_watchlist_findings(settings, watchlist)))


def _watchlist_findings(settings: Settings, watchlist: Watchlist) -> Iterator[Finding]:
    if not len(watchlist):
        yield Finding(
            Level.WARN, "watches", f"none in {settings.watchlist}", "add a [[watch]], or nothing is evaluated"
        )
        return
    timeframes = sorted({str(watch.timeframe) for watch in watchlist})
    instruments = {watch.instrument for watch in watchlist}
    said = f"{len(watchlist)}: {len(instruments)} instruments at {', '.join(timeframes)}"
    yield Finding(Level.OK, "watches", said)
    yield Finding(Level.OK, "sources", ", ".join(sorted({watch.source_name for watch in watchlist})))
    labels = sorted({named.label for watch in watchlist for named in watch.strategies})
    yield Finding(Level.OK, "strategies", ", ".join(labels))


def _redis(settings: Settings) -> Iterator[Section]:
    if not settings.redis_enabled:
        return
    for facts in inspect_all(settings.redis_url.get_secret_value(), since_key(settings.key_prefix)):
        yield Section(f"Redis {facts.address}", tuple(findings(facts, settings.dedup_durability)))


def _broker(settings: Settings) -> Iterator[Section]:
    broker = settings.broker
    title, found = f"Broker {redact(settings.broker_url)}", list[Finding]()
    if broker.is_redis:
        facts = inspect_all(settings.broker_url, since_key(settings.key_prefix))[0]
        found += [one for one in findings(facts) if one.check in BROKER_CHECKS and one.level is not Level.OK]
        limit_s = max(settings.publish_time_limit, settings.candle_time_limit)
        said = f"{settings.visibility_timeout:g} s; tasks end within {limit_s:g} s"
        if settings.visibility_timeout < 3 * limit_s:
            remedy = "must be at least 3 x the longest time limit, or running work is delivered again"
            found.append(Finding(Level.FAIL, "VISIBILITY_TIMEOUT", said, remedy))
        else:
            said += f", no countdown is longer than {settings.longest_wait_s:g} s"
            found.append(Finding(Level.OK, "VISIBILITY_TIMEOUT", said))
        if facts.error:
            yield Section(title, tuple(found))
            return
    found += _queues(settings)
    yield Section(title, tuple(found))


def _queues(settings: Settings) -> Iterator[Finding]:
    try:
        waiting, unreadable = queue_lengths(settings), unreadable_count(settings)
    except Exception as error:
        # Each transport raises its own.
        remedy = "check CELERY_BROKER_URL, and that the broker is running and lets this machine in"
        yield Finding(Level.FAIL, "queues", f"{type(error).__name__}: {error}", remedy)
        return
    yield Finding(Level.OK, "queues", ", ".join(f"{name} {_shown(count)}" for name, count in waiting.items()))
    if unreadable:
        remedy = (
            f"somebody else writes to this broker: look (LRANGE {UNREADABLE} 0 -1), find out who, then delete the list"
        )
        yield Finding(Level.WARN, "unreadable", f"{unreadable} messages set aside", remedy)


def _shown(count: int | None) -> str:
    return "not declared yet" if count is None else f"{count} waiting"


def _api(settings: Settings) -> Iterator[Section]:
    options = delivery_options(settings)
    found = [_answers(settings.signal_api_url), _encrypted(settings.signal_api_url)]
    if not options.secrets:
        remedy = "set SIGNAL_API_SECRET, and have the API check the signature"
        found.append(Finding(Level.WARN, "signature", "none: whoever reaches the API can post signals", remedy))
    if settings.on_unknown is OnUnknown.LOOKUP:
        found.append(_look_up(HttpDelivery(options)))
    yield Section(f"Signal API {shown_url(settings.signal_api_url)}", tuple(found))


def _answers(url: str) -> Finding:
    with requests.Session() as session:
        # As signals are sent: straight, and nowhere else.
        session.trust_env = False
        try:
            reply = session.head(url, timeout=PATIENCE_S, allow_redirects=False)
        except requests.RequestException as error:
            remedy = "check SIGNAL_API_URL, and that the API is running and its certificate is trusted"
            return Finding(Level.FAIL, "answers", _cause(error), remedy)
    said = f"HTTP {reply.status_code} to a HEAD request"
    if reply.is_redirect:
        remedy = "write the address that it redirects to: redirects are not followed, and such a signal is rejected"
        return Finding(Level.FAIL, "answers", said, remedy)
    # 501: it knows POST only, and says so.
    if reply.status_code >= 500 and reply.status_code != 501:
        return Finding(Level.WARN, "answers", said, "look at the API: it may refuse signals as well")
    return Finding(Level.OK, "answers", said)


def _cause(error: Exception) -> str:
    """The innermost reason. The outer ones quote the URL, which may hold a password."""
    reason: Any = error
    while True:
        inner = getattr(reason, "reason", None) or next((a for a in reason.args if isinstance(a, Exception)), None)
        if not isinstance(inner, Exception):
            break
        reason = inner
    return f"{type(error).__name__}: {type(reason).__name__}"


def _encrypted(url: str) -> Finding:
    here = ("http://localhost", "http://127.", "http://[::1]")
    if url.startswith("https://"):
        return Finding(Level.OK, "TLS", "certificate checked")
    if url.startswith(here):
        return Finding(Level.OK, "TLS", "none, on this machine")
    return Finding(Level.WARN, "TLS", "none", "write https://: signals can be read, and answers forged, on the way")


def _look_up(delivery: HttpDelivery) -> Finding:
    told = delivery.look_up(PROBE_ID)
    if told.verdict is Verdict.POSTED:
        remedy = "correct SIGNAL_LOOKUP_URL: signals that were never posted would be taken for posted"
        return Finding(Level.FAIL, "look-up", "it claims to have an id that it cannot have", remedy)
    if told.status in (404, 410):
        return Finding(Level.OK, "look-up", f"HTTP {told.status} for an id that it cannot have")
    remedy = "correct SIGNAL_LOOKUP_URL: an id that the API does not have is to be answered by 404"
    return Finding(Level.WARN, "look-up", told.reason, remedy)


def verdict(sections: Iterable[Section]) -> Level:
    """The worst of all findings."""
    return worst(finding for section in sections for finding in section.findings)


def as_json(sections: Iterable[Section]) -> dict[str, Any]:
    """For machines: ``{"level": …, "findings": [{"section", "level", "check", "found", "remedy"}]}``."""
    listed = list(sections)
    flat = [{"section": section.title, **asdict(finding)} for section in listed for finding in section.findings]
    return {"level": verdict(listed), "findings": flat}


def as_table(sections: Iterable[Section]) -> RenderableType:
    """For people."""
    parts: list[RenderableType] = []
    for section in sections:
        table = Table(title=section.title, title_justify="left", title_style="bold", show_header=False, box=None)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for finding in section.findings:
            sign, style = _SIGNS[finding.level]
            said = Text(finding.found)
            if finding.remedy:
                said.append(f"\n{finding.remedy}", style="italic")
            table.add_row(Text(sign, style=style), Text(finding.check), said)
        parts += [table, Text()]
    return Group(*parts)
