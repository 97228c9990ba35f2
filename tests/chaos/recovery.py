"""How long things took: from a close to its POST, and from a fault until all was well again. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

from tests.chaos.judge import Arrived, Due, Name


@dataclass(frozen=True, slots=True)
class Spread:
    """Some durations, told by three of them, seconds."""

    count: int
    p50: float
    p99: float
    longest: float

    def __str__(self) -> str:
        return f"{self.p50:.1f} / {self.p99:.1f} / {self.longest:.1f} s" if self.count else "-"


def spread_of(seconds: Iterable[float]) -> Spread:
    """By the nearest rank: each is one of the given durations."""
    found = sorted(seconds)
    if not found:
        return Spread(0, math.nan, math.nan, math.nan)

    def rank(share: float) -> float:
        return found[max(0, math.ceil(share * len(found)) - 1)]

    return Spread(len(found), rank(0.5), rank(0.99), found[-1])


def effects_at(posts: Iterable[Arrived]) -> dict[Name, datetime]:
    """When each signal had its first effect."""
    found: dict[Name, datetime] = {}
    for post in posts:
        if post.effect and post.name is not None:
            found[post.name] = min(found.get(post.name, post.at), post.at)
    return found


def waits_s(due: Mapping[Name, Due], effects: Mapping[Name, datetime]) -> list[float]:
    """From each signal's close to its effect."""
    return [(at - due[name].close_at).total_seconds() for name, at in effects.items() if name in due]


def recoveries_s(
    due: Mapping[Name, Due], effects: Mapping[Name, datetime], spans: Sequence[tuple[datetime, datetime]]
) -> list[float]:
    """From the beginning of each fault until every signal due by its end had had its effect.

    Where faults overlap, the time to recover from one holds that of the others: an upper bound. Signals that had no
    effect are left out; 0 where all had theirs already.

    Args:
        spans: beginning and end of each fault.
    """
    rows = sorted((due[name].close_at, at) for name, at in effects.items() if name in due)
    closes = [close for close, _ in rows]
    all_posted_at = list(accumulate((at for _, at in rows), max))
    found = []
    for began, ended in spans:
        count = bisect_right(closes, ended)
        left_s = (all_posted_at[count - 1] - began).total_seconds() if count else 0.0
        found.append(max(0.0, left_s))
    return found
