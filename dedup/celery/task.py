"""OnceTask: the base of tasks that do their work once."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ParamSpec, TypeVar, cast

from celery import Celery, Task
from celery.app.task import Context
from celery.exceptions import Ignore, Retry

from dedup.backend import shared_stores
from dedup.celery.delivery import Delivery, OnceClaim
from dedup.celery.kept import pack
from dedup.celery.keying import check_names, key_of, template_names
from dedup.celery.once import DONE, REPLACED, Once
from dedup.errors import InvalidSetting
from dedup.keys import check_prefix
from dedup.ops import Peek
from dedup.options import configured
from dedup.records import Record
from dedup.rules import new_token
from dedup.stores.protocol import Store

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

DELIVERY = "dedup_delivery"


class OnceTask(Task[P, R_co]):
    """Base of a task whose work is done once per key: ``@app.task(base=OnceTask, once=Once(key="{order_id}"))``.

    Its message is acknowledged late, and goes back to the queue when its process is lost: the claim makes that safe.
    A direct call, ``ship(17)``, is a call of the function and claims nothing.

    Attributes:
        once: the rules.
        store: where records live, the same for all workers. By default Redis as `dedup.configure` says, which refuses
            while it is away.
        key_prefix: separates deployments; by default the configured one.
    """

    abstract = True
    acks_late = True
    reject_on_worker_lost = True
    Request = "dedup.celery.request:OnceRequest"

    once: Once = Once()
    store: Store | None = None
    key_prefix: str | None = None

    @classmethod
    def on_bound(cls, app: Celery) -> None:
        """Refuse rules that do not fit the task, when Celery makes it.

        Raises:
            InvalidSetting: a lease that ends before the time limit does, or a key that names what is no argument.
        """
        name, once = str(cls.name), cls.once
        if not isinstance(once, Once):
            raise InvalidSetting(f"once of {name}", once, 'give the rules, as in once=Once(key="{order_id}")')
        if cls.key_prefix is not None:
            check_prefix(cls.key_prefix)
        once.lease_for(name, cls.time_limit, cls.soft_time_limit)
        names = template_names(once.key) if isinstance(once.key, str) else set(once.key_args or ())
        check_names(name, names, _signature_of(cls))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Deliver: claim, work and settle. Called directly: run the function."""
        request = self.request
        if request.called_directly:
            return super().__call__(*args, **kwargs)
        if self._delivery is not None:
            return self._nested(args, kwargs)
        hard_s, soft_s = _limits(request)
        lease_s = self.once.lease_for(self.name, hard_s or self.time_limit, soft_s or self.soft_time_limit)
        delivery = Delivery(self, self.once, self.once_store(), self.once_key(args, kwargs), lease_s)
        request.update({DELIVERY: delivery})
        return cast(R_co, delivery.run(args, kwargs))

    @property
    def once_claim(self) -> OnceClaim | None:
        """The claim under which the task runs just now; None where it was called directly."""
        delivery = self._delivery
        return None if delivery is None else delivery.claim

    def once_store(self) -> Store:
        """Where its records live."""
        return shared_stores(configured()).records if self.store is None else self.store

    def once_key(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> str:
        """The key of the work that a delivery with these arguments is for.

        Raises:
            InvalidInput: an argument in the key is nothing plain.
            TypeError: they are no arguments of the task.
        """
        prefix = configured().key_prefix if self.key_prefix is None else self.key_prefix
        call = (self._once_signature, args, kwargs or {})
        return key_of(prefix, self.name, self.once.key, self.once.key_args, call)

    def once_record(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Record | None:
        """What is known of that work; None where it was never begun, or is no longer remembered.

        Raises:
            StoreError: the store gave no usable answer.
        """
        return self.once_store().run(Peek(self.once_key(args, kwargs))).record

    def once_forget(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> bool:
        """Forget that work, so that its next delivery does it, and say whether anything was known.

        Raises:
            StoreError: the store gave no usable answer.
        """
        return self.once_store().delete(self.once_key(args, kwargs)) > 0

    def once_done(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, result: object = None
    ) -> bool:
        """Say that the work was done, as a person who has found out about work that is held; False where it was known.

        Args:
            result: what duplicates return.

        Raises:
            StoreError: the store gave no usable answer.
        """
        key = self.once_key(args, kwargs)
        value = pack(key, "", result, self.once.max_result_bytes)
        return self.once_store().run(self.once.complete(key, new_token(), DONE, value)).acted

    def retry(self, *args: Any, **options: Any) -> Retry:
        """As `celery.Task.retry`. Gives the claim back first, so that the retried message finds it free."""
        if self._delivery is not None:
            countdown_s = options.get("countdown")
            self._delivery.give_back("retry", self.default_retry_delay if countdown_s is None else countdown_s)
        return super().retry(*args, **options)

    def replace(self, sig: Any) -> Any:
        """As `celery.Task.replace`. What takes its place carries the work on: it is done here."""
        try:
            return super().replace(sig)
        except Ignore:
            if self._delivery is not None:
                self._delivery.complete(REPLACED)
            raise

    @property
    def _delivery(self) -> Delivery | None:
        found = self.request.get(DELIVERY, None)
        return found if isinstance(found, Delivery) else None

    @cached_property
    def _once_signature(self) -> inspect.Signature:
        return inspect.signature(self.run)

    def _nested(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> R_co:
        """A call of the task within its own delivery is a call of the function, with a request of its own."""
        self.request_stack.push(Context({"args": args, "kwargs": kwargs}))
        try:
            return self.run(*args, **kwargs)
        finally:
            self.request_stack.pop()


def _signature_of(kind: type[OnceTask[..., Any]]) -> inspect.Signature:
    signature = inspect.signature(kind.run)
    if isinstance(inspect.getattr_static(kind, "run"), staticmethod):
        return signature
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _limits(request: Any) -> tuple[float | None, float | None]:
    """The time limits that were sent with a delivery."""
    hard_s, soft_s = (*(request.timelimit or ()), None, None)[:2]
    return hard_s, soft_s
