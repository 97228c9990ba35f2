"""CandleCache and SignalPublishCache: the two kinds of record, each over a store with its rules.

Beside the claim protocol they keep plain values as the seed's caches did (`get`, `set`, `exists`, `delete`, `clear`). A
plain value under a record's key counts as DONE: whoever wrote it has dealt with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dedup.keys import candle_key, check_prefix, signal_key, since_key
from dedup.ops import Claimed, Op, Peek, Peeked, Settled
from dedup.records import Record
from dedup.rules import CandleRules, SignalRules
from dedup.signals import canonical_json
from dedup.stores.protocol import Store
from dedup.timeframe import Timeframe

PEEK_BATCH = 1000


def dump_value(value: Any) -> str:
    """A plain value as it is stored: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else canonical_json(value).decode()


def load_value(text: str | None) -> Any:
    """A stored value: JSON where it is JSON, otherwise the text."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


class ValueCache:
    """Plain values with a TTL over a store.

    Args:
        store: where values live.
        default_ttl_s: how long a value is kept where `set` does not say.
    """

    def __init__(self, store: Store, default_ttl_s: float) -> None:
        self.store = store
        self._default_ttl_s = default_ttl_s

    @property
    def source(self) -> str:
        """`redis` or `memory`."""
        return self.store.source

    def get(self, key: str) -> Any:
        """The value, None where there is none."""
        return load_value(self.store.get(key))

    def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Keep a value for `ttl` seconds."""
        ttl_s = self._default_ttl_s if ttl is None else ttl
        self.store.put(key, dump_value(value), int(ttl_s * 1000))

    def exists(self, key: str) -> bool:
        """Whether there is a value. To decide whether to work, claim instead: between this and a `set` others come."""
        return self.store.get(key) is not None

    def delete(self, key: str) -> bool:
        """Delete a value and say whether there was one."""
        return self.store.delete(key) > 0

    def clear(self, pattern: str = "*") -> int:
        """Delete what matches a glob pattern and say how many keys that were. Walks with SCAN, never KEYS."""
        keys = list(dict.fromkeys(self.store.scan(pattern)))
        return sum(self.store.delete(*keys[at : at + PEEK_BATCH]) for at in range(0, len(keys), PEEK_BATCH))

    def peek_many(self, keys: Sequence[str]) -> list[Peeked]:
        """Read records in pipelined batches and change nothing."""
        found: list[Peeked] = []
        for at in range(0, len(keys), PEEK_BATCH):
            found += self.store.run_many([Peek(key) for key in keys[at : at + PEEK_BATCH]])
        return found

    def record(self, key: str) -> Record | None:
        """The record under a key."""
        return self.peek_many([key])[0].record


class CandleCache(ValueCache):
    """Which candles have been worked.

    Args:
        store: where records live.
        rules: lease, TTL, cap.
        prefix: separates deployments that share a server.
    """

    def __init__(self, store: Store, rules: CandleRules | None = None, prefix: str = "") -> None:
        self.rules = rules or CandleRules()
        self.prefix = check_prefix(prefix)
        super().__init__(store, self.rules.ttl_ms / 1000)

    def key(self, instrument: str, timeframe: Timeframe | str, start: datetime) -> str:
        """``candle:{instrument}:{timeframe}:{start}``."""
        return candle_key(instrument, timeframe, start, self.prefix)

    def claim(self, key: str, token: str) -> Claimed:
        """Claim a candle for one delivery."""
        return self.store.run(self.rules.claim(key, token))

    def complete(self, key: str, token: str, outcome: str, value: Any = None, reason: str = "") -> Settled:
        """The candle was worked and its signals are in the broker; `value` is kept with it."""
        text = "" if value is None else canonical_json(value).decode()
        return self.store.run(self.rules.complete(key, token, outcome, text, reason))

    def release(self, key: str, token: str, reason: str, retry_s: float = 0, failed: bool = False) -> Settled:
        """Give the candle back; `failed` counts towards the cap."""
        return self.store.run(self.rules.release(key, token, reason, retry_s, failed))


class SignalPublishCache(ValueCache):
    """Which signals have been published.

    Args:
        store: where records live. Every publisher must use the same one.
        rules: lease, TTLs, and what follows a doubt.
        prefix: separates deployments that share a server.
    """

    def __init__(self, store: Store, rules: SignalRules | None = None, prefix: str = "") -> None:
        self.rules = rules or SignalRules()
        self.prefix = check_prefix(prefix)
        super().__init__(store, self.rules.ttl_ms / 1000)

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

    def begin(self) -> int:
        """Let the store's memory begin now unless it has begun, and say when it began, ms by the store's clock."""
        return self.store.run(self.rules.begin(self.since_key)).since_ms

    def ask(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """Run a publisher's operations in one round trip."""
        return self.store.run_many(ops)
