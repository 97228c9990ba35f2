"""What runs showed, as Markdown, and the traces of what one should not have shown."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from tests.chaos.judge import Name
from tests.chaos.recovery import spread_of
from tests.chaos.running import Options, Result
from tests.chaos.schedule import dumps
from tests.chaos.summary import Summary

TRACED = 10
LINES_PER_TRACE = 40


def markdown(summary: Summary, options: Options, heading: str, legs: int = 1) -> str:
    """The report: one section."""
    words = command(options) + (f" --legs {legs}" if legs > 1 else "")
    lines = [f"## {heading}", "", f"`{words}`", "", "| | |", "|---|---:|"]
    lines += [f"| {name} | {value} |" for name, value in _rows(summary)]
    lines += ["", "| fault | struck | could not | recovery p50 | max |", "|---|---:|---:|---:|---:|"]
    lines += _fault_rows(summary)
    return "\n".join(lines) + "\n"


def command(options: Options) -> str:
    """How to run it once more."""
    words = f"python -m tests.chaos --signals {options.signals} --seed {options.seed} --policy {options.policy}"
    words += f" --instruments {options.instruments} --strategies {options.strategies}"
    words += f" --per-s {options.per_s:g} --gap-s {options.gap_s:g} --sweep-s {options.sweep_s:g}"
    words += {None: "", True: " --plain", False: " --no-plain"}[options.plain]
    return words + (" --forgetting" if options.forgetting else "")


def _rows(summary: Summary) -> list[tuple[str, str]]:
    counts = summary.counts
    seeds = ", ".join(map(str, summary.seeds[:3])) + (f" … {summary.seeds[-1]}" if summary.runs > 3 else "")
    return [
        ("machine", f"{psutil.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"),
        ("began", f"{summary.began:%Y-%m-%d %H:%M} UTC"),
        ("runs, and their seeds", f"{summary.runs}: {seeds}"),
        ("duration, from the first close until all had settled", f"{summary.took_s:,.0f} s"),
        ("faults", f"{summary.faults:,}"),
        ("POSTs that the API misbehaved to", f"{summary.misbehaved:,}"),
        ("processes started again", f"{summary.restarts:,}"),
        ("signals due", f"{counts['due']:,}"),
        ("POSTs that reached the API", f"{counts['posts']:,}"),
        ("of them refused for now (429, 503)", f"{counts['refused']:,}"),
        ("distinct signals with an effect", f"{counts['distinct']:,}"),
        ("**twice**", f"**{counts['twice']:,}**"),
        ("**lost**", f"**{counts['lost']:,}**"),
        ("effects that nothing was due for", f"{counts['unasked']:,}"),
        ("POSTED in the store, without an effect", f"{counts['contradicted']:,}"),
        ("held", f"{counts['held']:,}"),
        ("rejected", f"{counts['rejected']:,}"),
        ("expired", f"{counts['expired']:,}"),
        ("close to POST, p50 / p99 / max", str(spread_of(summary.waits_s))),
        ("fault to recovery, p50 / p99 / max", str(spread_of(_all(summary)))),
    ]


def _all(summary: Summary) -> Iterator[float]:
    for times in summary.recovered_s.values():
        yield from times


def _fault_rows(summary: Summary) -> Iterator[str]:
    for kind in sorted({*summary.recovered_s, *summary.failed}):
        times = summary.recovered_s.get(kind, [])
        told = f"{statistics.median(times):.1f} s | {max(times):.1f} s" if times else "- | -"
        yield f"| {kind} | {len(times):,} | {summary.failed[kind]:,} | {told} |"


def failure(result: Result) -> str:
    """All that is needed to look into a run that broke the promise: seed, schedule, traces."""
    verdict = result.verdict
    parts = [f"FAILED: {verdict}", f"seed {result.options.seed}; all files are in {result.home}"]
    parts += [f"unasked: {one}" for one in verdict.unasked[:TRACED]]
    parts += [trace(result, name) for name in verdict.offending[:TRACED]]
    parts += [f"replay: {command(result.options)} --schedule FILE.json, with", dumps(result.schedule)]
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
    lines += _said(
        result.home,
        [*keys, f'"{name.instrument}", "timeframe": "{name.timeframe}", "candle": "{name.candle_start[:16]}'],
    )
    return "\n".join(lines)


def _said(home: Path, needles: Iterable[str]) -> list[str]:
    wanted = [needle for needle in needles if needle]
    found = [
        f"{path.stem}: {line[:400]}"
        for path in sorted(home.glob("worker*.log"))
        for line in path.read_text(errors="replace").splitlines()
        if any(needle in line for needle in wanted)
    ]
    return found[:LINES_PER_TRACE]
