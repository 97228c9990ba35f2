"""What tests of faults have in common."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.summary import NAME

Recovered = Callable[[str, float], None]


@pytest.fixture
def recovered(record_property: Callable[[str, object], None]) -> Recovered:
    """Note how many seconds after a fault all that it struck was settled."""

    def note(fault: str, seconds: float) -> None:
        record_property(NAME, (fault, round(seconds, 2)))

    return note
