"""``python -m tests.chaos --signals 2000 --seed 7 --report FILE.md``: strike a running pipeline, and judge it.

The exit code is 0 where nothing was posted twice and nothing was lost.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos import schedule
from tests.chaos.report import failure, markdown
from tests.chaos.running import Options, Result, run


def main(argv: list[str] | None = None) -> int:
    """Run, report, say by the exit code whether the promise held."""
    given = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    for noisy in ("dedup", "candlelatch", "kombu", "celery", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    replayed = tuple(schedule.loads(given.schedule.read_text())) if given.schedule else None
    options = Options(
        signals=given.signals,
        seed=given.seed,
        policy=given.policy,
        forgetting=given.forgetting,
        per_s=given.per_s,
        gap_s=given.gap_s,
        patience_s=given.patience_s,
        schedule=replayed,
    )
    if given.draw:
        print(schedule.dumps(options.faults(options.market(datetime.now(UTC)))), end="")
        return 0
    result = run(options)
    _tell(result, given.report)
    return 0 if result.verdict.good else 1


def _tell(result: Result, report: Path | None) -> None:
    text = markdown(result, f"{result.verdict.due:,} signals, {result.options.policy}, seed {result.options.seed}")
    (result.home / "report.md").write_text(text)
    print(text)
    if report:
        report.write_text(text)
    if result.verdict.good:
        print(f"nothing twice, nothing lost: {result.verdict}")
        shutil.rmtree(result.home, ignore_errors=True)
    else:
        print(failure(result))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    add = parser.add_argument
    add("--signals", type=int, default=2_000, help="due at least (default: %(default)s)")
    add("--seed", type=int, default=secrets.randbelow(1 << 31), help="of the schedule (default: by chance)")
    add("--policy", choices=("resend", "hold"), default="resend", help="ON_UNKNOWN; `hold` before a plain API")
    add("--forgetting", action="store_true", help="strike with FLUSHALL too")
    add("--per-s", type=float, default=Options.per_s, help="signals due per second (default: %(default)s)")
    add("--gap-s", type=float, default=Options.gap_s, help="mean time between faults (default: %(default)s)")
    add("--patience-s", type=float, default=Options.patience_s, help="to settle in the end (default: %(default)s)")
    add("--schedule", type=Path, metavar="FILE.json", help="replay this one instead of drawing one")
    add("--draw", action="store_true", help="print the schedule and do nothing")
    add("--report", type=Path, metavar="FILE.md", help="write the report here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
