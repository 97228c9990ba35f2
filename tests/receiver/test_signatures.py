"""Standard Webhooks signatures."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from dedup.errors import InvalidSetting
from tasks.receiver import Fault, Receiver
from tests.receiver.posting import body_of, post

OLD, NEW, OTHER = ("whsec_" + base64.b64encode(bytes([each]) * 24).decode() for each in (1, 2, 3))

Headers = dict[str, str]


def signature(secret: str, body: bytes, *, message: str = "one", at: datetime | None = None) -> Headers:
    moment = at or datetime.now(UTC)
    return {
        "webhook_id": message,
        "webhook_timestamp": str(int(moment.timestamp())),
        "webhook_signature": Webhook(secret).sign(message, moment, body.decode()),
    }


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_any_of_the_secrets_may_have_signed(log: Path, secret: str) -> None:
    """While a secret is being changed, POSTs signed with the old one and with the new one are both taken."""
    with Receiver(log, secrets=[OLD, NEW]) as receiver:
        assert post(receiver, "one", **signature(secret, body_of("one"))).status_code == 201


def test_one_of_several_signatures_suffices(log: Path) -> None:
    """A sender that signs with two secrets is taken by a receiver that knows one of them."""
    headers = signature(NEW, body_of("one"))
    headers["webhook_signature"] = (
        f"v1a,AAAA {signature(OTHER, body_of('one'))['webhook_signature']} " + (headers["webhook_signature"])
    )
    with Receiver(log, secrets=[NEW]) as receiver:
        assert post(receiver, "one", **headers).status_code == 201


def without(name: str) -> Callable[[Headers], Headers]:
    return lambda headers: {key: value for key, value in headers.items() if key != name}


def changed(name: str, value: str) -> Callable[[Headers], Headers]:
    return lambda headers: {**headers, name: value}


@pytest.mark.parametrize(
    "spoil",
    [
        without("webhook_id"),
        without("webhook_timestamp"),
        without("webhook_signature"),
        changed("webhook_id", "two"),
        changed("webhook_timestamp", "now"),
        changed("webhook_timestamp", "nan"),
        changed("webhook_signature", "v1,AAAA"),
        changed("webhook_signature", "nonsense"),
        changed("webhook_signature", "v1,a"),
        changed("webhook_signature", "v1,é"),
        lambda headers: {},
        lambda headers: signature(OTHER, body_of("one")),
        lambda headers: signature(NEW, body_of("two")),
        lambda headers: signature(NEW, body_of("one"), at=datetime.now(UTC) - timedelta(minutes=6)),
        lambda headers: signature(NEW, body_of("one"), at=datetime.now(UTC) + timedelta(minutes=6)),
    ],
)
def test_bad_signature_is_refused(log: Path, spoil: Callable[[Headers], Headers]) -> None:
    """A signature that is missing, wrong, of another body, secret or message, or too old or new, is 401."""
    with Receiver(log, secrets=[OLD, NEW]) as receiver:
        assert post(receiver, "one", **spoil(signature(NEW, body_of("one")))).status_code == 401
        read = receiver.read()
    assert (len(read.posts), read.effects, read.statuses) == (1, {}, {401: 1})


def test_signature_of_a_body_that_is_no_text_is_refused(log: Path) -> None:
    """A signed receiver refuses a body that is no UTF-8, which cannot have been signed."""
    with Receiver(log, secrets=[NEW]) as receiver:
        assert post(receiver, body=b"\xff", **signature(NEW, b"{}")).status_code == 401


def test_replay_is_verified_too(log: Path) -> None:
    """A known key does not get its answer without a signature; with a fresh one it does."""
    body = body_of("one")
    with Receiver(log, secrets=[NEW]) as receiver:
        post(receiver, "one", **signature(NEW, body))
        assert post(receiver, "one").status_code == 401
        later = signature(NEW, body, at=datetime.now(UTC) + timedelta(seconds=5))
        assert post(receiver, "one", **later).headers["Idempotent-Replayed"] == "true"


def test_refusal_on_command_comes_before_the_signature(log: Path) -> None:
    """A fault before the commit strikes before the signature is looked at, as a gateway in front would."""
    with Receiver(log, secrets=[NEW]) as receiver:
        receiver.faults.put(Fault("refuse"))
        assert post(receiver, "one").status_code == 429


@pytest.mark.parametrize("secret", ["", "whsec_", "a"])
def test_bad_secret_is_refused_and_not_shown(log: Path, secret: str) -> None:
    """A secret that is no base64 is refused at once, by an error that does not show it."""
    with pytest.raises(InvalidSetting, match=r"secret = '\(not shown\)'") as caught:
        Receiver(log, secrets=[secret])
    assert caught.value.__cause__ is None


def test_secrets_are_not_in_a_repr(log: Path) -> None:
    """A receiver's repr does not show its secrets."""
    assert NEW.removeprefix("whsec_") not in repr(vars(Receiver(log, secrets=[NEW])))
