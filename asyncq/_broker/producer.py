"""How new tasks get to Redis: cut into script calls, sent, sent again where it is harmless."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from secrets import token_hex
from typing import TypeAlias

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
    copy_of,
    is_plain,
    new_task_args,
    new_task_keys,
    new_task_prefixes,
    passing,
    reply_error,
)
from .codec import encode_task
from .connection import Call, Connection, Frame, Reply
from .lane import Lane
from .message import TaskMessage
from .replicas import ReplicaWait, Shortfall
from .slices import BYTES, PER_ROUND, Slice, rounds

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
    shortfall: Shortfall | None = None
    """What the replicas owe, if they were waited for."""


Answer: TypeAlias = Enqueued | EnqueueError | RedisError
"""What came of a new task."""

_Ready: TypeAlias = tuple[Sequence[Slice[NewTask]], Sequence[Call]]
"""Slices, and what is said to Redis for them."""

_PENDING = Enqueued(TaskState.PENDING, 0)


class Producer:
    """Stores new tasks, over one connection."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self.connection = connection
        self.clock = clock
        self._announced: dict[str, float] = {}
        self._lanes: dict[str, Lane[NewTask, Answer]] = {}
        self._patient_lanes: dict[tuple[str, ReplicaWait], Lane[NewTask, Answer]] = {}

    async def enqueue(
        self, items: Iterable[NewTask], wait: ReplicaWait | None = None
    ) -> list[Answer]:
        """Store new tasks; the results line up with `items`, and errors stand in their places.

        Items are taken a few hundred at a time, the next ones while Redis works on the last.
        Sent again for about two seconds after a lost connection, and while Redis would not take
        it just now; then what is still open fails. Replicas of a single master that were waited
        for in vain are hardly waited for again in the same call.
        """
        sending = _Sending(self, wait)
        ahead = sending.made_ready(items)
        ready = next(ahead, None)
        while ready is not None:
            delivery = asyncio.create_task(sending.deliver(ready))
            try:
                await asyncio.sleep(0)  # it is on its way; while Redis works, the next is made
                ready = next(ahead, None)
                await delivery
            finally:
                delivery.cancel()
        return sending.results

    async def enqueue_one(self, item: NewTask, wait: ReplicaWait | None = None) -> Answer:
        """The same for one. Calls made while others are under way travel together, those that
        wait for replicas only with their like."""
        # A node of a cluster that is away must not hold up the queues of the others.
        road = item.message.queue if self.connection.is_cluster else ""
        if wait is not None:
            return await self._enqueue_patiently(item, road, wait)
        lane = self._lanes.get(road)
        if lane is None or lane.loop is not asyncio.get_running_loop():
            lane = self._lanes[road] = Lane(self._on_one_road, _size_of_new, BYTES)
        return await lane.ride(item)

    async def _enqueue_patiently(self, item: NewTask, road: str, wait: ReplicaWait) -> Answer:
        lane = self._patient_lanes.get((road, wait))
        if lane is None or lane.loop is not asyncio.get_running_loop():
            send = partial(self._on_one_road, wait=wait)
            lane = self._patient_lanes[road, wait] = Lane(send, _size_of_new, BYTES)
        try:
            return await lane.ride(item)
        finally:
            # How long to wait is the caller's word: there may be any number of these lanes.
            if lane.is_empty() and self._patient_lanes.get((road, wait)) is lane:
                del self._patient_lanes[road, wait]

    def _on_one_road(self, items: Sequence[NewTask], wait: ReplicaWait | None = None) -> _Sending:
        sending = _Sending(self, wait)
        by_trips = sending.add(items)
        if len(items) == 1:
            sending.open = (Slice(items[0].message.queue, ((0, items[0]),)),)
        else:
            sending.open = [slice_ for slices in by_trips for slice_ in slices]
        return sending

    async def enqueue_once(
        self,
        slices: Sequence[Slice[NewTask]],
        call_token: str,
        calls: Sequence[Call] = (),
        frame: Frame | None = None,
    ) -> list[Reply]:
        """One round trip; a reply of enqueue.lua for every slice. `calls` if they are made already.

        In a cluster those that wait for replicas take a second one where queues are announced.
        Raises `RedisUnavailableError`.
        """
        now = time.monotonic()
        announce = {
            slice_.queue: None for slice_ in slices if self._announced.get(slice_.queue, 0.0) <= now
        }
        calls = calls or self.calls(slices, call_token)
        if not announce:
            return await self.connection.run(calls, frame)
        announcements = [Call.command("SADD", keys.QUEUES, queue) for queue in announce]
        if frame is not None and self.connection.is_cluster:
            # By itself: another node has the list of queues, and nobody waits for its replicas.
            with suppress(RedisError):  # as below: it is announced again
                self._note_announced(announce, await self.connection.run(announcements))
            return await self.connection.run(calls, frame)
        replies = await self.connection.run([*announcements, *calls], frame)
        self._note_announced(announce, replies)
        if frame is not None:
            frame.forget(len(announce))
        return replies[len(announce) :]

    async def announce(self, queues: Iterable[str]) -> None:
        """Put queues on the list of queues. Raises `RedisError`."""
        await self.connection.run_one(Call.command("SADD", keys.QUEUES, *queues))

    def _note_announced(self, queues: Iterable[str], replies: Sequence[Reply]) -> None:
        for queue, reply in zip(queues, replies, strict=False):
            if not isinstance(reply, RedisError):
                self._announced[queue] = time.monotonic() + _ANNOUNCE_AGAIN_S

    def calls(self, slices: Sequence[Slice[NewTask]], call_token: str) -> list[Call]:
        """What is said to Redis for `slices`."""
        return [self._enqueue_call(slice_, call_token) for slice_ in slices]

    def _enqueue_call(self, slice_: Slice[NewTask], call_token: str) -> Call:
        args: list[Arg] = [*new_task_prefixes(slice_.queue), self.clock.skew_ms]
        head = len(args)
        args.append(2)
        for _, item in slice_.items:
            if not is_plain(item):
                break
            message = item.message
            args.append(message.id)
            args.append(encode_task(message))
        else:
            return Call(scripts.ENQUEUE, new_task_keys(slice_.queue), args)
        args[head:] = [7]
        for place, item in slice_.items:
            # With its place: two items of one call with the same id are a conflict, too.
            args += new_task_args(item, f"{call_token}.{place}")
        return Call(scripts.ENQUEUE, new_task_keys(slice_.queue), args)


