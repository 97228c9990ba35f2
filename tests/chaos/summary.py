"""A run in numbers: what of its evidence goes into a report. Runs add up. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from tests.chaos.judge import Verdict
from tests.chaos.recovery import effects_at, recoveries_s, waits_s
from tests.chaos.running import Result

COUNTED = ("due", "posts", "refused", "distinct")
NAMED = ("twice", "lost", "unasked", "contradicted", "held", "rejected", "expired")


@dataclass(frozen=True)
class Summary:
    """The numbers of one run, or of several.

    Attributes:
        runs: how many.
        seeds: of their schedules.
        began: the first close.
        took_s: from the first close until it had settled, summed.
        counts: by the attributes of `Verdict`.
        misbehaved: POSTs that the API met with one of its faults.
        restarts: processes that were started again.
        waits_s: from each signal's close to its effect.
        recovered_s: from each fault until all was well, by kind.
        failed: faults that could not be done, by kind.
    """

    runs: int
    seeds: tuple[int, ...]
    began: datetime
    took_s: float
    counts: Counter[str]
    misbehaved: int
    restarts: int
    waits_s: Sequence[float]
    recovered_s: dict[str, list[float]]
    failed: Counter[str]

    @property
    def faults(self) -> int:
        """How many were done."""
        return sum(map(len, self.recovered_s.values()))


def summary_of(result: Result) -> Summary:
    """One run in numbers."""
    effects = effects_at(result.arrived)
    done = [one for one in result.struck if one.done]
    recovered: dict[str, list[float]] = {}
    times = recoveries_s(result.due, effects, [(one.began, one.ended) for one in done])
    for one, seconds in zip(done, times, strict=True):
        recovered.setdefault(one.fault.kind, []).append(seconds)
    return Summary(
        runs=1,
        seeds=(result.options.seed,),
        began=min(due.close_at for due in result.due.values()),
        took_s=result.took_s,
        counts=_counts(result.verdict),
        misbehaved=sum(1 for post in result.posts if post.decision and post.decision.fault),
        restarts=sum(result.restarts.values()),
        waits_s=waits_s(result.due, effects),
        recovered_s=recovered,
        failed=Counter(one.fault.kind for one in result.struck if not one.done),
    )


def total(summaries: Iterable[Summary]) -> Summary:
    """Several runs in numbers."""
    found = list(summaries)
    recovered: dict[str, list[float]] = {}
    for one in found:
        for kind, times in one.recovered_s.items():
            recovered.setdefault(kind, []).extend(times)
    return Summary(
        runs=sum(one.runs for one in found),
        seeds=tuple(seed for one in found for seed in one.seeds),
        began=min(one.began for one in found),
        took_s=sum(one.took_s for one in found),
        counts=sum((one.counts for one in found), Counter()),
        misbehaved=sum(one.misbehaved for one in found),
        restarts=sum(one.restarts for one in found),
        waits_s=[wait for one in found for wait in one.waits_s],
        recovered_s=recovered,
        failed=sum((one.failed for one in found), Counter()),
    )


def _counts(verdict: Verdict) -> Counter[str]:
    counts = {name: getattr(verdict, name) for name in COUNTED}
    return Counter({**counts, **{name: len(getattr(verdict, name)) for name in NAMED}})
