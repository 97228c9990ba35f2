"""Publishing one signal, step by step, without I/O: claim, send, settle.

`publishing` is a generator: it yields what is to be done (`Ask` the store, `Send` a message, `LookUp` an id) and is
sent what came of it. `dedup.publisher` drives it with blocking calls, `dedup.aio` with awaited ones; every decision is
here.

===========  =====================================================================================================
outcome      meaning
===========  =====================================================================================================
posted       the API has it, through this delivery
duplicate    it was settled before; the reason says how
busy         another delivery holds it; the sweep comes back if that one dies
retry        nothing happened, or a doubt that may be gone on with; due again in `retry_in_s`
held         nobody knows whether it was posted: a person or a look-up settles it
rejected     the API said no for good
expired      it was too old to be posted
conflict     its key is taken by another payload: never posted
===========  =====================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from dedup.delivery import Attempted, Message, Verdict
from dedup.ops import Answer, Began, Claimed, Op, Settled
from dedup.rules import OnUnknown, SignalRules, token_start

BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Waits between attempts, by attempt, before jitter."""

MAX_REASON_CHARS = 300


@dataclass(frozen=True, slots=True)
class Publication:
    """One signal to publish.

    Attributes:
        key: its record.
        message: its id and bytes.
        digest: of the bytes.
        closed_at_ms: when its candle closed, ms since the epoch, by the wall clock. None leaves out the amnesia guard.
        expires_at_ms: from then on it is not sent, by the store's clock. None is never.
    """

    key: str
    message: Message
    digest: str
    closed_at_ms: int | None = None
    expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """How one delivery of a signal ended; see the module's table.

    Attributes:
        attempt: number of the claim, 0 where there was none.
        status: HTTP status, where the API answered.
        retry_in_s: with `retry`: seconds until it is due again.
        first: with `duplicate`: the outcome that stands.
        source: `redis`, `memory`, or `local`: known to be settled without asking.
        token: the first characters of this delivery's.
    """

    outcome: str
    reason: str
    source: str
    attempt: int = 0
    status: int | None = None
    retry_in_s: float | None = None
    first: str = ""
    token: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Ask:
    """Run operations in one round trip; the answer is the list of replies.

    Attributes:
        settling: the world has changed already: try hard to write it down.
    """

    ops: tuple[Op[Any], ...]
    settling: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    """Make one HTTP attempt; the answer is an `Attempted`."""

    message: Message
    attempt: int


@dataclass(frozen=True, slots=True)
class LookUp:
    """Ask the API for an id; the answer is an `Attempted`: POSTED where it has it."""

    signal_id: str


