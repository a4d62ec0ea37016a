"""Waiting until replicas have a write: what is said behind it, and what the answer means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import RedisError, RedisReplyError
from .conversation import Behind
from .line import Reply, is_demotion, pack

# By feel: no failover that is set up with sense is quicker; no replica is slower.
_LEAST_DOUBTED_S, _MOST_DOUBTED_S = 0.5, 5.0


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Fewer replicas than wanted said that they have a task."""

    wanted: int
    replicas: int
    """How many said so in time; 0 where Redis did not tell."""
    reason: str
    demoted: bool = False
    """Whether the one who stored it is no master any more: the new one may not have it."""


@dataclass(frozen=True, slots=True)
class ReplicaWait:
    """How many replicas a write waits for, how long, and whether for their disks."""

    replicas: int
    timeout_ms: int
    on_disk: bool = False

    def behind(self) -> Behind:
        """What is said behind the calls that store tasks."""
        # The master's own disk counts, too: when all of them lose power, replicas are brought in
        # step with a master that comes back, whatever their own disks have.
        command = ("WAITAOF", 1) if self.on_disk else ("WAIT",)
        packed = pack(*command, self.replicas, self.timeout_ms)
        return Behind(packed, self.timeout_ms / 1000)

    def hardly(self) -> ReplicaWait:
        """The same without patience: they were waited for already."""
        return replace(self, timeout_ms=1)

    def is_doubtful(self, took_s: float) -> bool:
        """Whether an acknowledgement came so late that it has to be asked for again.

        WAIT gives up in time; who acknowledges later has hung. Perhaps it was replaced meanwhile,
        and answered in its first moments as if it had not been.
        """
        return took_s > min(max(self.timeout_ms / 1000, _LEAST_DOUBTED_S), _MOST_DOUBTED_S)

    def shortfall(self, reply: Reply) -> Shortfall | None:
        """What an answer lacks; None if it is enough."""
        if isinstance(reply, RedisError):
            demoted = isinstance(reply, RedisReplyError) and is_demotion(reply)
            return Shortfall(self.replicas, 0, self._explained(reply), demoted)
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
        limit_s = self.timeout_ms / 1000
        where = " on disk" if self.on_disk else ""
        return f"{how_many} replicas said within {limit_s:g} s that they have it{where}"

    def _explained(self, error: RedisError) -> str:
        command = "WAITAOF" if self.on_disk else "WAIT"
        if not isinstance(error, RedisReplyError):
            return str(error)
        if error.code == "NOPERM":
            return f"{error} (its user needs +{command.lower()})"
        if "unknown command" in error.text:
            return f"this server has no {command}, which came with Redis 7.2 and Valkey 7.2"
        if "appendonly" in error.text:
            return f"its master does not write to disk (appendonly no): {error}"
        return str(error)
