"""What the receiver reads out of a POST: its key, its document, its signature, the signal's id."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from email.message import Message
from typing import Any

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook, WebhookVerificationError

from dedup.errors import InvalidSetting

MAX_KEY_CHARS = 255
_ESCAPED = re.compile(r'\\(["\\])')


def idempotency_key(headers: Message) -> str | None:
    """The Idempotency-Key, without the quotes that the IETF draft wants and most senders leave out.

    Several of them come back joined by commas, for the log; `key_problem` refuses them.
    """
    keys = headers.get_all("Idempotency-Key")
    return ", ".join(_bare(key) for key in keys) if keys else None


def key_problem(headers: Message) -> str | None:
    """What is wrong with the Idempotency-Key, None where it is usable."""
    keys = headers.get_all("Idempotency-Key", [])
    if len(keys) != 1:
        return "give exactly one Idempotency-Key"
    key = _bare(keys[0])
    if not 1 <= len(key) <= MAX_KEY_CHARS or not (key.isascii() and key.isprintable()):
        return f"Idempotency-Key is 1 to {MAX_KEY_CHARS} printable ASCII characters"
    return None


def json_object(body: bytes) -> Mapping[str, Any] | None:
    """The JSON object in a body of UTF-8, None where it is anything else."""
    try:
        document = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def signal_id(payload: Mapping[str, Any], *others: str | None) -> str:
    """The id under which a signal is counted: the body's `id`, or the first of `others` that is given.

    The signal's own id comes first, so that a sender that makes up a new key for the same signal is found out.
    """
    named = payload.get("id")
    candidates = (named if isinstance(named, str) else None, *others)
    return next(candidate for candidate in candidates if candidate)


def webhooks(secrets: Sequence[str]) -> tuple[Webhook, ...]:
    """One verifier per secret.

    Raises:
        InvalidSetting: a secret that is no base64; it is not shown.
    """
    try:
        return tuple(Webhook(secret) for secret in secrets)
    except (EmptyWebhookSecretError, ValueError):
        remedy = "write whsec_ and the secret in base64, as the Standard Webhooks specification has it"
        # Not chained: the decoder's error may quote the secret.
        raise InvalidSetting("secret", "(not shown)", remedy) from None


def signed(verifiers: Sequence[Webhook], headers: Message, body: bytes) -> bool:
    """Whether one of the secrets made the webhook signature, and not more than five minutes ago."""
    fields = dict(headers.items())
    return any(_verifies(verifier, body, fields) for verifier in verifiers)


def _bare(key: str) -> str:
    if len(key) >= 2 and key.startswith('"') and key.endswith('"'):
        return _ESCAPED.sub(r"\1", key[1:-1])
    return key


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _verifies(verifier: Webhook, body: bytes, fields: dict[str, str]) -> bool:
    try:
        verifier.verify(body, fields, json_parse=False)
    except (WebhookVerificationError, ValueError):
        return False
    return True
