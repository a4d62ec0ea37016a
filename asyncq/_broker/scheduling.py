"""What schedulers say to Redis: which due times are done, the next one, and their presence.

Wire format, sections 9.4 to 9.7, and one hash of ours for each entry (`keys.cron`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeVar, cast

from .._clock import Clock
from ..errors import EnqueueError, RedisError
from ..info import EnqueueEvent, SchedulerEntry
from . import keys, scripts
from .arguments import Arg, NewTask, new_task_args, new_task_keys
from .codec import (
    UndecodableError,
    decode_enqueue_event,
    decode_scheduler_entry,
    encode_enqueue_event,
    encode_scheduler_entry,
)
from .connection import Call, Connection, Reply
from .producer import Enqueued, enqueued

R = TypeVar("R")

REMEMBERED_MS = 90 * 24 * 3600 * 1000
"""How long a due time is remembered after the last scheduler with its entry is gone."""
EVENTS_KEPT = 1000
"""How long a history is; asynq's."""


@dataclass(frozen=True, slots=True)
class CronPlace:
    """Where the due times of an entry are kept."""

    queue: str
    identity: str
    spec: str

    @property
    def key(self) -> str:
        return keys.cron(self.queue, self.identity)


@dataclass(frozen=True, slots=True)
class Mark:
    """The last due time of an entry, for which nothing is left to do. Unix milliseconds."""

    now_ms: int
    due_ms: int
    enqueued: bool
    """Whether a task was enqueued for it; else it is only what to count from."""
    spec: str


@dataclass(frozen=True, slots=True)
class DueAnswer:
    """What became of an attempt to enqueue an entry. Times in Unix milliseconds."""

    verdict: Literal["enqueued", "taken", "early", "late"]
    """As in enqueue_due.lua."""
    now_ms: int
    last_due_ms: int
    result: Enqueued | EnqueueError | RedisError | None
    """Of an attempt that was `enqueued`."""


class Scheduling:
    """Operations over one connection. Errors of Redis are raised unless it says otherwise."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    async def marks(self, asks: Sequence[tuple[CronPlace, bool]]) -> list[Mark | RedisError]:
        """What is known of each entry; what is new begins now, and with True also what is known
        from another spec.

        Raises `RedisUnavailableError`.
        """
        calls = [
            Call.of(
                scripts.MARK_ENTRY,
                (place.key,),
                (self._clock.skew_ms, place.spec, REMEMBERED_MS, int(anew)),
            )
            for place, anew in asks
        ]
        return [_mark(reply) for reply in await self._connection.run(calls)]

    async def enqueue_due(
        self, place: CronPlace, new: NewTask, due_ms: int, token: str, late_ms: int | None
    ) -> DueAnswer:
        """Enqueue an entry for one due time, if nobody did and if it is not in the future.

        May be sent again with the same token: the answer is the same. With `late_ms` it must not
        be later than that.
        """
        args: list[Arg] = [
            keys.task_prefix(place.queue),
            keys.group_prefix(place.queue),
            keys.due_channel(place.queue),
            self._clock.skew_ms,
            due_ms,
            token,
            "" if late_ms is None else late_ms,
            REMEMBERED_MS,
            place.spec,
            *new_task_args(new, token),
        ]
        announced, reply = await self._connection.run(
            [
                Call.command("SADD", keys.QUEUES, place.queue),
                Call.of(scripts.ENQUEUE_DUE, (*new_task_keys(place.queue), place.key), args),
            ]
        )
        for answer in (announced, reply):
            if isinstance(answer, RedisError):
                raise answer
        verdict, now_ms, last_due_ms, *result = reply
        return DueAnswer(
            cast(Literal["enqueued", "taken", "early", "late"], verdict.decode()),
            int(now_ms),
            int(last_due_ms),
            enqueued(result, new.message) if verdict == b"enqueued" else None,
        )

    async def record(self, entry_id: str, task_id: str, now_ms: int) -> None:
        """Add to the history of an entry."""
        at = datetime.fromtimestamp(now_ms / 1000, UTC)
        event = encode_enqueue_event(EnqueueEvent(task_id=task_id, enqueued_at=at))
        await self._connection.run_one(
            Call.of(
                scripts.RECORD_ENQUEUE_EVENT,
                (keys.scheduler_history(entry_id),),
                (now_ms // 1000, event, EVENTS_KEPT),
            )
        )

    async def write_entries(
        self, scheduler_id: str, entries: Sequence[SchedulerEntry], ttl_s: int
    ) -> None:
        """Show a scheduler and its entries, for so long."""
        until = int(self._clock.now()) + ttl_s
        key = keys.scheduler_entries(scheduler_id)
        await self._all(
            Call.command("ZADD", keys.SCHEDULERS, until, key),
            Call.of(
                scripts.WRITE_SCHEDULER_ENTRIES,
                (key,),
                [ttl_s, *(encode_scheduler_entry(entry) for entry in entries)],
            ),
        )

    async def clear(self, scheduler_id: str, entry_ids: Sequence[str]) -> None:
        """Take a scheduler off the list, with the history of its entries."""
        key = keys.scheduler_entries(scheduler_id)
        await self._all(
            Call.command("ZREM", keys.SCHEDULERS, key),
            Call.command("DEL", key),
            *(Call.command("DEL", keys.scheduler_history(entry_id)) for entry_id in entry_ids),
        )

    async def entries(self) -> list[SchedulerEntry]:
        """The entries of all live schedulers, each scheduler's in the order of registration."""
        now = int(self._clock.now())
        found = await self._connection.run_one(
            Call.of(scripts.LIST_PRESENCE, (keys.SCHEDULERS,), (now,))
        )
        lists = await self._all(*(Call.command("LRANGE", key, 0, -1) for key in sorted(found)))
        return [
            entry
            for list_ in lists
            for data in reversed(list_)
            if (entry := _readable(decode_scheduler_entry, data)) is not None
        ]

    async def events(self, entry_id: str, first: int, last: int) -> list[EnqueueEvent]:
        """The history of an entry by rank, newest first."""
        call = Call.command("ZREVRANGE", keys.scheduler_history(entry_id), first, last)
        found = await self._connection.run_one(call)
        return [
            event for data in found if (event := _readable(decode_enqueue_event, data)) is not None
        ]

    async def _all(self, *calls: Call) -> list[Reply]:
        replies = await self._connection.run(calls)
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return replies


def _readable(decode: Callable[[bytes], R], data: bytes) -> R | None:
    """Records that do not decode are left out, as asynq leaves them out."""
    try:
        return decode(data)
    except UndecodableError:
        return None


def _mark(reply: Reply) -> Mark | RedisError:
    if isinstance(reply, RedisError):
        return reply
    now_ms, due_ms, was_enqueued, spec = reply
    return Mark(int(now_ms), int(due_ms), bool(was_enqueued), spec.decode())
