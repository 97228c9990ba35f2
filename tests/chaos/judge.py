"""The verdict on a run, from the API's own log, what was due, and the records. Pure.

A signal is known by what its body says of it, not by the id that its sender gave it: so two effects for one candle show
even under two ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

Policy = Literal["resend", "hold"]


class Name(NamedTuple):
    """What tells a signal from others."""

    strategy: str
    instrument: str
    timeframe: str
    candle_start: str

    def __str__(self) -> str:
        return f"{self.strategy} {self.instrument} {self.timeframe} {self.candle_start}"


@dataclass(frozen=True, slots=True)
class Due:
    """A signal that is due.

    Attributes:
        close_at: when its candle closes, wall time.
    """

    close_at: datetime


@dataclass(frozen=True, slots=True)
class Arrived:
    """One POST as the API's log has it.

    Attributes:
        name: by its body; None where the body is none of a signal, or did not arrive whole.
        key: its Idempotency-Key.
        at: when it arrived.
        effect: whether it newly committed a signal.
        refused: the API said that it did nothing and may be asked again, and said it to the end (429, 503 with
            Retry-After): no POST that counts as one.
    """

    name: Name | None
    key: str
    at: datetime
    effect: bool
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Fate:
    """How the store says that a signal ended.

    Attributes:
        outcome: `posted`, `held`, `rejected`, `expired` …; empty where it is still open.
        reason: in words.
    """

    outcome: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of what was due.

    Attributes:
        due: how many signals were.
        posts, refused, distinct: POSTs at the API, those it refused for now, and signals with an effect.
        twice: more than one effect; under `hold` also more than one POST that was not refused.
        lost: due, without an effect, and without an end and a reason in the store that the policy allows.
        unasked: an effect that nothing was due for.
        contradicted: POSTED in the store, and no effect at the API.
        held, rejected, expired: without an effect, with a reason.
    """

    due: int
    posts: int
    refused: int
    distinct: int
    twice: tuple[Name, ...]
    lost: tuple[Name, ...]
    unasked: tuple[str, ...]
    contradicted: tuple[Name, ...]
    held: tuple[Name, ...]
    rejected: tuple[Name, ...]
    expired: tuple[Name, ...]

    @property
    def good(self) -> bool:
        """Nothing twice, nothing lost, nothing that nobody asked for, nothing claimed that is not so."""
        return not (self.twice or self.lost or self.unasked or self.contradicted)

    @property
    def offending(self) -> tuple[Name, ...]:
        """The signals that break the promise."""
        return tuple(dict.fromkeys((*self.twice, *self.lost, *self.contradicted)))

    def __str__(self) -> str:
        return (
            f"{self.due} due, {self.distinct} posted, {len(self.twice)} twice, {len(self.lost)} lost, "
            f"{len(self.held)} held, {len(self.rejected)} rejected, {len(self.expired)} expired, "
            f"{len(self.unasked)} unasked, {len(self.contradicted)} contradicted, in {self.posts} POSTs"
        )


ENDS: Mapping[Policy, frozenset[str]] = {
    "resend": frozenset(),
    "hold": frozenset({"held", "rejected", "expired"}),
}
"""How a signal may end without an effect, if the store says why."""


def judge(due: Mapping[Name, Due], posts: Iterable[Arrived], fates: Mapping[Name, Fate], policy: Policy) -> Verdict:
    """Hold what arrived against what was due.

    Args:
        fates: of the signals that are due, by the store.
        policy: `resend` before an API that has each effect once: every signal has its effect. `hold` before any API:
            at most one POST, and whatever has no effect says why.
    """
    effects: Counter[Name] = Counter()
    tries: Counter[Name] = Counter()
    unasked: list[str] = []
    total = refused = 0
    for post in posts:
        total += 1
        refused += post.refused
        if post.name is None or post.name not in due:
            unasked += [f"{post.name or 'no signal'} under {post.key}"] if post.effect else []
            continue
        effects[post.name] += post.effect
        tries[post.name] += not post.refused
    counted = effects if policy == "resend" else effects | tries
    without = {name: fates.get(name, Fate()) for name in due if not effects[name]}
    ended = {name: fate.outcome for name, fate in without.items() if fate.outcome in ENDS[policy] and fate.reason}
    return Verdict(
        due=len(due),
        posts=total,
        refused=refused,
        distinct=sum(1 for name in due if effects[name]),
        twice=tuple(name for name in due if counted[name] > 1),
        lost=tuple(name for name in without if name not in ended),
        unasked=tuple(unasked),
        contradicted=tuple(name for name, fate in without.items() if fate.outcome == "posted"),
        held=_ended(ended, "held"),
        rejected=_ended(ended, "rejected"),
        expired=_ended(ended, "expired"),
    )


def _ended(ended: Mapping[Name, str], outcome: str) -> tuple[Name, ...]:
    return tuple(name for name, found in ended.items() if found == outcome)
