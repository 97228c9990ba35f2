"""The comparison with peers: its harness strikes, its judge counts, and its tables say what was counted."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from bench.peers import results, telling
from bench.peers.cast import IDEMPOTENT, PEERS, PLAIN, Peer
from bench.peers.faults import FAULTS, Fault
from bench.peers.judging import Counts, Job, count, held_back, judge
from bench.peers.results import Result
from dedup.records import Record, State
from tasks.receiver import Receiver

JOBS = 2
ROOT = Path(__file__).parents[2]


def peer_named(name: str) -> Peer:
    return next(peer for peer in PLAIN if peer.name == name)


def fault_named(name: str) -> Fault:
    return next(fault for fault in FAULTS if fault.name == name)


@pytest.fixture(scope="module")
def after_a_500(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """What each of these made of an API that commits and then answers 500."""
    names = ("plain Celery", "celery-once", "candlelatch publisher", "candlelatch Once")
    peers = [peer for peer in map(peer_named, names) if peer.installed]
    fault = fault_named("500 after the commit")
    with ThreadPoolExecutor() as pool:
        homes = [tmp_path_factory.mktemp("peer") for _ in peers]
        found = pool.map(lambda peer, home: results.run(peer, fault, JOBS, home), peers, homes)
        return {one.peer: one for one in found}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["plain Celery", "celery-once"])
def test_who_tries_again_posts_twice(after_a_500: dict[str, Result], name: str) -> None:
    """A 500 after the commit makes every job's effect happen twice where a failed task is simply tried again."""
    if name not in after_a_500:
        pytest.skip(f"{name} is not installed: pip install 'candlelatch[peers]'")
    assert after_a_500[name].counts == Counts(JOBS, doubled=JOBS, lost=0, held_unposted=0, held_posted=0, reposted=JOBS)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["candlelatch publisher", "candlelatch Once"])
def test_candlelatch_holds_and_says_why(after_a_500: dict[str, Result], name: str) -> None:
    """Under the same fault no job of candlelatch's is posted twice, and each is held with the 500 as its reason."""
    assert after_a_500[name].counts == Counts(JOBS, doubled=0, lost=0, held_unposted=0, held_posted=JOBS, reposted=0)
    assert all("500" in job.held for job in after_a_500[name].jobs.values())


@pytest.mark.parametrize(
    ("job", "doubled", "lost"),
    [
        (Job(posts=1, effects=1), False, False),
        (Job(posts=2, effects=1), False, False),
        (Job(posts=2, effects=2), True, False),
        (Job(posts=0, effects=0), False, True),
        (Job(posts=1, effects=0), False, True),
        (Job(posts=0, effects=0, held="its lease ran out"), False, False),
        (Job(posts=2, effects=2, held="its lease ran out"), True, False),
    ],
)
def test_doubled_and_lost_go_by_effects(job: Job, doubled: bool, lost: bool) -> None:
    """Doubled is more than one effect; lost is none, and nobody who says so."""
    assert (job.doubled, job.lost) == (doubled, lost)


@pytest.mark.parametrize(("plain", "effects"), [(True, 2), (False, 1)])
def test_the_judge_reads_the_apis_log(tmp_path: Path, plain: bool, effects: int) -> None:
    """POSTs and effects of a job are counted by its name in the body, and a job that never came is there with none."""
    with Receiver(tmp_path / "posts.jsonl", plain=plain) as receiver:
        for _ in range(2):
            requests.post(receiver.signals_url, json={"job": "A"}, headers={"Idempotency-Key": "A"}, timeout=5)
        seen = judge(["A", "B"], receiver.read(), {"B": "why"})
    assert seen == {"A": Job(posts=2, effects=effects), "B": Job(posts=0, effects=0, held="why")}


def test_held_is_what_a_record_holds() -> None:
    """A job is held where a record about it is UNKNOWN and held, and not where it is settled or still worked on."""
    records = {
        "signal:publish:A:x": Record(State.UNKNOWN, held=True, reason="why"),
        "signal:publish:B:x": Record(State.UNKNOWN),
        "signal:publish:C:x": Record(State.DONE, outcome="posted"),
        "signal:publish:D:x": Record(State.CLAIMED),
    }
    store = {key: record.dumps() for key, record in records.items()} | {"E": "not ours"}
    assert held_back(store, "ABCDE") == {"A": "why"}


def test_results_survive_their_file() -> None:
    """A result that was written to a file is read back as it was."""
    one = Result("celery-once", "3.0.1", False, "two beats", {"A": Job(1, 1), "B": Job(0, 0, "why")}, 1.5, ("a note",))
    assert Result.loads(one.dumps()) == one


def test_tables_say_what_was_counted() -> None:
    """Totals add up over faults and rounds, a cell names its mishaps, and one that did not take place stays open."""
    fine = {"A": Job(1, 1), "B": Job(1, 1)}
    bad = {"A": Job(2, 2), "B": Job(0, 0)}
    found = [
        Result("celery-once", "3.0.1", False, "no fault", fine, 1.0),
        Result("celery-once", "3.0.1", False, "two beats", bad, 1.0),
        Result("celery-once", "3.0.1", False, "two beats", bad, 1.0),
        Result("candlelatch publisher", "0.1.0", False, "two beats", {"A": Job(0, 0, "why"), "B": Job(1, 1)}, 1.0),
    ]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in telling.tables(found).splitlines()]
    assert ["celery-once", "3.0.1", "6", "2", "2", "0", "0", "2"] in lines
    assert ["candlelatch publisher", "0.1.0", "2", "0", "0", "1", "0", "0"] in lines
    assert ["no fault", "·", "–"] in lines  # noqa: RUF001
    assert ["two beats", "2 twice, 2 lost", "1 held"] in lines
    assert telling.held(found) == "candlelatch publisher, two beats: A: why"


def test_every_result_has_its_place() -> None:
    """No two peers, and no two faults, share the name under which results are found again."""
    assert len({(peer.name, peer.idempotent) for peer in PEERS}) == len(PLAIN) + len(IDEMPOTENT)
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert json.loads(Result("x", "", False, "y", {}, 0.0).dumps())["peer"] == "x"


@pytest.mark.parametrize("document", ["bench/peers/README.md", "docs/peers.md"])
def test_documents_hold_what_was_measured(document: str) -> None:
    """The tables in the documents are those of the results that are kept beside them."""
    found = list(results.read(ROOT / "bench/peers/results.jsonl"))
    assert telling.tables(found).strip() in (ROOT / document).read_text()


def test_the_readme_describes_every_fault() -> None:
    """The README says of each fault what is done."""
    assert telling.faults() in (ROOT / "bench/peers/README.md").read_text()


def test_counts_of_nothing_are_zero() -> None:
    """A fault that nobody came to adds nothing to a total."""
    assert count([]) == Counts(0, 0, 0, 0, 0, 0)
