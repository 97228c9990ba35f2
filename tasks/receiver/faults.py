"""How the receiver can be told to misbehave, and which POST is struck next."""

from __future__ import annotations

import json
import threading
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict
from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from dedup.errors import InvalidInput

Kind = Literal[
    "drop_reply",
    "drip",
    "error_after_commit",
    "error_before_commit",
    "huge",
    "redirect",
    "refuse",
    "reset",
    "stall",
    "stall_before_commit",
    "truncate",
]

_STATUS: dict[Kind, int] = {
    "error_after_commit": 500,
    "error_before_commit": 500,
    "redirect": 302,
    "refuse": 429,
}


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid", strict=True))
class Fault:
    """One misbehaviour, and how many POSTs it strikes.

    It strikes a POST whatever would have been answered: a fault after the commit also strikes a replay or a refusal,
    which commit nothing. The log says for each POST what struck it and whether it had an effect.

    Kinds without an effect:
        refuse: `status` (429) with `Retry-After: seconds`, rounded up.
        error_before_commit: `status` (500).
        redirect: `status` (302) to `location`.
    Kinds that do the work first:
        stall_before_commit: wait `seconds`, with the key in flight, then commit and answer.
        stall: commit, then wait `seconds`, with the key in flight, then answer.
        error_after_commit: commit, then answer `status` (500).
        drop_reply: commit, then close the connection without an answer.
        reset: commit, then reset the connection (RST) without an answer.
        truncate: commit, then promise more bytes of the answer than are sent, and close.
        drip: commit, then answer one byte at a time, `seconds` apart.
        huge: commit, then answer with a body of `size` bytes.

    Args:
        kind: one of the above.
        times: how many POSTs it strikes; None strikes for ever.
        every: it strikes each n-th of the POSTs that reach it.
        seconds: see the kinds.
        status: see the kinds.
        location: where `redirect` points to.
        size: bytes of the body of `huge`.
    """

    kind: Kind
    times: Annotated[int, Field(ge=1)] | None = 1
    every: Annotated[int, Field(ge=1)] = 1
    seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 1.0
    status: int | None = None
    location: Annotated[str, Field(min_length=1, pattern=r"^[!-~]+$")] | None = None
    size: Annotated[int, Field(ge=1_024, le=1 << 40)] = 256 * 1_024 * 1_024

    @model_validator(mode="after")
    def _fits_together(self) -> Fault:
        if (self.kind == "redirect") != (self.location is not None):
            raise ValueError("location belongs to redirect, which needs one")
        if self.status is not None and self.status not in _allowed_statuses(self.kind):
            raise ValueError(
                "status belongs to redirect (301, 302, 303, 307, 308) and to error_after_commit, error_before_commit "
                "and refuse (400 to 599)"
            )
        return self

    @property
    def answer_status(self) -> int:
        """The status of the kinds that answer one of their own."""
        return self.status if self.status is not None else _STATUS[self.kind]


def _allowed_statuses(kind: Kind) -> Container[int]:
    if kind == "redirect":
        return (301, 302, 303, 307, 308)
    return range(400, 600) if kind in _STATUS else ()


@plain_dataclass(frozen=True, slots=True)
class Planned:
    """A fault in the plan: how many POSTs have reached it and how many it struck."""

    fault: Fault
    seen: int = 0
    struck: int = 0

    @property
    def spent(self) -> bool:
        """Whether it strikes no more."""
        return self.fault.times is not None and self.struck >= self.fault.times


Plan = tuple[Planned, ...]


def strike(plan: Plan) -> tuple[Plan, Fault | None]:
    """The plan after one more POST, and the fault that strikes this POST.

    Faults stand in a row: the first one that is due strikes, and those behind it do not see the POST. So
    `[refuse twice, drop_reply once]` refuses the first two POSTs and drops the reply to the third.
    """
    passed: list[Planned] = []
    for place, planned in enumerate(plan):
        if planned.spent:
            passed.append(planned)
            continue
        seen = planned.seen + 1
        if seen % planned.fault.every == 0:
            now = Planned(planned.fault, seen, planned.struck + 1)
            return (*passed, now, *plan[place + 1 :]), planned.fault
        passed.append(Planned(planned.fault, seen, planned.struck))
    return tuple(passed), None


class FaultPlan:
    """The faults in force. May be changed from any thread while POSTs come in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plan: Plan = ()

    def put(self, *faults: Fault) -> None:
        """Replace all faults by these, in this order; none clears the plan."""
        with self._lock:
            self._plan = tuple(Planned(fault) for fault in faults)

    def clear(self) -> None:
        """Behave from now on. What is being stalled or dripped goes on."""
        self.put()

    def strike(self) -> Fault | None:
        """Count one POST and say which fault strikes it."""
        with self._lock:
            self._plan, fault = strike(self._plan)
        return fault

    @property
    def plan(self) -> Plan:
        """The faults with their counts, spent ones too."""
        return self._plan


_FAULTS = TypeAdapter(list[Fault])


def parse_faults(document: object) -> list[Fault]:
    """Read faults from JSON values: one fault, a list of them, or `{"faults": [...]}`.

    Raises:
        InvalidInput: anything else; it names the place and what may stand there.
    """
    if isinstance(document, Mapping):
        document = document["faults"] if set(document) == {"faults"} else [document]
    try:
        # By way of JSON, because that is where strict validation takes an object for a dataclass.
        return _FAULTS.validate_json(json.dumps(document))
    except ValidationError as error:
        raise InvalidInput("faults", repr(document)[:200], _complaints(error)) from error


def describe(plan: Iterable[Planned]) -> list[dict[str, Any]]:
    """The plan as JSON values: each fault's fields with `seen` and `struck`."""
    return [{**asdict(planned.fault), "seen": planned.seen, "struck": planned.struck} for planned in plan]


def _complaints(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'all'}: {each['msg']}" for each in found)[:1_000]
