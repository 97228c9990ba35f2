"""Which faults strike when: a pure function of a seed, printed and replayed as JSON.

Kinds are dealt from a shuffled deck, as often as their weight says, so that in a long run each comes up about in
proportion and in a short one none is missed by bad luck.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from tests.pipeline.strikes import KINDS, PLACES

WORKERS = ("worker1", "worker2", "worker3")
PROXIED = WORKERS[:2]
"""Those between whom and Redis there is a proxy."""

BEATS = ("beat1", "beat2")

WEIGHTS: Mapping[str, int] = {
    "kill_worker": 2,
    "kill_parent": 1,
    "kill_child": 3,
    "stop_worker": 2,
    "stop_child": 2,
    "kill_beat": 1,
    "kill_engine": 2,
    "freeze_engine": 1,
    "kill_api": 1,
    "freeze_api": 1,
    "api_fault": 6,
    "store_fault": 6,
    "post_fault": 4,
    "store_partition": 1,
    "post_partition": 1,
    "script_flush": 2,
    "client_kill": 2,
    "out_of_memory": 1,
    "duplicate_candles": 2,
    "duplicate_signals": 2,
    "double_sweep": 2,
}
"""How often each kind is in the deck."""

FORGETTING: Mapping[str, int] = {"flush_all": 1}
"""What only a run may be struck with in which signals may be HELD, or resent."""

FIRST_S = 2.0
"""From the first close to the first fault."""

API_FAULTS: Sequence[Mapping[str, Any]] = (
    {"kind": "drop_reply"},
    {"kind": "error_after_commit"},
    {"kind": "error_before_commit"},
    {"kind": "reset"},
    {"kind": "truncate"},
    {"kind": "refuse", "seconds": 1},
    {"kind": "refuse", "seconds": 1, "status": 503},
    {"kind": "stall", "seconds": 1},
    {"kind": "stall", "seconds": 4},
    {"kind": "stall_before_commit", "seconds": 1},
    {"kind": "stall_before_commit", "seconds": 4},
    {"kind": "drip", "seconds": 0.2},
)
"""Misbehaviours of the reference API (`tasks.receiver.faults`); 4 s is beyond the deadline of a POST."""

STALLS = ("stall", "stall_before_commit")
"""How the API keeps a worker waiting that is struck with its POST in flight."""

NEEDLES = ("", "candle:", "signal:publish:")
"""What is said in the exchanges with Redis that are struck: anything, or the claims of candles or of signals."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        at_s: when it begins, wall seconds from the first close.
        kind: a name of `WEIGHTS` or `FORGETTING`.
        parameters: JSON values, as `tests.chaos.faults` takes them.
    """

    at_s: float
    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        told = " ".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.at_s:8.2f} s  {self.kind}  {told}".rstrip()


def draw(seed: int, duration_s: float, gap_s: float, weights: Mapping[str, int] = WEIGHTS) -> list[Fault]:
    """The faults of a run, oldest first: the same for the same arguments.

    Args:
        duration_s: none begins later.
        gap_s: mean time from one to the next; the times between them are random.
        weights: the deck.
    """
    dice = random.Random(seed)
    found: list[Fault] = []
    at_s = FIRST_S
    while at_s < duration_s:
        deck = [kind for kind, count in weights.items() for _ in range(count)]
        dice.shuffle(deck)
        for kind in deck:
            if at_s >= duration_s:
                break
            found.append(Fault(round(at_s, 2), kind, _parameters(kind, dice)))
            at_s += dice.uniform(0.2, 1.8) * gap_s
    return found


def dumps(schedule: Sequence[Fault]) -> str:
    """A schedule as JSON, one fault per line."""
    return "[\n" + ",\n".join(json.dumps(asdict(fault)) for fault in schedule) + "\n]\n"


def loads(text: str) -> list[Fault]:
    """Read what `dumps` wrote.

    Raises:
        ValueError: a kind that there is none of, or no schedule at all.
    """
    try:
        found = [Fault(**one) for one in json.loads(text)]
    except TypeError as error:
        raise ValueError(f"this is no schedule: {error}") from error
    unknown = sorted({fault.kind for fault in found} - {*WEIGHTS, *FORGETTING})
    if unknown:
        raise ValueError(f"there is no fault {', '.join(unknown)}; there are {', '.join((*WEIGHTS, *FORGETTING))}")
    return sorted(found, key=lambda fault: fault.at_s)


def _parameters(kind: str, dice: random.Random) -> dict[str, Any]:
    match kind:
        case "kill_worker" | "kill_parent" | "kill_child" | "stop_worker" | "stop_child":
            return _worker_fault(kind, dice)
        case "kill_beat":
            return {"beat": dice.choice(BEATS)}
        case "freeze_engine" | "freeze_api" | "out_of_memory":
            return {"seconds": _seconds(dice, 1.0, 7.0)}
        case "kill_api":
            return {"seconds": _seconds(dice, 0.5, 4.0)}
        case "api_fault":
            return {"fault": {**dice.choice(API_FAULTS), "times": dice.randint(2, 8), "every": dice.randint(1, 3)}}
        case "store_fault" | "post_fault":
            return _proxy_fault(kind, dice)
        case "store_partition":
            return {"worker": dice.choice(PROXIED), "seconds": _seconds(dice, 2.0, 9.0)}
        case "post_partition":
            return {"seconds": _seconds(dice, 1.0, 4.0)}
        case "duplicate_candles" | "duplicate_signals":
            return {"count": dice.randint(5, 30), "seed": dice.randrange(1 << 30)}
        case _:
            return {}


def _worker_fault(kind: str, dice: random.Random) -> dict[str, Any]:
    """Which worker, and whether the API is to keep it waiting for an answer just then."""
    found: dict[str, Any] = {"worker": dice.choice(WORKERS), "in_flight": dice.choice(("", "", *STALLS))}
    if kind.endswith("child"):
        found["child"] = dice.randrange(16)
    if kind.startswith("stop"):
        found["seconds"] = _seconds(dice, 6.0, 9.0)
    return found


def _proxy_fault(kind: str, dice: random.Random) -> dict[str, Any]:
    """What is done to one of the next messages in one direction."""
    strike: dict[str, Any] = {
        "kind": dice.choice(KINDS),
        "at": dice.choice(PLACES),
        "nth": dice.randint(1, 5),
        "times": dice.randint(1, 3),
        "seconds": _seconds(dice, 0.5, 7.0),
    }
    if kind == "post_fault":
        return {"strike": strike}
    return {"worker": dice.choice(PROXIED), "strike": strike, "needle": dice.choice(NEEDLES)}


def _seconds(dice: random.Random, least: float, most: float) -> float:
    return round(dice.uniform(least, most), 2)


def head(schedule: Sequence[Fault], count: int) -> str:
    """The first strikes as lines, and how many more there are."""
    lines = [str(fault) for fault in islice(schedule, count)]
    more = len(schedule) - len(lines)
    return "\n".join([*lines, *([f"          … and {more} more"] if more else [])])
