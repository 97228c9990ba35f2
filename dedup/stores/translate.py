"""Redis' errors in this project's words, in one place for sync and async."""

from __future__ import annotations

from redis import exceptions as redis_errors

from dedup.errors import StoreDenied, StoreError, StoreRefused, StoreUnavailable

_REMEDIES = {
    "MISCONF": "Redis cannot write to its disk: free space or mend its data directory",
    "OOM": "Redis is out of memory under noeviction: raise maxmemory or shorten the TTLs",
    "READONLY": "this is a read-only replica: point REDIS_URL at the primary, or use Sentinel",
    "NOAUTH": "the server wants a password: put it into REDIS_URL",
    "WRONGPASS": "the user or password in REDIS_URL is wrong",
    "NOPERM": "the Redis user lacks a permission: deploy/redis/users.acl.template has the rules that each role needs",
    "NOREPLICAS": "too few replicas acknowledge (min-replicas-to-write): bring replicas back",
    "MASTERDOWN": "the replica has lost its primary",
    "WRONGTYPE": "the key holds a list, a hash or another type: delete it, or set a KEY_PREFIX of your own",
    "LOADING": "the server is still loading its data",
    "BUSY": "a script blocks the server",
    "TRYAGAIN": "a Cluster slot is being moved",
    "CLUSTERDOWN": "the Cluster has lost slots",
    "MOVED": "a Cluster slot is being moved",
}
_PASSING = {"LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "MOVED"}
_DENIED = {"NOAUTH", "WRONGPASS", "NOPERM"}
_BY_TYPE: tuple[tuple[type[Exception], str], ...] = (
    (redis_errors.NoPermissionError, "NOPERM"),
    (redis_errors.AuthenticationWrongNumberOfArgsError, "NOAUTH"),
    (redis_errors.AuthenticationError, "WRONGPASS"),
    (redis_errors.ReadOnlyError, "READONLY"),
    (redis_errors.OutOfMemoryError, "OOM"),
    (redis_errors.BusyLoadingError, "LOADING"),
    (redis_errors.MasterDownError, "MASTERDOWN"),
    (redis_errors.ClusterDownError, "CLUSTERDOWN"),
    (redis_errors.TryAgainError, "TRYAGAIN"),
    (redis_errors.AskError, "MOVED"),
    (redis_errors.SlotNotCoveredError, "CLUSTERDOWN"),
)
# A Cluster of which no node answers is no connection error to redis-py.
_AWAY = (redis_errors.ConnectionError, redis_errors.TimeoutError, redis_errors.RedisClusterException, OSError)
# What a server writes for a code that the client has cut off, or that it never gave (from Redis 7.0 to Valkey 9).
_BY_TEXT = (
    ("ACL failure in script", "NOPERM"),
    ("The user executing the script can't run", "NOPERM"),
    ("Authentication required", "NOAUTH"),
    ("must be called with the client already authenticated", "NOAUTH"),
)


def translate(error: Exception) -> StoreError:
    """What a `redis` error means for the caller. The message never holds the URL, which may hold a password."""
    code = _code_of(error)
    if code in _REMEDIES:
        kind = StoreUnavailable if code in _PASSING else StoreDenied if code in _DENIED else StoreRefused
        return kind(f"{code}: {_REMEDIES[code]}")
    if isinstance(error, _AWAY):
        return StoreUnavailable(f"Redis is away: {type(error).__name__}: {error}")
    return StoreRefused(f"Redis refused: {type(error).__name__}: {error}")


def _code_of(error: Exception) -> str:
    text = str(error)
    by_text = (code for said, code in _BY_TEXT if said in text)
    by_type = (code for kind, code in _BY_TYPE if isinstance(error, kind))
    return next(by_text, None) or next(by_type, None) or text.partition(" ")[0].rstrip(":")


class translated:  # noqa: N801 it reads as what it does: `with translated():`
    """Raise this project's errors in place of the client's. A class, because it stands around every command."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, (redis_errors.RedisError, redis_errors.RedisClusterException, OSError)):
            raise translate(error) from error
