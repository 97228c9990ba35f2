"""One delivery of a task: its claim, its work, its settlement."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from billiard.common import terminate_handler_fired  # type: ignore[attr-defined]
from celery import Task
from celery.exceptions import Ignore, Reject, Retry

from dedup.celery.kept import Kept, pack, unpack
from dedup.celery.once import DONE, GIVEN_UP, REPLACED, Once
from dedup.errors import StoreError, TaskBusy, TaskDuplicate, TaskGivenUp, TaskHeld, TryAgain
from dedup.ops import Answer, Claimed, Op, Peek
from dedup.records import Record
from dedup.rules import new_token
from dedup.stores.protocol import Store

log = logging.getLogger("dedup.celery")

TOKEN = "dedup_token"  # noqa: S105
"""The property of a message in which the worker's main process says which token its child has. No retry copies it."""

WAITS = "dedup_waits"
"""Header: how often a message came back because its work was busy, or the store away."""

SETTLE_WAITS_S = (0.1, 0.5, 2.0)
"""Waits between tries to write down that work was done."""

HANDING_ON_S = 5.0
"""How long a delivery that has done its work may take to send its callbacks and to store its result."""

_CONTROL = (Retry, Ignore, Reject)
_REASON_CHARS = 200


@dataclass(frozen=True, slots=True)
class OnceClaim:
    """The claim under which a task runs: see `OnceTask.once_claim`.

    Attributes:
        key: of the work. The same for every delivery of it: a good idempotency key.
        attempt: how many deliveries have claimed it, this one included.
        in_doubt: an earlier one may have had the effect (`resume`): ask before doing it again.
    """

    key: str
    attempt: int
    in_doubt: bool


def token_of(request: Any) -> str:
    """The token of a delivery: the one its worker gave it, or where that is no worker of ours, a fresh one."""
    token = (request.properties or {}).get(TOKEN)
    return token if isinstance(token, str) and token else new_token()


