"""Celery tasks that do their work once: the claim protocol for any task, not only for candles and signals.

::

    import dedup
    from dedup.celery import Once, OnceTask

    dedup.configure(redis_url="redis://cache:6379/0", key_prefix="shop:")

    @app.task(base=OnceTask, once=Once(key="{order_id}"), time_limit=60)
    def ship(order_id, note=""):
        ...

Each delivery claims a key made from its arguments when a worker **runs** it, so it does not matter who sent it:
`delay`, beat, `send_task` by name, a redelivery. ``docs/celery-tasks.md`` is the guide.

The rest of the library knows no Celery; importing this package imports it. Nothing connects before a task runs.
"""

from dedup.celery.delivery import OnceClaim
from dedup.celery.once import Once
from dedup.celery.task import OnceTask
from dedup.errors import NotRun, TaskBusy, TaskDuplicate, TaskGivenUp, TaskHeld

__all__ = ["NotRun", "Once", "OnceClaim", "OnceTask", "TaskBusy", "TaskDuplicate", "TaskGivenUp", "TaskHeld"]
