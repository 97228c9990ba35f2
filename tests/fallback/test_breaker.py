"""The breaker as a value: when a server that failed is asked again."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dedup import Breaker, BreakerRules, CircuitState

RULES = BreakerRules(first_wait_s=1, max_wait_s=4, probe_s=10)
CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


def permit(breaker: Breaker, now_ms: int) -> tuple[Breaker, int]:
    """Ask, and expect to be let through."""
    breaker, given = breaker.ask(now_ms)
    assert given is not None
    return breaker, given


def opened(now_ms: int = 0) -> Breaker:
    """A breaker whose server failed then."""
    breaker, given = permit(Breaker(RULES), now_ms)
    return breaker.failed(given, now_ms)


def test_closed_lets_everything_through() -> None:
    """While nothing fails every call goes to the server, and the value does not change."""
    breaker = Breaker(RULES)
    for now_ms in (0, 5, 10_000):
        same, given = permit(breaker, now_ms)
        assert same is breaker
        assert same.succeeded(given) is breaker


def test_one_failure_opens() -> None:
    """After one failed call no other goes to the server until the wait is over."""
    breaker = opened()
    assert breaker.state is OPEN
    assert [breaker.ask(now_ms)[1] for now_ms in (0, 500, 999)] == [None, None, None]


def test_one_call_probes() -> None:
    """When the wait is over one call is let through, and the others are not until it is back."""
    breaker, given = permit(opened(), 1_000)
    assert (breaker.state, given) == (HALF_OPEN, breaker.permit)
    assert [breaker.ask(now_ms)[1] for now_ms in (1_000, 1_001, 10_999)] == [None, None, None]


def test_successful_probe_closes() -> None:
    """A probe that succeeds lets everything through again, and the next outage begins with the first wait."""
    breaker, given = permit(opened(), 1_000)
    breaker = breaker.succeeded(given)
    assert breaker.state is CLOSED
    breaker, given = permit(breaker, 1_001)
    assert breaker.failed(given, 1_001).wait_ms == 1_000


def test_failed_probes_double_the_wait_to_its_maximum() -> None:
    """Each failed probe doubles the wait, up to the maximum."""
    breaker, waits = opened(), []
    for _ in range(5):
        waits.append(breaker.wait_ms)
        breaker, given = permit(breaker, breaker.until_ms)
        breaker = breaker.failed(given, breaker.until_ms)
    assert waits == [1_000, 2_000, 4_000, 4_000, 4_000]


def test_slow_probes_wait_as_long_as_they_took() -> None:
    """A probe that took long to fail is followed by a wait as long: no more than half of the time is spent probing."""
    breaker, given = permit(opened(), 1_000)
    assert breaker.failed(given, 21_000, took_ms=20_000).wait_ms == 20_000


def test_lost_probe_is_replaced() -> None:
    """A probe that nobody hears of again is given up after its time, and another call probes."""
    first, old = permit(opened(), 1_000)
    second, new = permit(first, 11_000)
    assert (second.state, new > old) == (HALF_OPEN, True)
    assert second.succeeded(old) is second


def test_interrupted_probe_frees_its_place() -> None:
    """A probe that was interrupted says nothing about the server: the next call probes at once."""
    breaker, given = permit(opened(), 1_000)
    breaker = breaker.abandoned(given, 1_500)
    assert breaker.state is OPEN
    assert permit(breaker, 1_500)[0].state is HALF_OPEN


def test_calls_from_before_say_nothing() -> None:
    """What becomes of a call that was let through before the state last changed changes nothing."""
    breaker, old = permit(Breaker(RULES), 0)
    breaker = breaker.failed(old, 0)
    assert breaker.failed(old, 5_000) is breaker
    assert breaker.succeeded(old) is breaker
    breaker, probe = permit(breaker, 1_000)
    breaker = breaker.succeeded(probe)
    for late in (breaker.failed(old, 60_000), breaker.failed(probe, 60_000), breaker.abandoned(probe, 60_000)):
        assert late is breaker


events = st.sampled_from(["ask", "succeeded", "failed", "abandoned", "wait"])


@given(history=st.lists(st.tuples(events, st.integers(0, 12_000), st.integers(0, 3)), max_size=60))
def test_any_history_keeps_to_the_rules(history: list[tuple[str, int, int]]) -> None:
    """In every history a failed server is left alone for its wait, at most one call probes at a time, and asking later
    always finds out.
    """
    breaker, now_ms = Breaker(RULES), 0
    permits: list[int] = []
    for event, ms, which in history:
        before = breaker
        if event == "wait":
            now_ms += ms
        elif event == "ask":
            breaker, given = breaker.ask(now_ms)
            if given is None:
                assert before.state is not CLOSED
                assert now_ms < before.until_ms
            else:
                permits.append(given)
                assert breaker.state is (CLOSED if before.state is CLOSED else HALF_OPEN)
        elif permits:
            chosen: Any = permits[-1 - which % len(permits)]
            if event == "succeeded":
                breaker = breaker.succeeded(chosen)
                assert breaker.state is (CLOSED if chosen == before.permit else before.state)
            elif event == "failed":
                breaker = breaker.failed(chosen, now_ms, ms)
            else:
                breaker = breaker.abandoned(chosen, now_ms)
        if breaker.state is OPEN and before.state is not OPEN:
            assert breaker.until_ms >= now_ms
        assert (breaker is before) or breaker.permit == before.permit + 1
    assert breaker.ask(now_ms + 1_000_000)[1] is not None
