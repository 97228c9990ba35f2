"""Run every peer through every fault and print the tables: `python -m bench.peers [--rounds N]`.

Needs the `peers` extra; a peer that is not installed is left out. With `--results FILE` each result is also appended to
a file as it comes, and `--read FILE` prints the tables of such a file without running anything.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from bench.peers import results, telling
from bench.peers.cast import PEERS, Peer
from bench.peers.faults import FAULTS, Fault
from bench.peers.results import Result

TRIES = 3
"""How often a world is set up in which the fault never struck: a worker that did not start on a busy machine, say."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    options = _parser().parse_args(argv)
    if options.read:
        found = list(results.read(options.read))
    else:
        pairs = list(_chosen(options))
        found = _run_all(pairs, options)
    print(telling.tables(found))
    print("Held:\n" + (telling.held(found) or "nothing"))
    print("\nNotes:\n" + (telling.notes(found) or "none"))


def _chosen(options: argparse.Namespace) -> Iterator[tuple[Peer, Fault]]:
    peers = [peer for peer in PEERS if peer.installed and any(word in peer.name for word in options.peers)]
    faults = [fault for fault in FAULTS if any(word in fault.name for word in options.faults)]
    for _ in range(options.rounds):
        # Peers side by side under one fault, so that an hour in which the machine is slow strikes all alike.
        yield from ((peer, fault) for fault in faults for peer in peers)


def _run_all(pairs: Sequence[tuple[Peer, Fault]], options: argparse.Namespace) -> list[Result]:
    found = []
    with ThreadPoolExecutor(options.parallel) as pool:
        running = [pool.submit(_run, peer, fault, options.jobs) for peer, fault in pairs]
        for number, future in enumerate(as_completed(running), start=1):
            one = future.result()
            found.append(one)
            print(f"{number}/{len(pairs)} {one.peer}, {one.fault}: {one.counts} {one.took_s} s", file=sys.stderr)
            if options.results:
                with options.results.open("a") as file:
                    file.write(one.dumps() + "\n")
    return found


def _run(peer: Peer, fault: Fault, jobs: int) -> Result:
    for _ in range(TRIES):
        try:
            return results.run(peer, fault, jobs)
        except (AssertionError, RuntimeError) as error:
            why = f"did not come to the fault, {TRIES} times: {str(error)[:200]}"
    return Result(peer.name, peer.version, peer.idempotent, fault.name, {}, 0.0, (why,))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description="Peers under the same faults.")
    add = parser.add_argument
    add("--rounds", type=int, default=1, help="how often each fault happens to each peer (default: %(default)s)")
    add("--jobs", type=int, default=10, help="jobs per fault and round (default: %(default)s)")
    add("--parallel", type=int, default=3, help="worlds at a time (default: %(default)s)")
    add("--peers", nargs="+", default=[""], metavar="WORD", help="only peers whose name holds one of these")
    add("--faults", nargs="+", default=[""], metavar="WORD", help="only faults whose name holds one of these")
    add("--results", type=Path, metavar="FILE", help="append results to this file, one JSON line each")
    add("--read", type=Path, metavar="FILE", help="run nothing, print the tables of this file")
    return parser


if __name__ == "__main__":
    main()