Request = Ask | Send | LookUp
Flow = Generator[Request, Any, Published]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the flow may look at beside the replies.

    Attributes:
        now_ms: the wall clock, ms since the epoch.
        monotonic_ms: a clock that goes on while the process is stopped.
        jitter: a random number in 0..1.
    """

    now_ms: Callable[[], int]
    monotonic_ms: Callable[[], int]
    jitter: Callable[[], float]


def publishing(job: Publication, rules: SignalRules, token: str, since_key: str, around: Surroundings) -> Flow:
    """Publish one signal: the whole of design.md's outcome table.

    Raises:
        StoreError: the store gave no usable answer. Before the claim nothing happened; after it the record stands as
            claimed and becomes UNKNOWN when its lease runs out.
    """
    started_ms = around.monotonic_ms()
    claimed, began = yield Ask((rules.claim(job.key, token, job.digest), rules.begin(since_key)))
    if claimed.answer is not Answer.ACQUIRED:
        return _not_acquired(claimed, token)
    # Whatever the attempt: a command that was delayed past the forgetting may have begun a record anew.
    # What a person let go was known to them, and to this store.
    granted = claimed.record.granted
    forgot = _why_forgotten(began) if not granted and forgotten(began, job.closed_at_ms, around.now_ms()) else ""
    # One clock for all machines judges its expiry: the store's, where it says what time it is.
    ahead_ms = began.now_ms - around.now_ms() if began.now_ms else 0
    attempt = _Attempt(job, rules, token, claimed, around, started_ms, forgot, ahead_ms)
    if forgot and rules.on_unknown is not OnUnknown.RESEND:
        return (yield from attempt.recover_forgotten())
    if attempt.expires_in_ms() <= 0:
        return (yield from attempt.give_up("expired", "its expiry passed before it could be posted"))
    if claimed.record.in_doubt and not granted and rules.on_unknown is OnUnknown.LOOKUP:
        return (yield from attempt.look_up(claimed.record.reason))
    return (yield from attempt.send())


def forgotten(began: Began, closed_at_ms: int | None, now_ms: int) -> bool:
    """Whether the store may have forgotten a signal of a candle that closed then: its memory began later.

    Args:
        began: when, by the store's clock.
        closed_at_ms: by the wall clock; None is never forgotten.
        now_ms: the wall clock, not before the reply.
    """
    if closed_at_ms is None:
        return False
    # The store's clock need not agree with this machine's, and either may be wrong: what says that it closed earlier
    # counts. What the reply took makes it earlier too.
    ahead_ms = min(0, began.now_ms - now_ms) if began.now_ms else 0
    return began.just_now or began.since_ms > closed_at_ms + ahead_ms


def _why_forgotten(began: Began) -> str:
    why = f" ({began.why.in_words})" if began.why else ""
    return (
        f"the store's memory began at {began.since_ms} ms, after its candle closed{why}: it may have been posted before"
    )


def _not_acquired(claimed: Claimed, token: str) -> Published:
    record = claimed.record
    outcome, reason = {
        Answer.DUPLICATE: ("duplicate", f"settled before as {record.outcome}"),
        Answer.BUSY: ("busy", f"another delivery holds it for {claimed.left_ms} ms more"),
        Answer.UNKNOWN: ("held", record.reason),
        Answer.CONFLICT: ("conflict", f"the key holds another payload, digest {record.digest}"),
    }[claimed.answer]
    return Published(outcome, reason, claimed.source, record.attempt, first=record.outcome, token=token_start(token))


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One acquired claim on its way to an end.

    Attributes:
        forgot: why the store may have forgotten an earlier attempt; empty where it cannot have.
        ahead_ms: by how much the store's clock is ahead of this machine's.
    """

    job: Publication
    rules: SignalRules
    token: str
    claimed: Claimed
    around: Surroundings
    started_ms: int
    forgot: str
    ahead_ms: int

    def expires_in_ms(self) -> float:
        """Until its expiry, by the store's clock; infinite where it has none."""
        if self.job.expires_at_ms is None:
            return inf
        return self.job.expires_at_ms - self.around.now_ms() - self.ahead_ms

    def send(self) -> Flow:
        if self.around.monotonic_ms() - self.started_ms > self.rules.lease_ms - self.rules.send_ms:
            # Stopped or starved since the claim: by the end of this attempt another delivery may hold it.
            return (yield from self._try_later("the lease was all but over before anything was sent", None, None))
        try:
            attempted: Attempted = yield Send(self.job.message, self.claimed.record.attempt)
        except GeneratorExit:
            raise
        except BaseException as error:
            yield Ask((self._doubt(f"interrupted by {type(error).__name__}", 0),), settling=True)
            raise
        return (yield from self._settle(attempted))

    def look_up(self, why: str) -> Flow:
        try:
            found: Attempted = yield LookUp(self.job.message.id)
        except GeneratorExit:
            raise
        except BaseException as error:
            yield Ask((self._doubt(f"look-up interrupted by {type(error).__name__}", 0),), settling=True)
            raise
        if found.verdict is Verdict.POSTED:
            return (yield from self._posted(found, "found by look-up"))
        return (yield from self._hold(f"{why}; look-up: {found.reason}", found.status))

    def recover_forgotten(self) -> Flow:
        if self.rules.on_unknown is OnUnknown.LOOKUP:
            return (yield from self.look_up(self.forgot))
        return (yield from self._hold(self.forgot, None))

    def give_up(self, outcome: str, reason: str, status: int | None = None) -> Flow:
        if self.forgot or self.claimed.record.in_doubt:
            return (yield from self._hold(f"{reason}, but {self.forgot or self.claimed.record.reason}", status))
        op = self.rules.decided(self.job.key, self.token, outcome, _clip(reason))
        return (yield from self._settled(op, self._result(outcome, reason, status)))

    def _settle(self, attempted: Attempted) -> Flow:
        reason, status = attempted.reason, attempted.status
        match attempted.verdict:
            case Verdict.POSTED:
                return (yield from self._posted(attempted, reason))
            case Verdict.REJECTED:
                return (yield from self.give_up("rejected", reason, status))
            case Verdict.NOT_SENT | Verdict.REFUSED:
                return (yield from self._try_later(reason, status, attempted.retry_after_s))
            case Verdict.UNKNOWN:
                return (yield from self._doubtful(attempted))

    def _posted(self, attempted: Attempted, reason: str) -> Flow:
        op = self.rules.posted(self.job.key, self.token, self.job.digest, _clip(reason))
        return (yield from self._settled(op, self._result("posted", reason, attempted.status)))

    def _try_later(self, reason: str, status: int | None, retry_after_s: float | None) -> Flow:
        wait_s = self._wait_s(retry_after_s)
        op: Op[Settled] = self.rules.release(self.job.key, self.token, wait_s, _clip(reason))
        if self.forgot:
            # A release would say that nothing ever happened, and the record does not know better.
            op = self._doubt(f"{reason}; {self.forgot}", wait_s)
        return (yield from self._settled(op, self._result("retry", reason, status, wait_s)))

    def _doubtful(self, attempted: Attempted) -> Flow:
        if not self.rules.resume:
            return (yield from self._hold(attempted.reason, attempted.status))
        wait_s = self._wait_s(attempted.retry_after_s)
        op = self._doubt(attempted.reason, wait_s)
        return (yield from self._settled(op, self._result("retry", attempted.reason, attempted.status, wait_s)))

    def _hold(self, reason: str, status: int | None) -> Flow:
        op = self.rules.doubt(self.job.key, self.token, self.job.digest, _clip(reason), hold=True)
        return (yield from self._settled(op, self._result("held", reason, status)))

    def _doubt(self, reason: str, wait_s: float) -> Op[Settled]:
        hold = not self.rules.resume
        return self.rules.doubt(self.job.key, self.token, self.job.digest, _clip(reason), hold, wait_s)

    def _settled(self, op: Op[Settled], result: Published) -> Flow:
        (settled,) = yield Ask((op,), settling=True)
        if not settled.acted:
            return _overtaken(settled, result)
        if result.outcome == "retry" and settled.record is not None and settled.record.held:
            # Another delivery held it meanwhile, and what is in doubt stays held.
            return replace(result, outcome="held", retry_in_s=None)
        return result

    def _result(
        self, outcome: str, reason: str, status: int | None = None, retry_in_s: float | None = None
    ) -> Published:
        attempt, token = self.claimed.record.attempt, token_start(self.token)
        return Published(outcome, _clip(reason), self.claimed.source, attempt, status, retry_in_s, token=token)

    def _wait_s(self, retry_after_s: float | None) -> float:
        wait_s = retry_after_s
        if wait_s is None:
            longest = BACKOFF_S[min(self.claimed.record.attempt, len(BACKOFF_S)) - 1]
            wait_s = longest * (0.5 + 0.5 * self.around.jitter())
        # At its expiry it is due once more, to be settled as expired.
        return min(wait_s, max(0.0, self.expires_in_ms() / 1000) + 0.05)


def _overtaken(settled: Settled, result: Published) -> Published:
    """The record has moved on under another delivery: what stands there is what counts."""
    record = settled.record
    stands = "nothing" if record is None else record.outcome or record.state.value
    reason = f"{result.outcome} ({result.reason}), but the record had moved on: {stands}"
    outcome = result.outcome if result.outcome == "posted" else "busy"
    return replace(result, outcome=outcome, reason=_clip(reason), retry_in_s=None, first=stands)


def _clip(reason: str) -> str:
    return reason if len(reason) <= MAX_REASON_CHARS else reason[: MAX_REASON_CHARS - 1] + "…"