class Delivery:
    """One delivery of a task that runs in this process.

    Args:
        task: whose request is the current one.
        once: its rules.
        store: where its records live.
        key: of its work.
        lease_s: of its claim.
    """

    def __init__(self, task: Task[Any, Any], once: Once, store: Store, key: str, lease_s: float) -> None:
        self._task, self._once, self._store = task, once, store
        self._request: Any = task.request
        self._key, self._lease_s = key, lease_s
        self._token = token_of(self._request)
        # Without a claim there is nothing to settle.
        self._settled = True
        self._began_s = 0.0
        self.claim: OnceClaim | None = None

    def run(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Claim and work; or end as the rules say where the claim is not to be had.

        Raises:
            NotRun: the work was not done, and the rules want that to be an error.
            StoreError: the store gave no answer, and the rules want that to be an error.
        """
        self._began_s = time.monotonic()
        try:
            claimed = self._store.run(self._once.claim(self._key, self._token, self._lease_s))
        except StoreError as error:
            return self._without_store(error, args, kwargs)
        match claimed.answer:
            case Answer.ACQUIRED:
                return self._work(claimed, args, kwargs)
            case Answer.DUPLICATE:
                return self._duplicate(claimed.record)
            case Answer.BUSY:
                return self._busy(claimed)
            case _:
                raise TaskHeld(
                    f"{self._key}: nobody knows whether its effect happened ({claimed.record.reason}): find out, then "
                    f"call once_done or once_forget of the task"
                )

    def give_back(self, reason: str, retry_s: float = 0, died: bool = False) -> None:
        """Release the claim: the work may be done again, at once."""
        if self._settled:
            return
        self._settled = True
        self._settle(self._once.release(self._key, self._token, reason, retry_s, died), waits_s=())

    def complete(self, outcome: str, result: object = None) -> None:
        """The work was done; where the task has given its claim back already, its retry will say so."""
        if self._settled:
            return
        self._settled = True
        value = pack(self._key, str(self._request.id), result, self._once.max_result_bytes)
        self._settle(self._once.complete(self._key, self._token, outcome, value), SETTLE_WAITS_S)
        ran_s = time.monotonic() - self._began_s
        if ran_s > self._lease_s:
            log.warning(
                "%s: ran for %.0f s, longer than its lease of %.0f s: another delivery may have run at the same time. "
                "Set a time_limit, or a longer lease_s",
                self._key,
                ran_s,
                self._lease_s,
            )

    def _work(self, claimed: Claimed, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        record, self._settled = claimed.record, False
        self.claim = OnceClaim(self._key, record.attempt, record.in_doubt)
        if record.attempt > 1:
            log.info("%s: attempt %d", self._key, record.attempt)
        try:
            result = self._task.run(*args, **kwargs)
        except BaseException as error:
            self._end(error)
            raise
        self.complete(DONE, result)
        return result

    def _end(self, error: BaseException) -> None:
        if self._settled:
            return
        reason = f"{type(error).__name__}: {error}"[:_REASON_CHARS]
        if self._once.effect and not isinstance(error, _CONTROL):
            self._settled = True
            self._settle(self._once.doubt(self._key, self._token, reason), waits_s=())
            return
        # A task that exits takes its process along, and would do so for ever; one that is told to go does not count.
        died = not isinstance(error, Exception) and not terminate_handler_fired()
        self.give_back(reason, died=died)

    def _settle(self, op: Op[Any], waits_s: Sequence[float]) -> None:
        for wait_s in (*waits_s, None):
            try:
                self._store.run(op)
            except StoreError as error:
                if wait_s is None:
                    log.error(  # noqa: TRY400
                        "%s: what became of it could not be written down, its lease runs out instead: %s",
                        self._key,
                        error,
                    )
                    return
                time.sleep(wait_s)
            else:
                return

    def _duplicate(self, record: Record) -> Any:
        if record.outcome == GIVEN_UP:
            raise TaskGivenUp(
                f"{self._key}: given up after {record.failures} deliveries that died under it ({record.reason}): mend "
                f"it, then call once_forget of the task"
            )
        kept = unpack(record)
        if kept.task_id and kept.task_id == self._request.id:
            return self._again(record, kept)
        log.info("%s: duplicate of %s, which ended %s", self._key, kept.task_id or "other work", record.outcome)
        if self._once.on_duplicate == "raise":
            raise TaskDuplicate(f"{self._key}: done before, by {kept.task_id or 'others'}: {record.outcome}")
        return kept.result if self._once.on_duplicate == "return" else None

    def _again(self, record: Record, kept: Kept) -> Any:
        """This very message was worked before: whatever the rules say of duplicates, it ends as it ended then."""
        request = self._request
        if record.outcome == REPLACED or self._has_ended():
            log.info("%s: delivered again after its end", self._key)
            raise Ignore
        if request.chain or request.callbacks or request.chord:
            return self._hand_on(record, kept)
        log.info("%s: delivered again, ends with its first result", self._key)
        return kept.result

    def _hand_on(self, record: Record, kept: Kept) -> Any:
        """Its worker died between the work and what follows it, or is still at that."""
        if not self._request.is_eager and self._is_fresh(record):
            self._come_back(f"{self._key}: delivered again, and just done")
        if not kept.has_result:
            raise TaskDuplicate(
                f"{self._key}: done before, but its result was not kept and cannot be handed on: raise max_result_bytes"
            )
        log.info("%s: delivered again, its first result is handed on", self._key)
        return kept.result

    def _is_fresh(self, record: Record) -> bool:
        try:
            now_ms = self._store.run(Peek(self._key)).now_ms
        except StoreError:
            return True
        return now_ms - record.at_ms < HANDING_ON_S * 1000

    def _has_ended(self) -> bool:
        """Whether its result is stored, which Celery does last: then its callbacks are on their way."""
        request, task = self._request, self._task
        if request.is_eager or request.ignore_result or request.chord or not getattr(task.backend, "persistent", False):
            return False
        try:
            return bool(task.AsyncResult(request.id).state == "SUCCESS")
        except Exception:
            # No result backend, or none that answers: then it is handed on once more.
            return False

    def _busy(self, claimed: Claimed) -> Any:
        reason = f"{self._key}: busy, another delivery has it for {claimed.left_ms / 1000:.1f} s more at most"
        if self._once.on_busy == "skip" and not self._delivered_again():
            log.info("%s: this one is skipped", reason)
            return None
        # Who calls in process (`apply`) cannot be told to wait.
        if self._once.on_busy == "raise" or self._request.is_eager:
            raise TaskBusy(reason)
        self._come_back(reason, claimed.left_ms)

    def _delivered_again(self) -> bool:
        """Whether the one that is busy may be this very message, whose worker has died."""
        info = self._request.delivery_info or {}
        return bool(info.get("redelivered")) or bool(self._waits())

    def _without_store(self, error: StoreError, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if self._once.on_outage == "run":
            log.warning("%s: runs without a claim: %s", self._key, error)
            return self._task.run(*args, **kwargs)
        if self._once.on_outage == "raise" or self._request.is_eager:
            raise error
        self._come_back(f"{self._key}: the store gives no answer: {error}")

    def _waits(self) -> int:
        waits = self._request.get(WAITS, 0)
        return waits if isinstance(waits, int) and waits > 0 else 0

    def _come_back(self, reason: str, left_ms: int | None = None) -> NoReturn:
        """Send the message again for later. Unlike `Task.retry` this is none of the task's own retries."""
        request, waits = self._request, self._waits()
        wait_s = self._once.wait_s(waits, left_ms)
        signature = self._task.signature_from_request(
            request,
            countdown=wait_s,
            retries=request.retries,
            headers={**(request.headers or {}), WAITS: waits + 1},
        )
        try:
            signature.apply_async()
        except Exception as error:
            if self._task.acks_late:
                raise Reject(error, requeue=True) from error
            raise
        raise Retry(reason, TryAgain(reason), when=wait_s, sig=signature)  # type: ignore[arg-type]
