"""Records: what is written is what is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.records import FOREIGN, Record, State

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
counts = st.integers(0, 10**6)
times = st.integers(0, 10**14)
texts = st.text(max_size=12)

records = st.builds(
    Record,
    state=st.sampled_from(State),
    token=texts,
    attempt=st.integers(1, 10**6),
    failures=counts,
    until_ms=times,
    at_ms=times,
    in_doubt=st.booleans(),
    held=st.booleans(),
    reason=texts,
    digest=texts,
    outcome=texts,
    value=json_values,
    lapse_ttl_ms=times,
    granted=st.booleans(),
    by=texts,
    by_why=texts,
)


@given(records)
def test_round_trip(record: Record) -> None:
    """Every record is read back as it was written."""
    assert Record.loads(record.dumps()) == record


@given(records)
def test_text_is_compact(record: Record) -> None:
    """A record is one line of JSON, without white space between its parts and without fields that say nothing."""
    text = record.dumps()
    fields = json.loads(text)
    assert text == json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    assert all(value not in ("", 0) for letter, value in fields.items() if letter != "v")
    assert "\n" not in text


@given(st.text() | json_values.map(json.dumps) | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_any_text_can_be_read(text: str) -> None:
    """No text makes reading raise: what is no record is DONE, of outcome `foreign`, with the text as its value."""
    record = Record.loads(text)
    if record.foreign:
        assert (record.state, record.outcome, record.value, record.settled) == (State.DONE, FOREIGN, text, True)
    else:
        assert json.loads(text)["s"] == record.state.value


@given(st.dictionaries(st.sampled_from("stnfulaphwdov"), json_values | st.sampled_from(["claimed", "done"])))
def test_any_object_can_be_read(fields: dict[str, Any]) -> None:
    """An object with our letters and anyone's values is read as a record or as foreign, and never raises."""
    record = Record.loads(json.dumps(fields))
    assert record.foreign or record.state == fields["s"]


@pytest.mark.parametrize(
    "text",
    ['{"s":"done","n":1e999}', '{"s":"done","n":"x"}', '{"s":"done","f":null}', '{"s":"done","u":[]}', "[" * 100_000],
)
def test_unreadable_numbers_are_foreign(text: str) -> None:
    """A record of ours never holds what is no number where a number belongs, nor nests without end."""
    assert Record.loads(text).foreign


@pytest.mark.parametrize(
    ("record", "settled"),
    [
        (Record(State.CLAIMED), False),
        (Record(State.RELEASED), False),
        (Record(State.UNKNOWN), False),
        (Record(State.UNKNOWN, held=True), True),
        (Record(State.DONE), True),
    ],
    ids=lambda value: getattr(value, "state", value),
)
def test_settled(record: Record, settled: bool) -> None:
    """Only what is DONE, or held for a person, is settled."""
    assert record.settled is settled
