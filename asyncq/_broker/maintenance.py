"""What keeps queues moving beside the workers: forwarding, recovery, and cleaning up."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .._clock import Clock
from ..errors import RedisError
from . import keys, scripts
from .arguments import Arg, finish_keys, reply_error
from .broker import answered, leased_from
from .codec import encode_task, id_bytes, id_text, valid_text
from .connection import Call, Connection
from .message import Leased, TaskMessage, Unreadable

FORWARD_LIMIT = 100
CLAIMED_GRACE_S = 2
"""How long a lease with a claim must be over: its worker's late write is fenced off."""
UNCLAIMED_GRACE_S = 30
"""The same for asynq's own leases, as asynq has it: nothing fences its workers' late writes."""
_RECOVER_LIMIT = 100

_log = logging.getLogger("asyncq")


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What one forwarding step did, and when the next is due."""

    moved: int
    leads: bool
    """Whether this server is the one that forwards the queue to the millisecond."""
    next_in_s: float | None


@dataclass(frozen=True, slots=True)
class Expired:
    """A task whose lease ran out."""

    held: Leased | Unreadable
    times_recovered: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """What shall become of a task whose lease ran out."""

    kind: Literal["restart", "retry", "archive", "park"]
    queue: str
    id: str
    claim: str
    message: TaskMessage | None
    """Rewritten; None for park."""
    reason: str = ""
    """For park: why the message cannot be read."""
    delay_s: float = 0.0
    is_failure: bool = True


class Maintenance:
    """Operations of the periodic parts of a server. Errors are raised, for `run_every`."""

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        *,
        claimed_grace_s: int = CLAIMED_GRACE_S,
        unclaimed_grace_s: int = UNCLAIMED_GRACE_S,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._claimed_grace_s = claimed_grace_s
        self._unclaimed_grace_s = unclaimed_grace_s

    async def forward(self, queue: str, server_id: str, lead_s: float) -> Forwarded:
        """Move a batch of due tasks to pending or to their group.

        Leads for `lead_s` if nobody else does.
        """
        call = Call.of(
            scripts.FORWARD,
            (
                keys.scheduled(queue),
                keys.retry(queue),
                keys.pending(queue),
                keys.groups(queue),
                keys.due(queue),
                keys.forwarder(queue),
                keys.parked(queue),
            ),
            (
                keys.task_prefix(queue),
                keys.group_prefix(queue),
                self._clock.skew_ms,
                FORWARD_LIMIT,
                server_id,
                round(lead_s * 1000),
            ),
        )
        moved, leads, next_ms = await self._connection.run_one(call)
        return Forwarded(moved, bool(leads), None if next_ms < 0 else next_ms / 1000)

    async def list_expired(self, queue: str) -> tuple[list[Expired], float | None]:
        """A batch of tasks whose lease ran out, and in how many seconds the next one's does."""
        call = Call.of(
            scripts.LIST_EXPIRED,
            (
                keys.lease(queue),
                keys.active(queue),
                keys.retry(queue),
                keys.archived(queue),
                keys.completed(queue),
                keys.scheduled(queue),
                keys.parked(queue),
            ),
            (
                keys.task_prefix(queue),
                self._clock.skew_ms,
                self._claimed_grace_s,
                self._unclaimed_grace_s,
                _RECOVER_LIMIT,
            ),
        )
        found, next_ms = await self._connection.run_one(call)
        expired = [
            Expired(
                leased_from(queue, id_text(id_), data, id_text(claim), 0.0),
                int(times),
            )
            for id_, data, claim, times in zip(*[iter(found)] * 4, strict=True)
        ]
        return expired, None if next_ms < 0 else next_ms / 1000

    async def recover(self, queue: str, recoveries: Sequence[Recovery]) -> list[bool | RedisError]:
        """Move tasks of one queue whose lease ran out.

        False: somebody else did, or the lease was renewed.
        """
        args: list[Arg] = [
            keys.task_prefix(queue),
            keys.due_channel(queue),
            self._clock.skew_ms,
            self._claimed_grace_s,
            self._unclaimed_grace_s,
        ]
        for item in recoveries:
            message = encode_task(item.message) if item.message else valid_text(item.reason)
            delay_ms = max(0, round(item.delay_s * 1000))
            id_ = id_bytes(item.id)
            args += (item.kind, id_, id_bytes(item.claim), message, delay_ms, int(item.is_failure))
        call = Call.of(scripts.RECOVER, finish_keys(queue, self._clock), args)
        *answers, counters = await self._connection.run_one(call)
        if counters:
            _log.error("counters of queue %r: %s", queue, reply_error(counters))
        return [answered(answer) for answer in answers]

    async def list_orphans(self, queue: str, ripe: Sequence[str]) -> list[str]:
        """Ids in `active` without a lease. Those in `ripe` get one that is over, for recovery."""
        args = [id_bytes(task_id) for task_id in ripe]
        call = Call.of(scripts.LIST_ORPHANS, (keys.active(queue), keys.lease(queue)), args)
        found = await self._connection.run_one(call)
        return [id_text(id_) for id_ in found]

    async def delete_expired(self, queue: str, limit: int) -> int:
        """Delete a batch of completed tasks whose retention has run out; how many."""
        call = Call.of(
            scripts.DELETE_EXPIRED,
            (keys.completed(queue),),
            (keys.task_prefix(queue), self._clock.skew_ms, limit),
        )
        return int(await self._connection.run_one(call))

    async def trim_archive(
        self, queue: str, *, max_age_s: float, max_size: int, limit: int
    ) -> tuple[int, int]:
        """Delete a batch of archived tasks: how many for their age, how many for their number."""
        call = Call.of(
            scripts.TRIM_ARCHIVE,
            (keys.archived(queue),),
            (keys.task_prefix(queue), self._clock.skew_ms, int(max_age_s), max_size, limit),
        )
        old, many = await self._connection.run_one(call)
        return old, many
