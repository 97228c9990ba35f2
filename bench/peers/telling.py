"""Results as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.peers.cast import IDEMPOTENT, PLAIN, Peer
from bench.peers.faults import FAULTS
from bench.peers.judging import Counts, count
from bench.peers.results import Result, of

FINE = "·"
NOTHING = "–"  # noqa: RUF001


def tables(results: Sequence[Result]) -> str:
    """All tables, the plain API's first. Peers and faults that did not take part are left out."""
    parts = []
    for title, peers in (("An API that is plain", PLAIN), ("An API that honours `Idempotency-Key`", IDEMPOTENT)):
        there = [peer for peer in peers if of(results, peer)]
        if there:
            parts += [f"### {title}", totals(results, there), by_fault(results, there)]
    return "\n\n".join(parts) + "\n"


def totals(results: Iterable[Result], peers: Sequence[Peer]) -> str:
    """One line per peer, all faults added up."""
    head = ["peer", "version", "jobs", "doubled", "lost", "held, not posted", "held, posted", "POSTed again"]
    found = list(results)
    lines = [(peer, of(found, peer)) for peer in peers]
    return _table(head, [[peer.name, rows[0].version, *_numbers(_counts(rows))] for peer, rows in lines])


def by_fault(results: Iterable[Result], peers: Sequence[Peer]) -> str:
    """One line per fault, one column per peer."""
    found = list(results)
    rows = []
    for fault in FAULTS:
        cells = [of(found, peer, fault) for peer in peers]
        if any(cells):
            rows.append([fault.name, *(_cell(cell) for cell in cells)])
    return _table(["fault", *(peer.name for peer in peers)], rows)


def faults() -> str:
    """What is done, one line per fault."""
    return "\n".join(f"- **{fault.name}**: {fault.meaning}" for fault in FAULTS)


def held(results: Iterable[Result]) -> str:
    """Every job that is held, by name, with its reason."""
    lines = []
    for one in results:
        reasons: dict[str, list[str]] = {}
        for name, job in one.jobs.items():
            if job.held:
                reasons.setdefault(job.held, []).append(name)
        lines += [f"{one.peer}, {one.fault}: {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    return "\n".join(lines)


def notes(results: Iterable[Result]) -> str:
    """What happened that no fault asked for."""
    return "\n".join(f"{one.peer}, {one.fault}: {note}" for one in results for note in one.notes)


def _counts(results: Iterable[Result]) -> Counts:
    return count(job for one in results for job in one.jobs.values())


def _numbers(counts: Counts) -> list[str]:
    numbers = (counts.jobs, counts.doubled, counts.lost, counts.held_unposted, counts.held_posted, counts.reposted)
    return [str(number) for number in numbers]


def _cell(results: Sequence[Result]) -> str:
    counts = _counts(results)
    if not counts.jobs:
        return NOTHING
    kept = counts.held_unposted + counts.held_posted
    parts = [(counts.doubled, "twice"), (counts.lost, "lost"), (kept, "held")]
    return ", ".join(f"{number} {word}" for number, word in parts if number) or FINE


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    lines.insert(1, "-|-".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" if number != 1 else f"|-{line}-|" for number, line in enumerate(lines))
