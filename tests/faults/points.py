"""Every labelled point, and how a signal may end whose worker was struck there."""

from __future__ import annotations

from collections.abc import Sequence

from tests.faults.labels import Stroke

EVALUATE = tuple(
    f"{when} {step}" for step in ("claim", "fetch", "enqueue", "complete", "ack") for when in ("before", "after")
)
PUBLISH = (
    "before claim",
    "after claim",
    "before post",
    "post sent",
    "after post",
    "before complete",
    "after complete",
    "before ack",
    "after ack",
)
SWEEP = (
    ("before reads", 1),
    ("after reads", 1),
    ("before enqueue", 1),
    ("before enqueue", 2),
    ("before republish", 1),
    ("before republish", 2),
    ("after republish", 2),
    ("before ack", 1),
    ("after ack", 1),
)
"""With the pass: a sweep of these tests enqueues two candles and two signals."""

IN_DOUBT = ("after claim", "before post", "post sent", "after post", "before complete")
"""Points of `publish_signal` after which nobody but its worker knows what became of the POST."""


def strokes(how: str, policy: str) -> list[Stroke]:
    """One stroke for every point; under `resend` only where the policy makes a difference."""
    publish = [Stroke("publish_signal", point, f"P{number}", how) for number, point in enumerate(PUBLISH)]
    if policy == "resend":
        return publish
    evaluate = [Stroke("evaluate_candle", point, f"E{number}", how) for number, point in enumerate(EVALUATE)]
    sweep = [Stroke("sweep", point, f"S{number}", how, nth) for number, (point, nth) in enumerate(SWEEP)]
    return sweep + evaluate + publish


def subjects(stroke: Stroke) -> Sequence[str]:
    """The instruments that a stroke is about: a sweep's are two to evaluate and two to publish."""
    if stroke.task == "sweep":
        return [f"{stroke.subject}{letter}" for letter in "ABCD"]
    return [stroke.subject]


def endings(stroke: Stroke, policy: str) -> set[str]:
    """How the signals may end."""
    if policy == "resend" or stroke.task != "publish_signal" or stroke.point not in IN_DOUBT:
        return {"posted"}
    # A worker that goes on may still be heard, unless its time limit ends it first.
    return {"held"} if stroke.how == "SIGKILL" else {"held", "posted"}
