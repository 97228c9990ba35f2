"""Whether a server keeps the promise: findings from what it says of itself. Pure; `dedup.stores.inspection` asks it.

Each finding has a level. `fail`: something that is promised does not hold on this server. `warn`: it holds, at a price
that somebody should know of. `ok`: as it should be. Whatever is not ok comes with its remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from dedup.amnesia import Mark, Why

OLDEST = (7, 0)
MEMORY_WARN, MEMORY_FAIL = 0.75, 0.9
SKEW_WARN_MS, SKEW_FAIL_MS = 500, 5_000
LATENCY_WARN_MS = 20.0
YOUNG_MS = 3_600_000


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: how bad it is.
        check: what was looked at.
        found: what it is.
        remedy: what to do; empty where all is well.
    """

    level: Level
    check: str
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What one server says of itself.

    Attributes:
        address: where it is, without a password.
        error: why it could not be asked; empty where it could.
        info: of ``INFO``, None where this user may not ask for it.
        config: of ``CONFIG GET``, None where this user may not ask for it.
        skew_ms: by how much its clock is ahead of this machine's.
        latency_ms: of a round trip, the median of a few.
        now_ms: its clock.
        mark: what stands under ``dedup:since``, None where nothing does.
        waits_for_aof: whether it knows ``WAITAOF``; None where it does not say.
        cluster_state: ``ok`` or ``fail``, empty where it is no node of a Cluster.
        sentinels: how many Sentinels answer and how many were named; None where there are none in between.
    """

    address: str
    error: str = ""
    info: Mapping[str, object] | None = None
    config: Mapping[str, str] | None = None
    skew_ms: float = 0.0
    latency_ms: float = 0.0
    now_ms: int = 0
    mark: str | None = None
    waits_for_aof: bool | None = None
    cluster_state: str = ""
    sentinels: tuple[int, int] | None = None

    def number(self, name: str) -> int:
        """A number of ``INFO``; 0 where there is none."""
        value = (self.info or {}).get(name, 0)
        return int(value) if isinstance(value, (int, float, str)) and str(value).isdigit() else 0

    def text(self, name: str) -> str:
        """A text of ``INFO``; empty where there is none."""
        return str((self.info or {}).get(name, ""))


def worst(found: Iterable[Finding]) -> Level:
    """The worst level among findings."""
    order = list(Level)
    return max((finding.level for finding in found), key=order.index, default=Level.OK)


def findings(facts: ServerFacts, durability: str = "server") -> list[Finding]:
    """Everything there is to say about a server.

    Args:
        facts: what it says of itself.
        durability: `DEDUP_DURABILITY`, which the server must be able to do.
    """
    if facts.error:
        remedy = "check REDIS_URL, and that the server is running and lets this machine in"
        return [Finding(Level.FAIL, "reachable", facts.error, remedy), *_sentinels(facts)]
    found = [Finding(Level.OK, "reachable", facts.address), *_sentinels(facts), *_latency(facts), *_skew(facts)]
    if facts.info is None:
        remedy = "give this user the permission +info: without it restarts and evictions that lose records go unnoticed"
        return [*found, Finding(Level.FAIL, "INFO", "this user may not ask for it", remedy), *_since(facts)]
    for check in _CHECKS:
        found += check(facts)
    return [*found, *_durability(facts, durability), *_since(facts)]


def _sentinels(facts: ServerFacts) -> Iterator[Finding]:
    if facts.sentinels is None:
        return
    answer, named = facts.sentinels
    said = f"{answer} of {named} answer"
    if answer == 0:
        yield Finding(Level.FAIL, "Sentinels", said, "start them, or correct REDIS_URL")
    elif answer < named or named < 3:
        yield Finding(Level.WARN, "Sentinels", said, "run three, on three machines, and name all of them in REDIS_URL")
    else:
        yield Finding(Level.OK, "Sentinels", said)


def _latency(facts: ServerFacts) -> Iterator[Finding]:
    said = f"{facts.latency_ms:.2f} ms"
    if facts.latency_ms > LATENCY_WARN_MS:
        yield Finding(Level.WARN, "round trip", said, "each signal costs two or three: move workers and Redis together")
    else:
        yield Finding(Level.OK, "round trip", said)


def _skew(facts: ServerFacts) -> Iterator[Finding]:
    said = f"its clock is {abs(facts.skew_ms):.0f} ms {'ahead of' if facts.skew_ms > 0 else 'behind'} this machine's"
    level = Level.OK
    if abs(facts.skew_ms) > SKEW_WARN_MS:
        level = Level.FAIL if abs(facts.skew_ms) > SKEW_FAIL_MS else Level.WARN
    yield Finding(
        level, "clocks", said, "" if level is Level.OK else "let NTP (chrony) set the clocks of both machines"
    )


def _version(facts: ServerFacts) -> Iterator[Finding]:
    valkey = facts.text("valkey_version")
    version = valkey or facts.text("redis_version")
    said = f"{'Valkey' if valkey else 'Redis'} {version}"
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < OLDEST:
        yield Finding(Level.FAIL, "version", said, "upgrade to Redis 7.0 or later, or to Valkey")
    else:
        yield Finding(Level.OK, "version", said)


def _role(facts: ServerFacts) -> Iterator[Finding]:
    if facts.text("role") in ("slave", "replica"):
        remedy = "point REDIS_URL at the primary, or at Sentinels, which name it"
        yield Finding(Level.FAIL, "role", "a replica, which takes no writes", remedy)
    if facts.number("loading"):
        yield Finding(Level.WARN, "loading", "it is reading its data", "wait until it has")
    if facts.cluster_state and facts.cluster_state != "ok":
        remedy = "bring back the nodes whose slots are missing: redis-cli --cluster check"
        yield Finding(Level.FAIL, "Cluster", f"its state is {facts.cluster_state}", remedy)
    if facts.text("redis_mode") == "sentinel":
        yield Finding(Level.FAIL, "role", "a Sentinel", "write sentinel://host:port/service in REDIS_URL")


def _eviction(facts: ServerFacts) -> Iterator[Finding]:
    policy, limit, evicted = facts.text("maxmemory_policy"), facts.number("maxmemory"), facts.number("evicted_keys")
    if policy in ("noeviction", ""):
        yield Finding(Level.OK, "maxmemory-policy", policy or "not said")
    else:
        level = Level.FAIL if limit else Level.WARN
        said = policy if limit else f"{policy}, with no maxmemory so far"
        remedy = "set maxmemory-policy noeviction: a record that is evicted is forgotten, and its signal held"
        yield Finding(level, "maxmemory-policy", said, remedy)
    if evicted:
        remedy = "set maxmemory-policy noeviction and give it more memory: what was evicted is forgotten"
        yield Finding(Level.WARN, "evicted keys", f"{evicted} since its start", remedy)


def _memory(facts: ServerFacts) -> Iterator[Finding]:
    used, limit = facts.number("used_memory"), facts.number("maxmemory") or facts.number("total_system_memory")
    if not limit:
        return
    share = used / limit
    of = "maxmemory" if facts.number("maxmemory") else "the machine's memory"
    said = f"{share:.0%} of {of} ({_mib(used)} of {_mib(limit)} MiB)"
    if share > MEMORY_WARN:
        remedy = "raise maxmemory or shorten the TTLs: when it is full no claim can be made"
        yield Finding(Level.FAIL if share > MEMORY_FAIL else Level.WARN, "memory", said, remedy)
    else:
        yield Finding(Level.OK, "memory", said)


def _mib(count: int) -> int:
    return count // (1 << 20)


def _persistence(facts: ServerFacts) -> Iterator[Finding]:
    if not facts.number("aof_enabled"):
        remedy = "set appendonly yes and appendfsync always: a restart forgets what is not on the disk"
        yield Finding(Level.FAIL, "persistence", "no AOF", remedy)
    elif facts.config is not None:
        fsync = facts.config.get("appendfsync", "")
        if fsync == "always":
            yield Finding(Level.OK, "persistence", "AOF, fsync always")
        else:
            remedy = "set appendfsync always, or DEDUP_DURABILITY=aof: after a restart signals are held otherwise"
            yield Finding(Level.WARN, "persistence", f"AOF, fsync {fsync}", remedy)
    for name, what in (("aof_last_write_status", "AOF writes"), ("rdb_last_bgsave_status", "snapshots")):
        if facts.text(name) not in ("ok", ""):
            remedy = "free space on its disk or mend its data directory; its log says what failed"
            yield Finding(Level.FAIL, what, f"the last one failed ({name} {facts.text(name)})", remedy)


def _config(facts: ServerFacts) -> Iterator[Finding]:
    if facts.config is None:
        remedy = "give this user +config|get, or look after appendfsync and min-replicas-to-write yourself"
        yield Finding(Level.WARN, "CONFIG", "this user may not ask for it: nobody knows appendfsync", remedy)


def _replicas(facts: ServerFacts) -> Iterator[Finding]:
    count = facts.number("connected_slaves")
    if not count:
        yield Finding(Level.OK, "replicas", "none: while this server is away signals wait")
        return
    least = (facts.config or {}).get("min-replicas-to-write") or (facts.config or {}).get("min-slaves-to-write")
    said = f"{count} connected, min-replicas-to-write {least or 'unknown'}"
    if least == "0":
        remedy = "set min-replicas-to-write 1: a primary that is cut off otherwise goes on taking claims"
        yield Finding(Level.WARN, "replicas", said, remedy)
    else:
        yield Finding(Level.OK, "replicas", said)


_CHECKS: tuple[Callable[[ServerFacts], Iterator[Finding]], ...] = (
    _version,
    _role,
    _eviction,
    _memory,
    _persistence,
    _config,
    _replicas,
)


def _durability(facts: ServerFacts, durability: str) -> Iterator[Finding]:
    check = "DEDUP_DURABILITY"
    if durability == "aof" and (facts.waits_for_aof is False or not facts.number("aof_enabled")):
        remedy = "use Redis 7.2 or later or Valkey, with appendonly yes; or write server"
        yield Finding(Level.FAIL, check, "aof, which this server cannot do", remedy)
    elif durability.startswith("replicas:"):
        wanted, count = int(durability.partition(":")[2]), facts.number("connected_slaves")
        if count < wanted:
            remedy = "bring replicas back, or write a smaller number: until then no signal is posted"
            yield Finding(Level.FAIL, check, f"{durability}, but {count} are connected", remedy)
        else:
            yield Finding(Level.OK, check, durability)
    else:
        yield Finding(Level.OK, check, durability)


def _since(facts: ServerFacts) -> Iterator[Finding]:
    mark = Mark.loads(facts.mark) if facts.mark is not None else None
    if mark is None:
        remedy = "start a worker before the first candle closes: signals of candles that closed before are held"
        yield Finding(Level.WARN, "memory began", "not yet: no worker has been here", remedy)
        return
    moment = datetime.fromtimestamp(mark.since_ms / 1000, UTC).isoformat(timespec="seconds")
    lost = mark.why not in (Why.UNKNOWN, Why.MISSING)
    if lost and facts.now_ms - mark.since_ms < YOUNG_MS:
        remedy = "look at held signals, and keep the cause from coming back"
        yield Finding(Level.WARN, "memory began", f"{moment}, anew: {mark.why.in_words}", remedy)
    else:
        yield Finding(Level.OK, "memory began", moment)
