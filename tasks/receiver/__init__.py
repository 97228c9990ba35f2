"""The reference signal API: takes signals over HTTP, has each effect once, and can be told to misbehave.

::

    python -m tasks.receiver --port 8099 --log posts.jsonl

    POST   /signals        take a signal; honours Idempotency-Key, verifies Standard Webhooks signatures
    GET    /signals/{id}   200 when it is committed, else 404
    GET    /signals        counts, and the signals committed last (`?limit=`)
    GET    /health
    PUT    /faults         misbehave: one fault, or a list (see `tasks.receiver.faults.Fault`)
    GET    /faults         the faults in force
    DELETE /faults         behave

What a POST to `/signals` is answered:

====  ===========================================================================================================
201   the signal was committed now; or, with `Idempotent-Replayed: true`, it was before: the first answer again
400   no usable Idempotency-Key, or a body that is no JSON object or that did not arrive whole (408: in time)
401   secrets are set, and none of them made the signature
409   another request with this key is being processed; comes with Retry-After
411   no Content-Length
413   the body is too long
422   the key was used with another body
503   the log cannot be written; comes with Retry-After. Nothing was done
500   the log broke while the signal was committed; it may or may not be in the log
====  ===========================================================================================================

Each POST is in the log before anything else is done about it, and what was done is in the log before it is answered.
The log is also the database: a receiver that starts again on its log knows all it had committed. `read_log` reads it.
"""

from tasks.receiver.faults import Fault, FaultPlan
from tasks.receiver.log import Decision, Post, ReceiverLog, read_log
from tasks.receiver.serving import Receiver

__all__ = ["Decision", "Fault", "FaultPlan", "Post", "Receiver", "ReceiverLog", "read_log"]
