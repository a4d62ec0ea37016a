"""How new tasks get to Redis: cut into script calls, sent, sent again where it is harmless."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_hex

from .._clock import Clock
from ..errors import (
    DuplicateTaskError,
    EnqueueError,
    OutcomeUnknownError,
    RedisError,
    RedisUnavailableError,
    TaskIdConflictError,
)
from ..task import TaskState
from . import keys, scripts
from .arguments import (
    Arg,
    NewTask,
    answers_of,
    is_plain,
    new_task_args,
    new_task_keys,
    passing,
    reply_error,
)
from .codec import encode_task
from .connection import Call, Connection, Reply
from .message import TaskMessage
from .slices import Slice, rounds

# Between the sendings of one enqueue. About two seconds bridge the last moments of a failover;
# whether to wait longer the caller knows better.
_ENQUEUE_PAUSES_S = (0.05, 0.2, 0.5, 1.2)
# A queue is announced again after this time: somebody may have deleted it.
_ANNOUNCE_AGAIN_S = 10.0

_STATES = {state.value.encode(): state for state in TaskState}


@dataclass(frozen=True, slots=True)
class Enqueued:
    """Where Redis put a new task; `due_ms` is 0 unless it is scheduled."""

    state: TaskState
    due_ms: int


_PENDING = Enqueued(TaskState.PENDING, 0)


class Producer:
    """Stores new tasks, over one connection."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self.connection = connection
        self.clock = clock
        self._announced: dict[str, float] = {}

    async def enqueue(self, items: Sequence[NewTask]) -> list[Enqueued | EnqueueError | RedisError]:
        """Store new tasks; the results line up with `items`, and no error is raised.

        Sent again for about two seconds after a lost connection, and while Redis would not take
        it just now; then what is still open fails.
        """
        sending = _Sending(self, len(items))
        for round_ in rounds(items, _queue_of_new, _size_of_new):
            await sending.deliver(round_)
        return sending.results()

    async def enqueue_once(self, slices: Sequence[Slice[NewTask]], call_token: str) -> list[Reply]:
        """One round trip; a reply of enqueue.lua for every slice.

        Raises `RedisUnavailableError`.
        """
        queues = dict.fromkeys(slice_.queue for slice_ in slices)
        announce = [q for q in queues if self._announced.get(q, 0.0) <= time.monotonic()]
        calls = [Call.command("SADD", keys.QUEUES, queue) for queue in announce]
        calls += [self._enqueue_call(slice_, call_token) for slice_ in slices]
        replies = await self.connection.run(calls)
        for queue, reply in zip(announce, replies, strict=False):
            if not isinstance(reply, RedisError):
                self._announced[queue] = time.monotonic() + _ANNOUNCE_AGAIN_S
        return replies[len(announce) :]

    def _enqueue_call(self, slice_: Slice[NewTask], call_token: str) -> Call:
        args: list[Arg] = [
            keys.task_prefix(slice_.queue),
            keys.group_prefix(slice_.queue),
            keys.due_channel(slice_.queue),
            self.clock.skew_ms,
        ]
        if all(is_plain(item) for _, item in slice_.items):
            args.append(2)
            for _, item in slice_.items:
                args += (item.message.id, encode_task(item.message))
        else:
            args.append(7)
            for place, item in slice_.items:
                # With its place: two items of one call with the same id are a conflict, too.
                args += new_task_args(item, f"{call_token}.{place}")
        return Call.of(scripts.ENQUEUE, new_task_keys(slice_.queue), args)


class _Sending:
    """One `enqueue`: sends, sends again, and gathers what came of each item."""

    def __init__(self, producer: Producer, count: int) -> None:
        self._producer = producer
        self._call_token = token_hex(8)
        self._pauses: Sequence[float] = _ENQUEUE_PAUSES_S
        self._results: list[Enqueued | EnqueueError | RedisError | None] = [None] * count

    def results(self) -> list[Enqueued | EnqueueError | RedisError]:
        return [result for result in self._results if result is not None]

    async def deliver(self, slices: Sequence[Slice[NewTask]]) -> None:
        maybe_stored = False
        for pause in (*self._pauses, None):
            try:
                replies = await self._producer.enqueue_once(slices, self._call_token)
            except RedisUnavailableError as error:
                maybe_stored = maybe_stored or error.sent
                self._fail(slices, error, maybe_stored)
            else:
                slices, lost = self._take(slices, replies)
                maybe_stored = maybe_stored or lost
            if not slices:
                return
            if pause is not None:
                await asyncio.sleep(pause)
        # Redis was waited for once. The rounds that follow are tried, not waited for.
        self._pauses = ()

    def _fail(
        self, slices: Sequence[Slice[NewTask]], error: RedisUnavailableError, maybe_stored: bool
    ) -> None:
        for slice_ in slices:
            for place, item in slice_.items:
                self._results[place] = (
                    OutcomeUnknownError(item.message.id, slice_.queue) if maybe_stored else error
                )

    def _take(
        self, slices: Sequence[Slice[NewTask]], replies: Sequence[Reply]
    ) -> tuple[list[Slice[NewTask]], bool]:
        """Note the answers. Returns what is to be sent again, and whether some of it was lost
        on its way (a node of a cluster) and may be stored."""
        refused: list[Slice[NewTask]] = []
        lost = False
        for slice_, reply in zip(slices, replies, strict=True):
            answers = answers_of(reply, len(slice_.items))
            open_items = []
            for (place, item), answer in zip(slice_.items, answers, strict=True):
                result = enqueued(answer, item.message)
                self._results[place] = result
                if isinstance(result, RedisError) and passing(result):
                    open_items.append((place, item))
            if isinstance(reply, RedisUnavailableError):
                lost = lost or reply.sent
                self._fail([slice_], reply, reply.sent)
            if open_items:
                refused.append(Slice(slice_.queue, open_items))
        return refused, lost


def enqueued(answer: Reply, message: TaskMessage) -> Enqueued | EnqueueError | RedisError:
    """One answer of enqueue.lua."""
    if isinstance(answer, RedisError):
        return answer
    if answer == 1:
        return _PENDING
    code, text, due_ms = answer
    if code == 1:
        # Empty where something that is no task stands under an id that we made: it was ours.
        return Enqueued(_STATES.get(text, TaskState.PENDING), int(due_ms))
    if code == 0:
        return TaskIdConflictError(message.id, message.queue)
    if code == -1:
        return DuplicateTaskError(message.type, message.queue)
    return reply_error(text)


def _queue_of_new(item: NewTask) -> str:
    return item.message.queue


def _size_of_new(item: NewTask) -> int:
    return len(item.message.payload)
