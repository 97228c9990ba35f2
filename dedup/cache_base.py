"""What the blocking and the awaited caches have in common: everything but the waiting.

A cache keeps two kinds of thing under its keys: records, which the claim protocol reads and writes, and plain values,
as the seed's caches did. A plain value under a record's key counts as DONE: whoever wrote it has dealt with it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from dedup.errors import InvalidInput
from dedup.flows import Flow
from dedup.keys import CANDLE, SIGNAL, candle_key, check_prefix, signal_key, since_key
from dedup.ops import Complete, Peek, Peeked, Resolution, Resolve
from dedup.records import Record, State
from dedup.rules import CandleRules, SignalRules, new_token
from dedup.signals import canonical_json
from dedup.stores.local import AsyncLocalStore, LocalStats, LocalStore
from dedup.stores.observed import AsyncObservedStore, ObservedStore
from dedup.stores.protocol import AsyncStore, Store
from dedup.timeframe import Timeframe

S = TypeVar("S", bound=Store | AsyncStore)

BATCH = 1000

MAX_SAID_CHARS = 300


class StoredRecord(NamedTuple):
    """A record and the key that it stands under."""

    key: str
    record: Record


def dump_value(value: Any) -> str:
    """A plain value as it is stored: text as it is, anything else as JSON. Text that reads like JSON is quoted, so that
    it comes back as text.

    Raises:
        InvalidSignal: it is no JSON.
    """
    if isinstance(value, str) and load_value(value) is value:
        return value
    return canonical_json(value).decode()


def load_value(text: str | None) -> Any:
    """A stored value: JSON where it is JSON, otherwise the text."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


class BaseCache(Generic[S]):
    """Keys, values and records under one namespace of a store."""

    def __init__(self, store: S, namespace: str, ttl_ms: int) -> None:
        self.store: S = store
        self._namespace = namespace
        self._ttl_ms = ttl_ms

    @property
    def source(self) -> str:
        """Where answers come from: `redis`, or `memory` (while Redis is away, or where it is not used)."""
        return self.store.source

    @property
    def local_stats(self) -> LocalStats | None:
        """How the local memory of what is DONE did in this process; None where nothing is remembered."""
        store = self.store.store if isinstance(self.store, (ObservedStore, AsyncObservedStore)) else self.store
        return store.answers.stats() if isinstance(store, (LocalStore, AsyncLocalStore)) else None

    def _ms(self, ttl_s: float | None) -> int:
        if ttl_s is None:
            return self._ttl_ms
        if not (math.isfinite(ttl_s) and ttl_s * 1000 >= 1):
            raise InvalidInput("ttl", ttl_s, "give a positive number of seconds")
        return int(ttl_s * 1000)

    def _scanned(self, pattern: str) -> str:
        return f"{self._namespace}*" if pattern == "*" else pattern

    def _own(self, keys: Iterable[str]) -> list[str]:
        """The cache's own among the keys, each once, in order. The server may hold anything beside them."""
        return sorted({key for key in keys if key.startswith(self._namespace)})

    def _clearing(self, keys: Sequence[str], dry_run: bool) -> Flow[int]:
        if dry_run:
            return len(keys)
        deleted = 0
        for batch in _batches(keys):
            deleted += yield self.store.delete(*batch)
        return deleted

    def _peeking(self, keys: Sequence[str]) -> Flow[list[Peeked]]:
        found: list[Peeked] = []
        for batch in _batches(keys):
            found += yield self.store.run_many([Peek(key) for key in batch])
        return found

    def _listing(self, keys: Sequence[str], state: State | None, limit: int | None) -> Flow[list[StoredRecord]]:
        found: list[StoredRecord] = []
        for batch in _batches(keys):
            peeked = yield from self._peeking(batch)
            found += [
                StoredRecord(key, reply.record)
                for key, reply in zip(batch, peeked, strict=True)
                if reply.record is not None and state in (None, reply.record.state)
            ]
            if limit is not None and len(found) >= limit:
                break
        return found[:limit]


class BaseCandleCache(BaseCache[S]):
    """Which candles have been worked.

    Args:
        store: where records live.
        rules: lease, TTL, cap.
        prefix: separates deployments that share a server.
    """

    def __init__(self, store: S, rules: CandleRules | None = None, prefix: str = "") -> None:
        self.rules = rules or CandleRules()
        self.prefix = check_prefix(prefix)
        super().__init__(store, f"{prefix}{CANDLE}:", self.rules.ttl_ms)

    def key(self, instrument: str, timeframe: Timeframe | str, start: datetime) -> str:
        """``candle:{instrument}:{timeframe}:{start}``."""
        return candle_key(instrument, timeframe, start, self.prefix)

    def _completion(self, key: str, token: str, outcome: str, value: Any, reason: str) -> Complete:
        text = "" if value is None else canonical_json(value).decode()
        return self.rules.complete(key, token, outcome, text, reason)


class BaseSignalPublishCache(BaseCache[S]):
    """Which signals have been published.

    Args:
        store: where records live. Every publisher must use the same one.
        rules: lease, TTLs, and what follows a doubt.
        prefix: separates deployments that share a server.
    """

    def __init__(self, store: S, rules: SignalRules | None = None, prefix: str = "") -> None:
        self.rules = rules or SignalRules()
        self.prefix = check_prefix(prefix)
        super().__init__(store, f"{prefix}{SIGNAL}:", self.rules.ttl_ms)

    @property
    def since_key(self) -> str:
        """The mark of when the store's memory began."""
        return since_key(self.prefix)

    def key(
        self,
        instrument: str,
        start: datetime,
        timeframe: Timeframe | str | None = None,
        strategy: str | None = None,
    ) -> str:
        """``signal:publish:{instrument}:{start}``, with what of timeframe and strategy is given behind it."""
        return signal_key(instrument, start, timeframe, strategy, self.prefix)

    def key_of(self, fields: Mapping[str, Any], start: datetime) -> str:
        """The key of a signal's fields."""
        return self.key(fields["instrument"], start, fields.get("timeframe"), fields.get("strategy"))

    def _resolution(self, key: str, seen: Record, resolution: Resolution, by: str, why: str) -> Resolve:
        check_said(by, why)
        return self.rules.resolve(key, new_token(), seen, resolution, by, why)


def check_state(state: State | str | None) -> State | None:
    """A state by its name.

    Raises:
        InvalidInput: there is no such state.
    """
    try:
        return None if state is None else State(state)
    except ValueError:
        raise InvalidInput("state", str(state), f"write one of {', '.join(State)}") from None


def check_said(by: str, why: str) -> None:
    """Refuse a decision that nobody answers for.

    Raises:
        InvalidInput: who or why is empty, or too long for a record.
    """
    for name, said in (("by", by), ("why", why)):
        if not said.strip() or len(said) > MAX_SAID_CHARS:
            shown = said[:MAX_SAID_CHARS]
            raise InvalidInput(name, shown, f"write 1 to {MAX_SAID_CHARS} characters: it is kept in the record")


def _batches(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[at : at + BATCH] for at in range(0, len(keys), BATCH))