class _Sending:
    """Items of one call: sends them, sends them again, and gathers what came of each."""

    __slots__ = ("_call_token", "_maybe_stored", "_pauses", "_producer", "_wait", "open", "results")

    results: list[Answer]
    """Of those that are open, why they are."""
    open: Sequence[Slice[NewTask]]
    """What is to be sent."""

    def __init__(self, producer: Producer, wait: ReplicaWait | None) -> None:
        self.results = []
        self.open = ()
        self._producer = producer
        self._wait = wait
        self._call_token = ""
        self._maybe_stored = False
        self._pauses: Sequence[float] = _ENQUEUE_PAUSES_S

    def open_places(self) -> Sequence[int]:
        if not self.open:
            return ()
        return [place for slice_ in self.open for place, _ in slice_.items]

    def add(self, items: Sequence[NewTask]) -> Iterator[list[Slice[NewTask]]]:
        """More items of the call, by round trips."""
        if not self._call_token:
            for item in items:
                if not item.own_id:  # those with an id of ours recognise themselves without it
                    self._call_token = token_hex(8)
                    break
        first_place = len(self.results)
        self.results += [_PENDING] * len(items)
        return rounds(items, _queue_of_new, _size_of_new, first_place)

    def made_ready(self, items: Iterable[NewTask]) -> Iterator[_Ready]:
        """What is to be said, a round trip at a time. Items are taken as they are needed."""
        left = iter(items)
        while some := list(islice(left, PER_ROUND)):
            for slices in self.add(some):
                yield slices, self._producer.calls(slices, self._call_token)

    async def deliver(self, ready: _Ready) -> None:
        self.open, calls = ready
        self._maybe_stored = False
        await self.once(calls)
        if self.open:
            await self.again()

    async def again(self) -> None:
        """Wait and send what is open, until nothing is or for about two seconds."""
        for pause in self._pauses:
            await asyncio.sleep(pause)
            await self.once()
            if not self.open:
                return
        # Redis was waited for once. The rounds that follow are tried, not waited for.
        self._pauses = ()

    async def once(self, calls: Sequence[Call] = ()) -> None:
        """One round trip with all that is open; what has to be sent again stays so."""
        frame = None if self._wait is None else self._wait.frame()
        try:
            replies = await self._producer.enqueue_once(self.open, self._call_token, calls, frame)
        except RedisUnavailableError as error:
            self._maybe_stored = self._maybe_stored or error.sent
            for slice_ in self.open:
                self._fail(slice_, error, self._maybe_stored)
        else:
            sent = self.open
            self._take(replies)
            if self._wait is not None and frame is not None:
                self._hear(self._wait, sent, frame.replies)

    def _fail(
        self, slice_: Slice[NewTask], error: RedisUnavailableError, maybe_stored: bool
    ) -> None:
        for place, item in slice_.items:
            if maybe_stored:
                self.results[place] = OutcomeUnknownError(item.message.id, slice_.queue)
            else:
                self.results[place] = copy_of(error)

    def _take(self, replies: Sequence[Reply]) -> None:
        """Note the answers. Some may have been lost on their way (a node of a cluster)."""
        refused: list[Slice[NewTask]] = []
        results = self.results
        for slice_, reply in zip(self.open, replies, strict=True):
            if isinstance(reply, RedisUnavailableError):
                self._maybe_stored = self._maybe_stored or reply.sent
                self._fail(slice_, reply, reply.sent)
                refused.append(slice_)
                continue
            open_items = []
            answers = answers_of(reply, len(slice_.items))
            for (place, item), answer in zip(slice_.items, answers, strict=True):
                result = results[place] = enqueued(answer, item.message)
                if result is not _PENDING and isinstance(result, RedisError) and passing(result):
                    open_items.append((place, item))
                    if self._maybe_stored:
                        # It may stand where this one does not look, or is not asked.
                        results[place] = OutcomeUnknownError(item.message.id, slice_.queue)
            if open_items:
                refused.append(Slice(slice_.queue, open_items))
        self.open = refused

    def _hear(
        self,
        wait: ReplicaWait,
        sent: Sequence[Slice[NewTask]],
        said: Mapping[int, Sequence[Reply]],
    ) -> None:
        """Note what replicas said of the tasks that were stored."""
        again: list[Slice[NewTask]] = []
        for n, slice_ in enumerate(sent):
            stored = [one for one in slice_.items if isinstance(self.results[one[0]], Enqueued)]
            if not stored:
                continue
            shortfall = wait.shortfall(said[n])
            if shortfall is None:
                continue
            for place, item in stored:
                result = self.results[place]
                if shortfall.replaced:
                    self.results[place] = OutcomeUnknownError(item.message.id, slice_.queue)
                elif isinstance(result, Enqueued):
                    self.results[place] = replace(result, shortfall=shortfall)
            if shortfall.replaced:
                self._maybe_stored = True
                again.append(Slice(slice_.queue, stored))
            elif not self._producer.connection.is_cluster:
                # Of a cluster another node may have its replicas.
                self._wait = wait.hardly()
        if again:
            self.open = [*self.open, *again]


def enqueued(answer: Reply, message: TaskMessage) -> Answer:
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
