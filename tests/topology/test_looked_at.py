"""What the mark says after a look at the server: each way to forget, and each way not to."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dedup.amnesia import Mark, Server, Why, looked_at

SINCE_MS, NOW_MS = 1_000_000, 9_000_000
SERVER = Server("run1", "repl1", up_s=100)
MARK = Mark(SINCE_MS, "run1", "repl1")
NEXT = Server("run2", "repl2", up_s=7)
KEPT = replace(MARK, keeps=True)
EVICTING = replace(MARK, evicted=3)

REMEMBERED = {
    "the same process": (MARK, SERVER),
    "a person's word": (Mark(SINCE_MS), NEXT),
    "a person's word on a server that evicts": (Mark(SINCE_MS), replace(NEXT, evicted=5, promoted=True)),
    "no more was evicted": (EVICTING, replace(SERVER, evicted=3)),
    "a restart that kept everything": (KEPT, NEXT),
    "its replicas are gone, and with them its backlog": (MARK, replace(SERVER, replid="repl3")),
    "a replica was attached": (MARK, replace(SERVER, replicas=1)),
}

ANEW = {
    "a restart": (MARK, NEXT, Why.RESTARTED),
    "a restart, and evictions since": (KEPT, replace(NEXT, evicted=1), Why.EVICTED),
    "evictions": (MARK, replace(SERVER, evicted=1), Why.EVICTED),
    "evictions, counted anew": (EVICTING, SERVER, Why.EVICTED),
    "a replica took over": (KEPT, replace(NEXT, promoted=True), Why.TAKEN_OVER),
    "a restart where replicas were about": (replace(KEPT, replicated=True), NEXT, Why.TAKEN_OVER),
    "a replica for a while": (KEPT, replace(SERVER, replid="repl3", promoted=True), Why.DEMOTED),
}


@pytest.mark.parametrize(("mark", "server"), REMEMBERED.values(), ids=REMEMBERED)
def test_memory_goes_on(mark: Mark, server: Server) -> None:
    """Where nothing can have been lost the memory is as old as it was, and the mark names the process that answers."""
    seen = looked_at(mark, server, NOW_MS)
    assert seen.since_ms == SINCE_MS
    assert (seen.run, seen.replid, seen.evicted) == (server.run, server.replid, server.evicted)
    assert seen.why is Why.UNKNOWN


@pytest.mark.parametrize(("mark", "server", "why"), ANEW.values(), ids=ANEW)
def test_memory_begins_anew(mark: Mark, server: Server, why: Why) -> None:
    """Where something may have been lost the memory is younger, and the mark says why."""
    seen = looked_at(mark, server, NOW_MS)
    assert seen.since_ms > SINCE_MS
    assert seen.why is why
    assert looked_at(seen, server, NOW_MS + 1) == seen


def test_restarted_memory_begins_with_its_process() -> None:
    """After a restart the memory began with the process, up to a second later than it says: not when it was noticed."""
    assert looked_at(MARK, NEXT, NOW_MS).since_ms == NOW_MS - 6_000
    assert looked_at(MARK, replace(NEXT, up_s=0), NOW_MS).since_ms == NOW_MS


def test_memory_never_grows_older() -> None:
    """A memory that began after the process did does not begin earlier for its restart."""
    young = replace(MARK, since_ms=NOW_MS - 50)
    assert looked_at(young, replace(NEXT, up_s=3600), NOW_MS).since_ms == NOW_MS - 50


def test_slot_that_came_from_a_neighbour_keeps_its_memory() -> None:
    """A slot that was moved brings its mark along: while the server that it names is as it was, nothing is lost."""
    mark, here = replace(MARK, replicated=True), replace(NEXT, promoted=True, replicas=1)
    assert looked_at(mark, here, NOW_MS, neighbours=[SERVER]).since_ms == SINCE_MS
    for other in (replace(SERVER, evicted=1), replace(SERVER, replid="repl3"), replace(SERVER, run="run3")):
        assert looked_at(mark, here, NOW_MS, neighbours=[other]).why is Why.TAKEN_OVER
    assert looked_at(mark, replace(here, evicted=1), NOW_MS, neighbours=[SERVER]).why is Why.EVICTED


def test_trust_is_in_a_process() -> None:
    """That writes are kept is known of one process; of the next one it has to be found out."""
    assert looked_at(MARK, SERVER, NOW_MS, keeps=True).keeps
    assert looked_at(KEPT, SERVER, NOW_MS).keeps
    assert not looked_at(KEPT, SERVER, NOW_MS, keeps=False).keeps
    assert not looked_at(KEPT, NEXT, NOW_MS).keeps


@pytest.mark.parametrize(
    "mark", [MARK, KEPT, EVICTING, Mark(SINCE_MS), replace(MARK, replicated=True, why=Why.EVICTED)]
)
def test_mark_is_what_was_written(mark: Mark) -> None:
    """A mark comes back as it was stored."""
    assert Mark.loads(mark.dumps()) == mark


def test_reason_of_another_version_is_no_loss() -> None:
    """A mark whose reason this version does not know is read all the same: an upgrade forgets nothing."""
    text = json.dumps(json.loads(MARK.dumps()) | {"why": "words of another version"})
    assert Mark.loads(text) == MARK


@pytest.mark.parametrize("text", ["", "-1", "soon", "[]", "{}", '{"since":1}', '{"since":1,"run":"a","why":"?"}', "²"])
def test_what_is_no_mark_is_none(text: str) -> None:
    """Any other text is no mark, and no error."""
    assert Mark.loads(text) is None
