"""A server with short lengths, a client, and a look at what became of a task.

async with working(handler, concurrency=3) as work:      # the fixture
    info = await work.enqueue("t", max_retry=0)
    message = await work.comes_to("archived", info)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from redis.asyncio import Redis
from stored import snapshot
from waiting import soon, until

from asyncq import Client, Server, ServerConfig, Task, TaskInfo
from asyncq._broker import keys
from asyncq._broker.arguments import NewTask
from asyncq._broker.broker import Broker, Enqueued
from asyncq._broker.codec import decode_task, task_info
from asyncq._broker.message import TaskMessage
from asyncq._clock import Clock
from asyncq._worker.timing import Timing

_FAST: dict[str, Any] = {
    "lease": 4,
    "heartbeat": 0.3,
    "claimed_grace": 1,
    "unclaimed_grace": 1,
    "recover": 0.2,
    "sweep": 0.2,
    "orphan": 0.5,
    "cancel": 0.3,
    "error_handler": 0.5,
    "block": 1,
    "set_deadline": 3,
    "blocked_after": 1,
}


def fast(**changes: Any) -> Timing:
    """Lengths for tests: what takes half a minute takes a second or two."""
    return Timing(**(_FAST | changes))


class Sleeper:
    """A handler that sleeps until it is cancelled, and then does what it was told to."""

    def __init__(self, then: Any = None) -> None:
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()
        self._then = then

    async def __call__(self, task: Task) -> object:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            if self._then is None:
                raise
        if isinstance(self._then, BaseException):
            raise self._then
        return self._then


class Work:
    """A queue at work: what is enqueued to it, and what became of that."""

    def __init__(self, redis: Redis, client: Client, queue: str) -> None:
        self.redis = redis
        self.client = client
        self.queue = queue
        self.server: Server

    async def enqueue(
        self, task: Task | str = "t", payload: Any = None, **options: Any
    ) -> TaskInfo:
        if isinstance(task, str):
            task = Task(task, payload)
        options.setdefault("queue", self.queue)
        return await self.client.enqueue(task, **options)

    async def enqueue_message(self, message: TaskMessage) -> TaskInfo:
        """Enqueue a message as it is, whatever a client would say to it."""
        broker = Broker(self.client._connection, self.client._clock)
        (answer,) = await broker.enqueue([NewTask(message, own_id=True)])
        assert isinstance(answer, Enqueued), answer
        # Without the limits, which may be beyond what a datetime can be.
        return task_info(message._replace(timeout=0, deadline=0), answer.state)

    async def cancel(self, info: TaskInfo) -> None:
        """Cancel a running task as asynq's inspector does, once the worker listens."""
        assert self.server._parts is not None
        await soon(self.server._parts.subscriber.subscribed.wait())
        await self.redis.publish(keys.CANCEL_CHANNEL, info.id)

    async def stored(self, info: TaskInfo) -> dict[str, bytes]:
        """The fields of a task's hash; empty when it is gone."""
        fields: dict[Any, Any] = await self.redis.hgetall(keys.task(info.queue, info.id))
        return {name.decode(): value for name, value in fields.items()}

    async def state(self, info: TaskInfo) -> str:
        """The state of a task; empty when it is gone."""
        return (await self.stored(info)).get("state", b"").decode()

    async def comes_to(self, state: str, info: TaskInfo) -> TaskMessage:
        """Wait for a state; the message as it stands there."""
        await until(lambda: self._is(info, state), f"{info} {state}")
        return decode_task((await self.stored(info))["msg"])

    async def gone(self, info: TaskInfo) -> None:
        """Wait until a task is deleted."""
        await until(lambda: self._is(info, ""), f"{info} gone")

    async def snapshot(self) -> dict[str, Any]:
        """All that stands in Redis for the queue, but for who forwards it."""
        there = await snapshot(self.redis, self.queue)
        there.pop("asyncq:forwarder", None)
        return there

    async def counters(self) -> tuple[int, int]:
        """Processed and failed, in all; the days' counters agree."""
        today = datetime.now(UTC)
        days = [(today - timedelta(days=ago)).strftime("%Y-%m-%d") for ago in (0, 1)]
        found = await self.redis.mget(
            keys.processed(self.queue),
            keys.failed(self.queue),
            *(keys.processed_on(self.queue, day) for day in days),
            *(keys.failed_on(self.queue, day) for day in days),
        )
        processed, failed, *of_days = [int(value or 0) for value in found]
        assert [sum(of_days[:2]), sum(of_days[2:])] == [processed, failed]
        return processed, failed

    async def counted(self, processed: int, failed: int) -> None:
        """Wait until the counters say so."""
        await until(lambda: self._counted((processed, failed)), f"{processed} and {failed} counted")

    async def nothing_held(self) -> None:
        """Wait until no task is active and no lease is held."""
        await until(self._nothing_held, "nothing held")

    async def _counted(self, wanted: tuple[int, int]) -> bool:
        return await self.counters() == wanted

    async def _nothing_held(self) -> bool:
        return not await self.redis.exists(keys.active(self.queue), keys.lease(self.queue))

    async def _is(self, info: TaskInfo, state: str) -> bool:
        return await self.state(info) == state


@asynccontextmanager
async def working(
    redis: Redis,
    url: str,
    queue: str,
    handler: Any,
    *,
    timing: Timing | None = None,
    clock: Clock | None = None,
    **config: Any,
) -> AsyncGenerator[Work]:
    """A server at work on one queue (or on `queues=`), and a client."""
    async with Client(url, _clock=clock) as client:
        work = Work(redis, client, queue)
        defaults: dict[str, Any] = {"queues": {queue: 1}, "concurrency": 10, "shutdown_timeout": 5}
        config = defaults | config
        server = Server(
            url, handler, ServerConfig(**config), _timing=timing or fast(), _clock=clock
        )
        work.server = server
        async with server:
            yield work


Working = Callable[..., AbstractAsyncContextManager[Work]]
"""The fixture `working` of the tests: `working(handler, **config)`."""
