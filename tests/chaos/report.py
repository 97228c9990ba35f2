"""What a run showed, as Markdown, and the traces of what it should not have shown."""

from __future__ import annotations

import platform
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import psutil

from tests.chaos.judge import Name
from tests.chaos.recovery import effects_at, recoveries_s, spread_of, waits_s
from tests.chaos.running import Result, Struck
from tests.chaos.schedule import dumps

TRACED = 10
LINES_PER_TRACE = 40


def markdown(result: Result, heading: str) -> str:
    """The report: one section."""
    effects = effects_at(result.arrived)
    waits = spread_of(waits_s(result.due, effects))
    done = [one for one in result.struck if one.done]
    recovered = recoveries_s(result.due, effects, [(one.began, one.ended) for one in done])
    rows = [*_rows(result), ("close to POST, p50 / p99 / max", str(waits))]
    rows.append(("fault to recovery, p50 / p99 / max", str(spread_of(recovered))))
    lines = [f"## {heading}", "", f"`{_command(result)}`", "", "| | |", "|---|---:|"]
    lines += [f"| {name} | {value} |" for name, value in rows]
    lines += ["", "| fault | struck | could not | recovery p50 | max |", "|---|---:|---:|---:|---:|"]
    lines += _fault_rows(result.struck, dict(zip(map(id, done), recovered, strict=True)))
    return "\n".join(lines) + "\n"


def _command(result: Result) -> str:
    options = result.options
    words = f"python -m tests.chaos --signals {options.signals} --seed {options.seed} --policy {options.policy}"
    words += f" --per-s {options.per_s:g} --gap-s {options.gap_s:g}"
    return words + (" --forgetting" if options.forgetting else "")


def _rows(result: Result) -> list[tuple[str, object]]:
    verdict = result.verdict
    struck = Counter(post.decision.fault for post in result.posts if post.decision and post.decision.fault)
    return [
        ("machine", f"{psutil.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"),
        ("began", f"{min(due.close_at for due in result.due.values()):%Y-%m-%d %H:%M} UTC"),
        ("duration, first close to settled", f"{result.took_s:,.0f} s"),
        ("faults", f"{sum(one.done for one in result.struck):,}"),
        ("POSTs that the API misbehaved to", f"{sum(struck.values()):,}"),
        ("processes started again", sum(result.restarts.values())),
        ("signals due", f"{verdict.due:,}"),
        ("POSTs that reached the API", f"{verdict.posts:,}"),
        ("of them refused for now (429, 503)", f"{verdict.refused:,}"),
        ("distinct signals with an effect", f"{verdict.distinct:,}"),
        ("twice", len(verdict.twice)),
        ("lost", len(verdict.lost)),
        ("effects that nothing was due for", len(verdict.unasked)),
        ("POSTED in the store, without an effect", len(verdict.contradicted)),
        ("held", f"{len(verdict.held):,}"),
        ("rejected", len(verdict.rejected)),
        ("expired", len(verdict.expired)),
    ]


def _fault_rows(struck: Sequence[Struck], recovered: dict[int, float]) -> Iterator[str]:
    for kind in sorted({one.fault.kind for one in struck}):
        mine = [one for one in struck if one.fault.kind == kind]
        times = [recovered[id(one)] for one in mine if one.done]
        told = f"{statistics.median(times):.1f} s | {max(times):.1f} s" if times else "- | -"
        yield f"| {kind} | {len(times)} | {len(mine) - len(times)} | {told} |"


def failure(result: Result) -> str:
    """All that is needed to look into a run that broke the promise: seed, schedule, traces."""
    verdict = result.verdict
    parts = [f"FAILED: {verdict}", f"seed {result.options.seed}; all files are in {result.home}"]
    parts += [f"unasked: {one}" for one in verdict.unasked[:TRACED]]
    parts += [trace(result, name) for name in verdict.offending[:TRACED]]
    parts += ["replay with --schedule and:", dumps(result.schedule)]
    return "\n".join(parts)


def trace(result: Result, name: Name) -> str:
    """What is known of one signal: its POSTs, its record, and what the workers said of it."""
    lines = [f"--- {name}, closed {result.due[name].close_at.isoformat()}"]
    keys = set()
    for post, arrived in zip(result.posts, result.arrived, strict=True):
        if arrived.name == name:
            keys.add(arrived.key)
            lines.append(f"POST {post.seq} at {post.at.isoformat()} attempt {post.attempt} {post.decision}")
    lines.append(f"fate {result.fates.get(name)}; record {result.records.get(name)}")
    lines += _said(result.home, [*keys, *_spoken(name)])
    return "\n".join(lines)


def _spoken(name: Name) -> Iterator[str]:
    yield f'"{name.instrument}", "timeframe": "{name.timeframe}", "candle": "{name.candle_start[:16]}'


def _said(home: Path, needles: Iterable[str]) -> list[str]:
    wanted = [needle for needle in needles if needle]
    found = [
        f"{path.stem}: {line[:400]}"
        for path in sorted(home.glob("worker*.log"))
        for line in path.read_text(errors="replace").splitlines()
        if any(needle in line for needle in wanted)
    ]
    return found[:LINES_PER_TRACE]
