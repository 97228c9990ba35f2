"""One test for blocking and awaited code: `await told(call)` takes either."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import dedup
import dedup.aio


@dataclass(frozen=True)
class Flavour:
    """The names of one flavour.

    Attributes:
        names: `dedup` or `dedup.aio`.
    """

    names: ModuleType

    @property
    def awaited(self) -> bool:
        return self.names is dedup.aio

    async def candle_cache(self, **options: Any) -> Any:
        return await told(self.names.get_candle_cache(**options))

    async def signal_cache(self, **options: Any) -> Any:
        return await told(self.names.get_signal_publish_cache(**options))

    def memory(self, behind: dedup.MemoryStore) -> Any:
        """A store of this flavour before a memory."""
        return self.names.MemoryStore(behind) if self.awaited else behind


FLAVOURS = {"blocking": Flavour(dedup), "awaited": Flavour(dedup.aio)}


async def told(answer: Any) -> Any:
    """What was answered, once it is there."""
    return await answer if inspect.isawaitable(answer) else answer
