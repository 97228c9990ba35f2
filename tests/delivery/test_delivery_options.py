"""Settings of sending are checked before anything is sent; the message names setting, value and remedy."""

from __future__ import annotations

import base64
import pickle
from pathlib import Path
from typing import Any

import pytest

from dedup.delivery import DeliveryOptions, HttpDelivery
from dedup.errors import InvalidSetting

URL = "https://api.example.com/signals"


def whsec(size: int) -> str:
    return "whsec_" + base64.b64encode(bytes(range(size))).decode()


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "https://api.example.com",
        "https://api.example.com:8443/v1/signals?room=7",
        "http://[::1]:8080/",
        "http://user:p%40ss@host/",
        "https://bücher.example/signale",
        "HTTPS://API.EXAMPLE.COM/",
        "http://signal-api.default.svc.cluster.local./",
    ],
)
def test_addresses_that_are_taken(url: str) -> None:
    """Any http or https address with a host will do."""
    assert HttpDelivery(DeliveryOptions(url)) is not None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", "''"),
        ("api.example.com/signals", "'(no scheme, 23 characters)'"),
        ("whsec_aGVsbG8=", "'(no scheme, 14 characters)'"),
        ("ftp://api.example.com/x", "'ftp://api.example.com/…'"),
        ("file:///etc/passwd", "'file:///…'"),
        ("https://", "'https://'"),
        ("https:///signals", "'https:///…'"),
        ("https://:8080/", "'https://:8080'"),
        ("https://host:port/", "'https://host:port'"),
        ("https://host:99999/", "'https://host:99999'"),
        ("https://host:0/", "'https://host:0'"),
        ("http://[::1/", "'http://[::1'"),
        (f"http://{'x' * 64}.example/", f"'http://{'x' * 64}.example'"),
        ("https://host/a b", "'(hidden)'"),
        ("https://host/\n", "'(hidden)'"),
        ("htps://user:hunter22@host/", "'htps://***'"),
        ("ftp://host/path/with/token?key=hunter22", "'ftp://host/…'"),
    ],
)
@pytest.mark.parametrize("setting", ["SIGNAL_API_URL", "SIGNAL_LOOKUP_URL"])
def test_addresses_that_are_refused(setting: str, url: str, shown: str) -> None:
    """An address that cannot work is refused by the name of its setting, and shown without what may be a secret."""
    options: dict[str, Any] = {"url": url} if setting == "SIGNAL_API_URL" else {"url": URL, "lookup_url": url}
    with pytest.raises(InvalidSetting) as caught:
        DeliveryOptions(**options)
    assert str(caught.value).startswith(f"{setting} = {shown}: ")
    assert "hunter22" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    "lookup_url", ["https://host/signals?key=", "https://host/signals?room=7", "https://{id}.host/"]
)
def test_a_look_up_with_no_place_for_the_id(lookup_url: str) -> None:
    """With a query, or with the id in the host's name, nobody can say where the id would go."""
    with pytest.raises(InvalidSetting, match=r"SIGNAL_LOOKUP_URL = .*\{id\}"):
        DeliveryOptions(URL, lookup_url=lookup_url)


@pytest.mark.parametrize("size", [24, 32, 64])
def test_secrets_that_are_taken(size: int) -> None:
    """A secret of 24 to 64 bytes is taken, with and without the base64's padding."""
    secret = whsec(size)
    assert DeliveryOptions(URL, secrets=secret).secrets == (secret,)
    assert HttpDelivery(DeliveryOptions(URL, secrets=(secret, secret.rstrip("=")))) is not None


