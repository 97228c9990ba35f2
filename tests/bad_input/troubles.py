"""What may be wrong with a Redis that answers: each made and mended on a real server."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from typing import ClassVar

from tests.engines import Engine
from tests.pipeline.waiting import eventually


class Trouble(ABC):
    """One kind of trouble.

    Attributes:
        told: what the log says about it, with the remedy.
        password: what lets a test look in meanwhile.
    """

    told: ClassVar[str]
    password: ClassVar[str | None] = None

    @abstractmethod
    def begin(self, engine: Engine) -> None:
        """From now on the server refuses."""

    @abstractmethod
    def end(self, engine: Engine) -> None:
        """What the remedy says has been done."""


class FullDisk(Trouble):
    """The server cannot write its snapshot, as on a full disk; it answers MISCONF until it can."""

    told = "MISCONF: Redis cannot write to its disk: free space or mend its data directory"

    def begin(self, engine: Engine) -> None:
        """A folder that is not empty stands where the snapshot belongs."""
        (engine.data_dir / "dump.rdb" / "in-the-way").mkdir(parents=True)
        self._save(engine, "err")

    def end(self, engine: Engine) -> None:
        """The folder is gone, and a snapshot succeeds."""
        shutil.rmtree(engine.data_dir / "dump.rdb")
        self._save(engine, "ok")

    def _save(self, engine: Engine, status: str) -> None:
        with engine.client() as client:
            client.bgsave()

            def saved() -> bool:
                info = client.info("persistence")
                return not info["rdb_bgsave_in_progress"] and info["rdb_last_bgsave_status"] == status

            eventually(saved, f"the snapshot to end {status}")


class ReadOnly(Trouble):
    """The server has become the replica of another, as after a failover."""

    told = "READONLY: this is a read-only replica: point REDIS_URL at the primary, or use Sentinel"

    def begin(self, engine: Engine) -> None:
        """A replica of nobody, so that it keeps what it has. The mark vouches for that: after a time as a replica the
        guard would take it for forgetful, and hold the signal.
        """
        with engine.client() as client:
            client.set("dedup:since", 1)
            client.replicaof("127.0.0.1", "1")

    def end(self, engine: Engine) -> None:
        """A primary again."""
        with engine.client() as client:
            client.replicaof("NO", "ONE")


class OutOfMemory(Trouble):
    """The server has used up `maxmemory`, and evicts nothing."""

    told = "OOM: Redis is out of memory under noeviction: raise maxmemory or shorten the TTLs"

    def begin(self, engine: Engine) -> None:
        """One byte is not much."""
        with engine.client() as client:
            client.config_set("maxmemory", "1")

    def end(self, engine: Engine) -> None:
        """No bound."""
        with engine.client() as client:
            client.config_set("maxmemory", "0")


class Unauthorised(Trouble):
    """The password was changed while the worker was running."""

    told = "NOAUTH: the server wants a password: put it into REDIS_URL"
    password = "hunter2-hunter2"

    def begin(self, engine: Engine) -> None:
        """Who is connected has to log in anew."""
        with engine.client() as client:
            client.config_set("requirepass", self.password)
        with engine.client(password=self.password) as client:
            client.client_kill_filter(_type="normal", skipme=True)

    def end(self, engine: Engine) -> None:
        """No password again."""
        with engine.client(password=self.password) as client:
            client.config_set("requirepass", "")


class Forbidden(Trouble):
    """The user has lost the permission to run scripts."""

    told = "NOPERM: the Redis user lacks a permission: deploy/redis/users.acl.template"

    def begin(self, engine: Engine) -> None:
        """No scripts and no writes."""
        with engine.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "-@scripting", "-set")

    def end(self, engine: Engine) -> None:
        """Everything again."""
        with engine.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "+@all")


TROUBLES: tuple[Trouble, ...] = (FullDisk(), ReadOnly(), OutOfMemory(), Unauthorised(), Forbidden())
