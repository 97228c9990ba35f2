"""URLs: what they name, and what is refused without showing a password."""

from __future__ import annotations

import pytest

from dedup.errors import InvalidSetting
from dedup.stores import async_redis
from dedup.stores.address import Address, Kind, Login, parse_address
from dedup.stores.connect import connect

SECRET = "s3cr3t"
BOB = Login("bob", "p/w")

NAMED = {
    "redis://h": Address(Kind.SERVER, hosts=(("h", 6379),)),
    "rediss://bob:p%2Fw@h:1/2?ssl_ca_certs=/ca.pem": Address(
        Kind.SERVER, True, (("h", 1),), db=2, login=BOB, options=(("ssl_ca_certs", "/ca.pem"),)
    ),
    "redis://[::1]:7?db=3": Address(Kind.SERVER, hosts=(("::1", 7),), db=3),
    "unix://bob:p%2Fw@/run/s?db=1": Address(Kind.SOCKET, path="/run/s", db=1, login=BOB),
    "sentinel://a,b:2,[::1]:3/main": Address(Kind.SENTINEL, hosts=(("a", 26379), ("b", 2), ("::1", 3)), service="main"),
    "redis+sentinel://bob:p%2Fw@a/main/4?sentinel_username=eve&sentinel_password=q": Address(
        Kind.SENTINEL,
        hosts=(("a", 26379),),
        db=4,
        service="main",
        login=BOB,
        sentinel_login=Login("eve", "q"),
    ),
    "rediss+sentinel://a/main": Address(Kind.SENTINEL, True, (("a", 26379),), service="main"),
    "sentinel://bob:p%2Fw@a:1/5;sentinel://b:2/5?master_name=main": Address(
        Kind.SENTINEL, hosts=(("a", 1), ("b", 2)), db=5, service="main", login=BOB
    ),
    "sentinel://a?service_name=main&db=6": Address(Kind.SENTINEL, hosts=(("a", 26379),), db=6, service="main"),
    "redis+cluster://a,b:2": Address(Kind.CLUSTER, hosts=(("a", 6379), ("b", 2))),
    "cluster://a/0": Address(Kind.CLUSTER, hosts=(("a", 6379),)),
    "rediss+cluster://bob:p%2Fw@a": Address(Kind.CLUSTER, True, (("a", 6379),), login=BOB),
}

REFUSED = {
    "Sentinels without a service": (f"sentinel://:{SECRET}@a:1,b:2", "name the service"),
    "Sentinels with a database only": (f"sentinel://:{SECRET}@a:1/0", "name the service"),
    "two databases": (f"sentinel://:{SECRET}@a:1/main/1/2", "the database is a number"),
    "a database that is no number": (f"sentinel://:{SECRET}@a:1/main/first", "the database is a number"),
    "a Cluster with a database": (f"redis+cluster://:{SECRET}@a/1", "database 0 only"),
    "two hosts of one server": (f"redis://:{SECRET}@a,b/0", "names one server"),
    "two addresses of one server": (f"redis://:{SECRET}@a;redis://:{SECRET}@b", "write redis://"),
    "no host between commas": (f"redis+cluster://:{SECRET}@a,,b", "write redis://"),
    "a port that is no number": (f"redis+cluster://:{SECRET}@a:b", "write redis://"),
    "a socket without a path": (f"unix://:{SECRET}@", "write redis://"),
    "an unknown option": (f"sentinel://:{SECRET}@a/main?sockettimeout=1", "sockettimeout"),
    "an unknown option of a Cluster": (f"redis+cluster://:{SECRET}@a?sockettimeout=1", "sockettimeout"),
    "an option that is no number": (f"redis+cluster://:{SECRET}@a?socket_timeout=soon", "socket_timeout"),
    "an unknown scheme": (f"redis+tls://:{SECRET}@a", "write redis://"),
}


@pytest.mark.parametrize(("url", "address"), NAMED.items(), ids=NAMED)
def test_url_names_an_address(url: str, address: Address) -> None:
    """Every form of URL names what its table says."""
    assert parse_address(url) == address


@pytest.mark.parametrize("url", NAMED, ids=NAMED)
def test_no_password_is_shown(url: str) -> None:
    """An address that is printed shows no password."""
    assert "p/w" not in repr(parse_address(url))


@pytest.mark.parametrize("make", [connect, async_redis.connect], ids=["blocking", "awaited"])
@pytest.mark.parametrize(("url", "remedy"), REFUSED.values(), ids=REFUSED)
def test_url_that_names_nothing_is_refused(make: type, url: str, remedy: str) -> None:
    """What cannot be an address is refused before anything connects, with the remedy and without the password."""
    with pytest.raises(InvalidSetting, match=remedy) as caught:
        make(url)
    assert caught.value.what == "REDIS_URL"
    assert SECRET not in f"{caught.value!r}{caught.value}"


@pytest.mark.parametrize("make", [connect, async_redis.connect], ids=["blocking", "awaited"])
@pytest.mark.parametrize("url", [url for url in NAMED if "ssl_ca" not in url])
def test_nothing_connects_before_first_use(make: type, url: str) -> None:
    """Making a client for whatever address talks to nobody: these hosts do not exist."""
    assert make(url) is not None
