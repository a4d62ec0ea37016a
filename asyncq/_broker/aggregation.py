"""Groups and aggregation sets (wire format, section 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from .._clock import Clock
from ..errors import EnqueueError, RedisError
from . import keys, scripts
from .arguments import NewTask, new_task_args, new_task_keys, reply_error
from .codec import UndecodableError, decode_task
from .connection import Call, Connection
from .message import TaskMessage
from .producer import Enqueued, enqueued

SET_DEADLINE_S = 120
"""How long an aggregation may take before its tasks go back to their group; asynq's."""
MOST_IN_SET = 10_000
"""Of a group without a largest size. A set ends in one step, at some 5 microseconds a task."""
_READ_AT_ONCE = 500
_RECLAIM_LIMIT = 10
_RECLAIM_TASKS = 5_000
_WHY_PARKED = "the message could not be read when its group was aggregated"


@dataclass(frozen=True, slots=True)
class AggregationSet:
    """Tasks taken out of a group, to be made into one."""

    queue: str
    group: str
    key: str
    messages: Sequence[TaskMessage]
    unreadable: Sequence[bytes]
    """Ids, which need not be UTF-8, of members whose message is missing or does not decode."""


class Aggregation:
    """Operations of the aggregator."""

    def __init__(
        self, connection: Connection, clock: Clock, *, deadline_s: int = SET_DEADLINE_S
    ) -> None:
        self._connection = connection
        self._clock = clock
        self.deadline_s = deadline_s

    async def groups(self, queue: str) -> list[str]:
        """The names of groups that may have tasks. Names that are not UTF-8 are left out."""
        names = await self._connection.run_one(Call.command("SMEMBERS", keys.groups(queue)))
        readable = []
        for name in names:
            try:
                readable.append(name.decode())
            except UnicodeDecodeError:
                continue  # no task message can name such a group
        return sorted(readable)

    async def take_set(
        self,
        queue: str,
        group: str,
        *,
        grace_s: float,
        max_delay_s: float | None,
        max_size: int | None,
    ) -> AggregationSet | None:
        """The group's oldest tasks as an aggregation set, if it is time; else None."""
        set_key = keys.aggregation_set(queue, group, str(uuid4()))
        call = Call.of(
            scripts.CHECK_GROUP,
            (
                keys.group(queue, group),
                set_key,
                keys.aggregation_sets(queue),
                keys.groups(queue),
            ),
            (
                max_size or 0,
                int(max_delay_s or 0),
                int(grace_s),
                self.deadline_s,
                group,
                self._clock.skew_ms,
                MOST_IN_SET,
            ),
        )
        if not await self._connection.run_one(call):
            return None
        return await self._read(queue, group, set_key)

    async def _read(self, queue: str, group: str, set_key: str) -> AggregationSet:
        messages: list[TaskMessage] = []
        unreadable: list[bytes] = []
        first = 0
        while True:
            call = Call.of(
                scripts.READ_SET,
                (set_key, keys.aggregation_sets(queue)),
                (keys.task_prefix(queue), first, first + _READ_AT_ONCE - 1),
            )
            _, found = await self._connection.run_one(call)
            for id_, data in zip(found[::2], found[1::2], strict=True):
                try:
                    messages.append(decode_task(data))
                except UndecodableError:
                    unreadable.append(id_)
            if len(found) < 2 * _READ_AT_ONCE:
                return AggregationSet(queue, group, set_key, messages, unreadable)
            first += _READ_AT_ONCE

    async def finish(
        self, taken: AggregationSet, new: NewTask
    ) -> Enqueued | EnqueueError | RedisError | None:
        """Enqueue what the set became and delete the set with its tasks, in one step.

        None: the set was reclaimed meanwhile and nothing was done; sent again after a lost
        connection, this means that it was finished. An error: nothing was done.
        """
        call = Call.of(
            scripts.FINISH_SET,
            (
                taken.key,
                keys.aggregation_sets(taken.queue),
                keys.archived(taken.queue),
                *new_task_keys(taken.queue),
            ),
            (
                keys.task_prefix(taken.queue),
                keys.group_prefix(taken.queue),
                keys.due_channel(taken.queue),
                self._clock.skew_ms,
                *new_task_args(new, taken.key),
                _WHY_PARKED,
                *taken.unreadable,
            ),
        )
        answer = await self._connection.run_one(call)
        return None if answer[0] == -3 else enqueued(answer, new.message)

    async def drop(self, taken: AggregationSet) -> bool:
        """End a set none of whose messages can be read: they are parked, as `finish` does.

        False: nothing was done, the set was reclaimed meanwhile.
        """
        call = Call.of(
            scripts.DROP_SET,
            (taken.key, keys.aggregation_sets(taken.queue), keys.archived(taken.queue)),
            (
                keys.task_prefix(taken.queue),
                self._clock.skew_ms,
                _WHY_PARKED,
                *taken.unreadable,
            ),
        )
        return bool(await self._connection.run_one(call))

    async def reclaim(self, queue: str) -> int:
        """Put the tasks of a batch of overdue sets back into their groups; how many sets.

        A set that Redis refuses to put back does not stop the others: its error is raised when
        there are none left.
        """
        call = Call.of(
            scripts.RECLAIM_SETS,
            (keys.aggregation_sets(queue), keys.groups(queue)),
            (keys.group_prefix(queue), self._clock.skew_ms, _RECLAIM_LIMIT, _RECLAIM_TASKS),
        )
        while True:
            done, unfinished, why = await self._connection.run_one(call)
            if done:
                return int(done)
            if not unfinished:
                break
        if why:
            raise reply_error(why)
        return 0
