"""Powertools for AWS Lambda, idempotency on its Redis layer: in progress, then completed with the result kept."""

from __future__ import annotations

import logging
import os
import warnings

from bench.peers.terms import LEASE_S, REMEMBER_S
from bench.peers.working import AUTORETRY, make_app, post, store_client

os.environ.setdefault("AWS_LAMBDA_FUNCTION_NAME", "peers")
# It warns of its own alias, and where it runs outside Lambda.
warnings.filterwarnings("ignore", module="aws_lambda_powertools")
logging.getLogger("aws_lambda_powertools").setLevel(logging.ERROR)

from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig, idempotent_function  # noqa: E402
from aws_lambda_powertools.utilities.idempotency.persistence.cache import CachePersistenceLayer  # noqa: E402

app = make_app()


class Invocation:
    """What it asks of a Lambda context: after how long a record in progress counts as timed out.

    Without it, as its documentation warns, what was killed stays in progress until the record expires.
    """

    def get_remaining_time_in_millis(self) -> int:
        """The lease."""
        return LEASE_S * 1000


config = IdempotencyConfig(event_key_jmespath="job", expires_after_seconds=REMEMBER_S)
config.register_lambda_context(Invocation())


layer = CachePersistenceLayer(client=store_client(decode_responses=True))


@idempotent_function(data_keyword_argument="signal", persistence_store=layer, config=config)
def publish(signal: dict[str, str]) -> dict[str, str]:
    """POST, at most one at a time, and not again once it is completed."""
    post(signal["job"])
    return {"outcome": "posted"}


# What is in progress elsewhere is an error there, and tried again as any other.
@app.task(name="work", **AUTORETRY)
def work(job: str, closed_at: str) -> dict[str, str]:
    """The idempotent function as a task."""
    found: dict[str, str] = publish(signal={"job": job})
    return found
