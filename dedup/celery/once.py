"""Once: what a task means by "once", and the operations on its record. Pure; no Celery here."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

from dedup.celery.keying import template_names
from dedup.errors import InvalidSetting
from dedup.ops import Claim, Complete, Doubt, Release

OnDuplicate = Literal["return", "skip", "raise"]
OnBusy = Literal["retry", "skip", "raise"]
OnOutage = Literal["retry", "raise", "run"]

LEASE_S = 3600.0
"""The lease of a task without a time limit. Celery's Redis transport delivers a message again after the same time."""

LEASE_MARGIN_S = 30.0
"""What a lease has beyond the time limit where it is not given."""

KILL_S = 2.0
"""What a lease must have beyond the time limit: Celery needs a moment to kill."""

DONE, REPLACED = "done", "replaced"
GIVEN_UP = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """The rules of one task.

    Attributes:
        key: what makes two deliveries the same work. A template over the arguments, such as ``"{instrument}:{day}"``;
            or a function that gets the arguments and gives something plain. By default all arguments, by name and with
            their defaults.
        key_args: names of arguments, in place of `key`.
        remember_s: for how long work that was done is not done again. 0 remembers nothing: then deliveries only never
            overlap, which suits a periodic task without arguments.
        lease_s: after how long another delivery may take over where a worker died. Longer than the task's time limit.
            By default `LEASE_MARGIN_S` more than it, and `LEASE_S` for a task that has none.
        effect: the work has an effect that cannot be taken back, such as a payment. Where it is cut off, nobody knows
            whether it happened: it is held for a person, not done again.
        resume: with `effect`: the other side recognises a repetition (`OnceClaim.key` is a good idempotency key), so
            another delivery goes on with what was cut off.
        held_s: for how long work that is held, or an effect's claim, is kept.
        on_duplicate: what a delivery of work that is done ends with: the first one's result, None, or `TaskDuplicate`.
        on_busy: what a delivery does while another one is at the work: comes back later, ends with None, or raises
            `TaskBusy`. One that ends is work lost if the other one's worker has died.
        on_outage: what a delivery does while the store gives no answer: comes back later, raises the `StoreError`, or
            runs without a claim.
        max_failures: deliveries that may die under the work before it is given up (with `effect`: held).
        max_wait_s: the longest time after which a delivery that waits comes back to look. Well below the broker's
            visibility timeout.
        max_result_bytes: of a result that is kept for duplicates, as JSON; 0 keeps none.

    Raises:
        InvalidSetting: names the option, the value and the remedy.
    """

    key: str | Callable[..., object] | None = None
    key_args: Sequence[str] | None = None
    remember_s: float = 86_400.0
    lease_s: float | None = None
    effect: bool = False
    resume: bool = False
    held_s: float = 2_592_000.0
    on_duplicate: OnDuplicate = "return"
    on_busy: OnBusy = "retry"
    on_outage: OnOutage = "retry"
    max_failures: int = 5
    max_wait_s: float = 60.0
    max_result_bytes: int = 16_384

    def __post_init__(self) -> None:
        for name, choices in (("on_duplicate", OnDuplicate), ("on_busy", OnBusy), ("on_outage", OnOutage)):
            if getattr(self, name) not in get_args(choices):
                raise _refused(name, getattr(self, name), f"write one of {', '.join(get_args(choices))}")
        self._check_numbers()
        self._check_key()
        if self.resume and not self.effect:
            raise _refused("resume", True, "set effect=True too: other work is taken over without it")
        if self.effect and not self.remember_s:
            raise _refused("remember_s", 0, "an effect has to be remembered: give a time longer than any redelivery")

    def _check_numbers(self) -> None:
        seconds = [each.name for each in fields(self) if each.name.endswith("_s")]
        for name in seconds:
            value = getattr(self, name)
            if name == "lease_s" and value is None:
                continue
            if not (_number(value) and (value > 0 or (name == "remember_s" and value == 0))):
                raise _refused(name, value, "give a positive number of seconds")
        for name, least in (("max_failures", 1), ("max_result_bytes", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise _refused(name, value, f"give a whole number from {least} on")

    def _check_key(self) -> None:
        if self.key is not None and self.key_args is not None:
            raise _refused("key_args", self.key_args, "give key or key_args, not both")
        if isinstance(self.key, str):
            if not template_names(self.key):
                raise _refused("key", self.key, 'name an argument in braces, as in "{order_id}"')
        elif self.key is not None and not callable(self.key):
            raise _refused("key", self.key, "give a template, a function, or nothing")
        if self.key_args is not None:
            names = [self.key_args] if isinstance(self.key_args, str) else list(self.key_args)
            if not names or not all(isinstance(name, str) for name in names):
                raise _refused("key_args", self.key_args, "give names of arguments")
            object.__setattr__(self, "key_args", tuple(names))

    def lease_for(self, task: str, hard_s: float | None, soft_s: float | None) -> float:
        """The lease in seconds for a task, or a delivery, with these time limits.

        Raises:
            InvalidSetting: the given lease ends before the time limit does; names both.
        """
        limit_s, name = (hard_s, "time_limit") if hard_s else (soft_s or 0.0, "soft_time_limit")
        if self.lease_s is None:
            return limit_s + LEASE_MARGIN_S if hard_s else max(LEASE_S, limit_s + LEASE_MARGIN_S)
        if limit_s and self.lease_s < limit_s + KILL_S:
            remedy = (
                f"must be at least {limit_s + KILL_S:g}, because {name} = {limit_s:g}: a delivery ends before it is "
                f"taken over. Raise it, or leave it out"
            )
            raise InvalidSetting(f"once.lease_s of {task}", f"{self.lease_s:g}", remedy)
        return self.lease_s

    def claim(self, key: str, token: str, lease_s: float) -> Claim:
        """Claim the work for one delivery."""
        return Claim(
            key,
            token,
            _ms(lease_s),
            max(self._ttl_ms, 2 * _ms(lease_s)),
            effect=self.effect,
            resume=self.resume,
            max_failures=self.max_failures,
            held_ttl_ms=_ms(self.held_s),
        )

    def complete(self, key: str, token: str, outcome: str, value: str) -> Complete:
        """The work was done: a fact, whoever holds the claim by now."""
        # What is not to be remembered is gone in a millisecond, and its count of failures with it.
        return Complete(key, token, outcome, max(1, _ms(self.remember_s)), value=value)

    def release(self, key: str, token: str, reason: str, retry_s: float = 0, died: bool = False) -> Release:
        """Nothing happened, or nothing that may not happen again."""
        return Release(key, token, max(self._ttl_ms, _ms(LEASE_S)), _ms(retry_s), reason, died)

    def doubt(self, key: str, token: str, reason: str) -> Doubt:
        """An effect was cut off: nobody knows whether it happened."""
        return Doubt(key, token, reason, _ms(self.held_s), hold=not self.resume)

    def wait_s(self, waits: int, left_ms: int | None) -> float:
        """How long a delivery waits that has waited `waits` times: doubling, with jitter, hardly beyond the lease."""
        wait_s = min(self.max_wait_s, 2.0 ** min(waits, 30)) * random.uniform(0.8, 1.2)
        return wait_s if left_ms is None else min(wait_s, left_ms / 1000 + random.uniform(0.05, 0.5))

    @property
    def _ttl_ms(self) -> int:
        # An effect's claim is the write-ahead mark: were it forgotten, the effect would be had again.
        return _ms(self.held_s if self.effect else self.remember_s)


def _refused(name: str, value: object, remedy: str) -> InvalidSetting:
    return InvalidSetting(f"once.{name}", value, remedy)


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
