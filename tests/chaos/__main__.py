"""``python -m tests.chaos --signals 2000 --seed 7 --report FILE.md``: strike a running pipeline, and judge it.

A long run goes in legs: each is a run of its own with the next seed, at the pace that the machine kept up with before.
The exit code is 0 where nothing was posted twice and nothing was lost.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos import schedule
from tests.chaos.recovery import spread_of
from tests.chaos.report import failure, markdown
from tests.chaos.running import Options, Result, run
from tests.chaos.summary import Summary, summary_of, total

FAST_S, SLOW_S = 20.0, 60.0
"""A leg whose median signal took less from close to POST is followed by a faster one; more, by a slower one."""


def main(argv: list[str] | None = None) -> int:
    """Run, report, say by the exit code whether the promise held."""
    given = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    for noisy in ("dedup", "candlelatch", "kombu", "celery", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    options = _options(given)
    if given.draw:
        print(schedule.dumps(options.faults(options.market(datetime.now(UTC)))), end="")
        return 0
    good, summaries = True, []
    for result in _legs(options, given.legs, given.at_most_s):
        good = good and result.verdict.good
        summaries.append(summary_of(result))
        text = markdown(total(summaries), options, _heading(options, summaries), given.legs)
        print(text, flush=True)
        if given.report:
            given.report.write_text(text)
        _leave(result)
    return 0 if good else 1


def _options(given: argparse.Namespace) -> Options:
    replayed = tuple(schedule.loads(given.schedule.read_text())) if given.schedule else None
    return Options(
        signals=given.signals,
        seed=given.seed,
        policy=given.policy,
        plain=given.plain,
        forgetting=given.forgetting,
        instruments=given.instruments,
        strategies=given.strategies,
        per_s=given.per_s,
        gap_s=given.gap_s,
        sweep_s=given.sweep_s,
        patience_s=given.patience_s,
        schedule=replayed,
    )


def _legs(options: Options, legs: int, at_most_s: float) -> Iterator[Result]:
    """Run the legs, as many as fit into the time."""
    began, per_s = time.monotonic(), options.per_s
    for number in range(legs):
        leg_began = time.monotonic()
        leg = replace(options, signals=-(-options.signals // legs), seed=options.seed + number, per_s=per_s)
        result = run(leg)
        yield result
        median_s = spread_of(summary_of(result).waits_s).p50
        per_s *= 1.5 if median_s < FAST_S else 0.7 if median_s > SLOW_S else 1.0
        took_s = time.monotonic() - leg_began
        if number + 1 < legs and time.monotonic() - began + took_s > at_most_s:
            print(f"no time for more: {number + 1} of {legs} legs")
            return


def _heading(options: Options, summaries: list[Summary]) -> str:
    due = sum(one.counts["due"] for one in summaries)
    return f"{due:,} signals, ON_UNKNOWN={options.policy}" + (", and FLUSHALL" if options.forgetting else "")


def _leave(result: Result) -> None:
    """Tell how it went, and keep the files of what went wrong."""
    if result.verdict.good:
        print(f"nothing twice, nothing lost: {result.verdict}", flush=True)
        shutil.rmtree(result.home, ignore_errors=True)
    else:
        told = failure(result)
        (result.home / "failure.txt").write_text(told)
        print(told, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    add = parser.add_argument
    add("--signals", type=int, default=2_000, help="due at least (default: %(default)s)")
    add("--seed", type=int, default=secrets.randbelow(1 << 31), help="of the schedule (default: by chance)")
    add("--policy", choices=("resend", "hold"), default="resend", help="ON_UNKNOWN; `hold` before a plain API")
    add("--plain", action=argparse.BooleanOptionalAction, help="the API ignores Idempotency-Key (default: with hold)")
    add("--forgetting", action="store_true", help="strike with FLUSHALL too")
    add("--instruments", type=int, default=Options.instruments, help="closing at once (default: %(default)s)")
    add("--strategies", type=int, default=Options.strategies, help="signals of a candle (default: %(default)s)")
    add("--per-s", type=float, default=Options.per_s, help="signals due per second (default: %(default)s)")
    add("--gap-s", type=float, default=Options.gap_s, help="mean time between faults (default: %(default)s)")
    add("--sweep-s", type=float, default=Options.sweep_s, help="each beat's sweeps (default: %(default)s)")
    add("--patience-s", type=float, default=Options.patience_s, help="to settle in the end (default: %(default)s)")
    add("--legs", type=int, default=1, help="go in so many runs, one after the other (default: %(default)s)")
    add("--at-most-s", type=float, default=float("inf"), help="begin no leg that would take it beyond this time")
    add("--schedule", type=Path, metavar="FILE.json", help="replay this one instead of drawing one")
    add("--draw", action="store_true", help="print the schedule and do nothing")
    add("--report", type=Path, metavar="FILE.md", help="write the report here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