@pytest.mark.parametrize("secrets", ["", "  ", ()])
def test_no_secret(secrets: Any) -> None:
    """An empty setting means that messages are not signed."""
    assert DeliveryOptions(URL, secrets=secrets).secrets == ()


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        (whsec(23), "24 to 64 bytes, this one 23"),
        (whsec(65), "24 to 64 bytes, this one 65"),
        ("whsec_", "24 to 64 bytes, this one 0"),
        (whsec(32).removeprefix("whsec_"), "begins with whsec_"),
        ("correct-horse-battery-staple", "begins with whsec_"),
        ("whsec_correct-horse-battery-staple-and-more", "base64"),
        ("whsec_" + "ä" * 40, "base64"),
        ("whsec_" + "A" * 41, "base64"),
    ],
)
def test_secrets_that_are_refused(secret: str, problem: str) -> None:
    """A secret that is too short, too long or malformed is refused without being shown, with a way to make one."""
    with pytest.raises(InvalidSetting) as caught:
        DeliveryOptions(URL, secrets=(whsec(32), secret))
    text = str(caught.value)
    assert text.startswith("SIGNAL_API_SECRET = '(hidden)': ")
    assert problem in text
    assert "make one with" in text
    assert secret == "whsec_" or secret.removeprefix("whsec_") not in text


def test_the_advised_command_makes_a_good_secret() -> None:
    """What the remedy prints can be run as it stands, and its result is taken."""
    with pytest.raises(InvalidSetting) as caught:
        DeliveryOptions(URL, secrets="short")
    program = caught.value.remedy.split('-c "')[1].rstrip('"')
    printed: list[str] = []
    exec(program, {"print": printed.append})
    assert DeliveryOptions(URL, secrets=printed[0]).secrets == tuple(printed)


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        ({"deadline_s": 0}, "deadline_s"),
        ({"deadline_s": -1.0}, "deadline_s"),
        ({"deadline_s": float("inf")}, "deadline_s"),
        ({"deadline_s": float("nan")}, "deadline_s"),
        ({"deadline_s": 3.0, "connect_timeout_s": 3.0}, "connect_timeout_s"),
        ({"deadline_s": 3.0, "connect_timeout_s": 0}, "connect_timeout_s"),
        ({"connect_timeout_s": float("nan")}, "connect_timeout_s"),
        ({"max_response_bytes": 0}, "max_response_bytes"),
    ],
)
def test_limits_that_are_refused(limits: dict[str, Any], what: str) -> None:
    """A deadline is finite, and connecting leaves time for the answer."""
    with pytest.raises(InvalidSetting) as caught:
        DeliveryOptions(URL, **limits)
    assert caught.value.what == what


def test_the_time_to_connect_follows_the_deadline() -> None:
    """Where it is not set, connecting gets a part of the deadline, whatever that is."""
    assert DeliveryOptions(URL).connect_s == 4.0
    assert DeliveryOptions(URL, deadline_s=2.0).connect_s == 0.8
    assert DeliveryOptions(URL, deadline_s=2.0, connect_timeout_s=1.5).connect_s == 1.5


@pytest.mark.parametrize(
    "headers",
    [
        {"Idempotency-Key": "mine"},
        {"idempotency-key": "mine"},
        {"Webhook-Signature": "v1,forged"},
        {"Content-Length": "1"},
        {"Transfer-Encoding": "chunked"},
        {"Host": "elsewhere"},
        {"Accept-Encoding": "gzip"},
        {"X Y": "a"},
        {"X:Y": "a"},
        {"": "a"},
        {"X-Token": "hunter22\r\nX-Evil: 1"},
        {"X-Token": " hunter22"},
        {"X-Token": "hunter22ä"},
        {"X-Token": ""},
    ],
)
def test_headers_that_are_refused(headers: dict[str, str]) -> None:
    """A header that delivery sets itself, or that could forge another, is refused; its value is not shown."""
    with pytest.raises(InvalidSetting) as caught:
        DeliveryOptions(URL, headers=headers)
    assert str(caught.value).startswith("headers = ")
    assert "hunter22" not in str(caught.value)


def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    """A bundle that is missing or holds no certificate is refused when the delivery is made, not when it sends."""
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("not a certificate")
    for bundle in (tmp_path / "missing.pem", rubbish):
        with pytest.raises(InvalidSetting, match="SIGNAL_API_CA_BUNDLE"):
            HttpDelivery(DeliveryOptions(URL, ca_bundle=bundle))
