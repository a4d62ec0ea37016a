"""For tests of handlers and of code that enqueues: an attempt to be in, and queues run dry.

Goes with any test framework, and knows none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from .client import Client, RedisSource, announce
from .config import GroupConfig, ServerConfig
from .context import TaskContext, current, enter
from .handler import Handler
from .info import QueueInfo
from .inspector import Inspector
from .mux import ServeMux, TaskFunction, as_handler
from .options import Duration, seconds
from .server import Server
from .task import Task, TaskState

__all__ = ["Attempt", "drain", "in_attempt"]

_LOOK_EVERY_S = 0.005


@contextmanager
def in_attempt(
    *,
    task_id: str = "test",
    task_type: str = "test",
    queue: str = "default",
    retry_count: int = 0,
    max_retry: int = 25,
    deadline: datetime | None = None,
    headers: Mapping[str, str] | None = None,
    state: Any = None,
) -> Generator[list[bytes]]:
    """Call a handler as if a worker did: inside the `with` block, `current()` is an attempt with
    these fields.

    The value is a list of what its `write_result` is given, each as it would stand in Redis.
    """
    written: list[bytes] = []

    async def write(result: bytes) -> None:
        written.append(result)

    attempt = TaskContext(
        task_id=task_id,
        task_type=task_type,
        queue=queue,
        retry_count=retry_count,
        max_retry=max_retry,
        deadline=deadline,
        headers=headers or {},
        state=state,
        _write=write,
    )
    token = enter(lambda: attempt)
    try:
        yield written
    finally:
        token.var.reset(token)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at one task, as `drain` saw it end."""

    task: Task
    context: TaskContext
    """What `current()` was: task id, queue, retries so far, and so on."""
    result: object = None
    """What the handler returned."""
    error: BaseException | None = None
    """What the handler raised; a `CancelledError` after a time-out or a cancel."""


async def drain(
    redis: RedisSource | None,
    handler: ServeMux | TaskFunction,
    config: ServerConfig | None = None,
    *,
    run_delayed: bool = False,
    timeout: Duration = 30,
) -> list[Attempt]:
    """Run a `Server` of these arguments until its queues are dry: no task in them is pending or
    active, those that handlers enqueued included. Returns the attempts in the order in which
    they ended. The queues are on the list of queues afterwards, even without tasks.

    Scheduled tasks, tasks that wait for a retry, and groups are left to wait. With `run_delayed`
    tasks are run at once, so that one which goes on failing ends up archived, and groups are
    aggregated at once, if the config has `group=`.

    Raises `TimeoutError`, which says what is left, after `timeout` seconds and as much of the
    config's `shutdown_timeout` as handlers that still run need; what `Server` and its `start` and
    `wait` raise; and what the aggregator raises. The errors of handlers are in the attempts.
    """
    config = config or ServerConfig()
    limit = seconds("timeout", timeout)
    recorder = _Recorder(as_handler(handler))
    async with Client(redis) as client:
        # Groups stay out of the server: nobody sees from outside when an aggregation is done.
        server = Server(client, recorder.handle, replace(config, group=None))
        work = _Work(client, config, recorder, run_delayed)
        async with server:
            # A client says only now and then that there is a queue, and tests delete queues.
            await announce(client, config.queues)
            give_up = time.monotonic() + limit
            while server.state == "active" and not await work.is_done():
                if time.monotonic() > give_up:
                    raise TimeoutError(f"not dry after {limit:g} s: {await work.what_is_left()}")
                await asyncio.sleep(_LOOK_EVERY_S)
    return recorder.ended


class _Recorder:
    """Stands before a handler and keeps what comes of it."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.begun = 0
        self.ended: list[Attempt] = []

    async def handle(self, task: Task) -> object:
        self.begun += 1
        context = current()
        try:
            result = await self._handler(task)
        except BaseException as error:
            self.ended.append(Attempt(task, context, error=error))
            raise
        self.ended.append(Attempt(task, context, result))
        return result


class _Work:
    """What is left to do in the queues of a server."""

    def __init__(
        self, client: Client, config: ServerConfig, recorder: _Recorder, run_delayed: bool
    ) -> None:
        self._client = client
        self._inspector = Inspector(client)
        self._queues = config.queues
        self._group = config.group
        self._recorder = recorder
        self._run_delayed = run_delayed

    async def is_done(self) -> bool:
        # One queue is looked at after the other. A handler that ran meanwhile may have enqueued
        # to one that was seen empty: what was seen counts only if none did.
        begun = self._recorder.begun
        if begun > len(self._recorder.ended) or await self._left():
            return False
        if self._run_delayed and await self._make_due():
            return False
        return begun == self._recorder.begun

    async def what_is_left(self) -> str:
        left = [
            f"queue {info.queue!r}: {info.pending} pending, {info.active} active"
            f"{' (paused)' if info.paused else ''}"
            for info in await self._left()
        ]
        running = self._recorder.begun - len(self._recorder.ended)
        if running:
            left.append(f"{running} {'handler has' if running == 1 else 'handlers have'} not ended")
        return "; ".join(left) or "tasks that handlers enqueue again and again"

    async def _left(self) -> list[QueueInfo]:
        """The queues that are not dry."""
        infos = [await self._inspector.queue_info(queue) for queue in await self._known()]
        return [info for info in infos if info.pending or info.active]

    async def _known(self) -> list[str]:
        """Those that nobody has deleted meanwhile."""
        return [queue for queue in await self._inspector.queues() if queue in self._queues]

    async def _make_due(self) -> int:
        """Make pending what waits for a later time. Returns of how many tasks that was made."""
        moved = 0
        for queue in await self._known():
            for state in (TaskState.SCHEDULED, TaskState.RETRY):
                moved += await self._inspector.run_all(queue, state)
            if self._group is not None:
                for group in await self._inspector.groups(queue):
                    moved += await self._aggregate(queue, group.group, self._group)
        return moved

    async def _aggregate(self, queue: str, group: str, config: GroupConfig) -> int:
        """What an aggregator of a server does, when all of the group is due."""
        found = self._inspector.iter_tasks(queue, TaskState.AGGREGATING, group=group)
        parts = [part async for part in found]
        size = config.max_size or len(parts)
        for start in range(0, len(parts), size):
            together = parts[start : start + size]
            tasks = [Task.stored(part.type, part.payload, part.headers) for part in together]
            one = config.aggregator(group, tasks)
            one = await one if isinstance(one, Awaitable) else one
            await self._client.enqueue(one, queue=queue)
            for part in together:
                await self._inspector.delete_task(queue, part.id)
        return len(parts)
