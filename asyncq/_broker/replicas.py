"""Waiting until replicas have a write: what is said around it, and what the answers mean.

WAIT compares offsets: how far the write reached in the master's history, and how far replicas have
come. Such a number means nothing in another history, and WAIT does not look which one it is in: on
Valkey 9.1 in a cluster it goes on waiting while its master is demoted, drops the write, follows
the new master and is made a master again, and then takes the replica's offset in the new history
for an acknowledgement. So the master is asked for its history before the write and after WAIT.
A server that was a replica in between has another: it takes over its master's, and whoever
is made a master begins one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import RedisError, RedisReplyError
from .conversation import Frame
from .line import Reply, is_demotion, pack

_INFO = pack("INFO", "replication")
_NO_HISTORY = "this server does not say which history it writes (master_replid in its INFO)"
_REPLACED = "the master that stored it was replaced meanwhile"


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Fewer replicas than wanted said that they have a task."""

    wanted: int
    replicas: int
    """How many said so in time; 0 where Redis did not tell."""
    reason: str
    replaced: bool = False
    """Whether the one who stored it stopped being the master: the new one may not have it."""


@dataclass(frozen=True, slots=True)
class ReplicaWait:
    """How many replicas a write waits for, how long, and whether for their disks."""

    replicas: int
    timeout_ms: int
    on_disk: bool = False
    in_vain: bool = False
    """Whether they were waited for already, by an earlier part of the same call."""

    def frame(self) -> Frame:
        """What is said around the calls that store tasks."""
        # The master's own disk counts, too: when all of them lose power, replicas are brought in
        # step with a master that comes back, whatever their own disks have.
        command = (self._command, 1) if self.on_disk else (self._command,)
        wait = pack(*command, self.replicas, self.timeout_ms)
        return Frame((_INFO,), (wait, _INFO), self.timeout_ms / 1000)

    def hardly(self) -> ReplicaWait:
        """The same without patience: they were waited for already."""
        return replace(self, timeout_ms=1, in_vain=True)

    def shortfall(self, said: Sequence[Reply]) -> Shortfall | None:
        """What the answers to `frame` lack; None if they are enough."""
        before, reply, after = said
        for error in said:
            if isinstance(error, RedisError):
                replaced = isinstance(error, RedisReplyError) and is_demotion(error)
                command = self._command if error is reply else "INFO"
                return Shortfall(self.replicas, 0, _explained(error, command), replaced)
        history = _history_of_master(before)
        if history == b"":
            return Shortfall(self.replicas, 0, _NO_HISTORY)
        if history is None or history != _history_of_master(after):
            return Shortfall(self.replicas, 0, _REPLACED, replaced=True)
        local, replicas = self._counts(reply)
        if replicas < self.replicas:
            return Shortfall(self.replicas, replicas, self._late(f"{replicas} of {self.replicas}"))
        if not local:
            return Shortfall(self.replicas, replicas, "its master did not have it on disk in time")
        return None

    def _counts(self, reply: int | Sequence[int]) -> tuple[int, int]:
        if isinstance(reply, int):
            return 1, reply
        local, replicas = reply
        return local, replicas

    def _late(self, how_many: str) -> str:
        where = " on disk" if self.on_disk else ""
        when = (
            "at once, since an earlier part of the call had waited in vain,"
            if self.in_vain
            else f"within {self.timeout_ms / 1000:g} s"
        )
        return f"{how_many} replicas said {when} that they have it{where}"

    @property
    def _command(self) -> str:
        return "WAITAOF" if self.on_disk else "WAIT"


def _history_of_master(info: bytes) -> bytes | None:
    """Which history a master writes, of INFO replication: '' where it does not say so; None for a
    replica."""
    if not re.search(rb"^role:master\b", info, re.MULTILINE):
        return None
    found = re.search(rb"^master_replid:(\w+)", info, re.MULTILINE)
    return found[1] if found else b""


def _explained(error: RedisError, command: str) -> str:
    if not isinstance(error, RedisReplyError):
        return str(error)
    if error.code == "NOPERM":
        return f"{error} (its user needs +{command.lower()})"
    if "unknown command" in error.text:
        return f"this server has no {command}, which came with Redis 7.2 and Valkey 7.2"
    if "appendonly" in error.text:
        return f"its master does not write to disk (appendonly no): {error}"
    return str(error)
