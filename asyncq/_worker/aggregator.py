"""Makes one task out of the tasks of a group."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from .. import _threads
from .._broker.aggregation import Aggregation, AggregationSet
from .._broker.arguments import NewTask
from ..client import new_task
from ..config import GroupConfig
from ..errors import EnqueueError, RedisError, RedisUnavailableError
from ..options import compose
from ..task import Task
from .loop import Backoff, each_queue, run_every

_log = logging.getLogger("asyncq")

MOST_AT_ONCE = 3
"""How many groups are aggregated at a time; asynq's."""
LONGEST_INTERVAL_S = 7.0


class Aggregator:
    """Looks at the groups of a server's queues, and aggregates those whose time has come.

    Groups take turns, a set at a time, and no look waits for an aggregation to end: neither a
    group that is always full nor a slow aggregator keeps the others. A group whose aggregation
    fails goes back after its set's deadline, and is tried again.
    """

    def __init__(self, aggregation: Aggregation, queues: Iterable[str], group: GroupConfig) -> None:
        self._aggregation = aggregation
        self._queues = list(queues)
        self._group = group
        self._places = asyncio.Semaphore(MOST_AT_ONCE)  # first come, first served
        self._checks: dict[tuple[str, str], asyncio.Task[None]] = {}  # each removes itself
        self._stop = asyncio.Event()

    @property
    def interval(self) -> float:
        """How often to look: at least once in a grace period, since only the newest task of a
        group is compared with it."""
        return min(LONGEST_INTERVAL_S, self._group.grace_period)

    async def run(self, stop: asyncio.Event) -> None:
        """Aggregate until `stop` is set and what has begun is done; cancelled, it ends that."""
        self._stop = stop
        try:
            await run_every("aggregator", self.step, self.interval, stop=stop)
            await self.settled()
        finally:
            for check in self._checks.values():
                check.cancel()
            await asyncio.gather(*self._checks.values(), return_exceptions=True)

    async def step(self) -> None:
        """Start on all groups that are not being looked at yet."""
        await each_queue(self._queues, self._start)

    async def settled(self) -> None:
        """Return when all that has been started on is done."""
        if self._checks:
            await asyncio.wait(self._checks.values())

    async def _start(self, queue: str) -> None:
        for group in await self._aggregation.groups(queue):
            key = (queue, group)
            if key not in self._checks:
                check = self._checks[key] = asyncio.create_task(self._check(queue, group))
                check.add_done_callback(partial(self._ended, key))

    def _ended(self, key: tuple[str, str], check: asyncio.Task[None]) -> None:
        del self._checks[key]

    async def _check(self, queue: str, group: str) -> None:
        """Aggregate one group until it has no more that is ripe."""
        try:
            while await self._take_turn(queue, group):
                pass
        except RedisError as error:
            _log.warning("aggregating group %r of queue %r: %s", group, queue, error)
        except Exception:  # noqa: BLE001 - a task of its own: nobody else would see it
            _log.exception("aggregating group %r of queue %r failed", group, queue)

    async def _take_turn(self, queue: str, group: str) -> bool:
        """Aggregate one set; whether the group may have another."""
        async with self._places:
            if self._stop.is_set():
                return False
            taken = await self._take(queue, group)
            return taken is not None and await self._end(taken)

    async def _take(self, queue: str, group: str) -> AggregationSet | None:
        return await self._aggregation.take_set(
            queue,
            group,
            grace_s=self._group.grace_period,
            max_delay_s=self._group.max_delay,
            max_size=self._group.max_size,
        )

    async def _end(self, taken: AggregationSet) -> bool:
        """Whether the set is gone, and not back in its group."""
        if taken.unreadable:
            _log.error(
                "group %r of queue %r has tasks whose message is missing or cannot be read;"
                " those that exist go to the archive: %s",
                taken.group,
                taken.queue,
                ", ".join(id_.decode("utf-8", "backslashreplace") for id_ in taken.unreadable[:10]),
            )
        if not taken.messages:
            return await self._aggregation.drop(taken)
        return await self._aggregate(taken)

    async def _aggregate(self, taken: AggregationSet) -> bool:
        """Whether the set has become a task."""
        deadline = time.monotonic() + self._aggregation.deadline_s - 1
        try:
            async with asyncio.timeout(self._aggregation.deadline_s - 1):
                new = self._compose(taken, await self._call(taken))
        except BaseException:
            # User code: what it raises ends here, SystemExit too.
            if _is_being_cancelled():
                raise
            _log.exception(
                "the aggregator failed on group %r of queue %r with %d tasks;"
                " they go back to the group",
                taken.group,
                taken.queue,
                len(taken.messages),
            )
            return False
        return await self._finish(taken, new, deadline)

    async def _call(self, taken: AggregationSet) -> Task:
        tasks = [Task.stored(m.type, m.payload, m.headers) for m in taken.messages]
        aggregator: Any = self._group.aggregator
        if inspect.iscoroutinefunction(aggregator):
            made: Any = await aggregator(taken.group, tasks)
        else:
            made = await _threads.run("aggregator", lambda _: aggregator(taken.group, tasks), None)
            if inspect.isawaitable(made):
                made = await made
        if not isinstance(made, Task):
            raise TypeError(f"an aggregator returns a Task, this one returned {made!r}")
        return made

    def _compose(self, taken: AggregationSet, made: Task) -> NewTask:
        """The new task, in the queue of its parts whatever its own options say."""
        return new_task(made, compose(made.options, {"queue": taken.queue}))

    async def _finish(self, taken: AggregationSet, new: NewTask, deadline: float) -> bool:
        """Enqueue the new task and delete its parts in one step, again while there is time."""
        backoff = Backoff()
        sent_before = False
        while True:
            try:
                answer = await self._aggregation.finish(taken, new)
                break
            except RedisUnavailableError as error:
                sent_before = sent_before or error.sent
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(backoff.next())
        if isinstance(answer, (EnqueueError, RedisError)):
            _log.error(
                "the task made of group %r of queue %r was not enqueued, its %d parts go back"
                " to the group: %s",
                taken.group,
                taken.queue,
                len(taken.messages),
                answer,
            )
            return False
        if answer is None and not sent_before:
            _log.warning(
                "group %r of queue %r: its aggregation took too long and was given up",
                taken.group,
                taken.queue,
            )
            return False
        return True


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
