"""taskiq, whichever broker of taskiq-redis it uses."""

from __future__ import annotations

import asyncio
import logging
import signal
from datetime import UTC, datetime, timedelta

from taskiq import AsyncBroker, AsyncTaskiqDecoratedTask, TaskiqScheduler
from taskiq.api import run_scheduler_task
from taskiq.receiver import Receiver
from taskiq_redis import ListRedisScheduleSource

from benchmarks.contestants._cli import AsyncioLibrary, Payload, run
from benchmarks.contestants.protocol import Arguments, Workloads

Tasks = dict[str, AsyncTaskiqDecoratedTask[[Payload], None]]


class Taskiq(AsyncioLibrary):
    """Subclasses make the broker."""

    distribution = "taskiq"
    client = ("taskiq-redis", "redis", "hiredis")
    no_bulk = "taskiq has no call that enqueues several tasks"
    tasks: Tasks
    producer: AsyncBroker
    schedules: ListRedisScheduleSource

    def broker(self, url: str, connections: int) -> AsyncBroker:
        raise NotImplementedError

    async def open(self, given: Arguments) -> None:
        self.producer = self.broker(given.redis, given.in_flight)
        self.tasks = _tasks(self.producer, Workloads(None))
        self.schedules = ListRedisScheduleSource(given.redis)
        await self.producer.startup()

    async def close(self) -> None:
        await self.schedules.shutdown()
        await self.producer.shutdown()

    async def enqueue(self, task: str, payload: Payload) -> object:
        return await self.tasks[task].kiq(payload)

    async def enqueue_in(self, task: str, payload: Payload, seconds: float) -> object:
        due = datetime.now(UTC) + timedelta(seconds=seconds)
        return await self.tasks[task].schedule_by_time(self.schedules, due, payload)

    def work(self, given: Arguments, workloads: Workloads) -> None:
        logging.basicConfig(level=logging.WARNING)
        broker = self.broker(given.redis, given.concurrency)
        broker.is_worker_process = True
        _tasks(broker, workloads)
        run(_serve(broker, given))


async def _serve(broker: AsyncBroker, given: Arguments) -> None:
    # What `taskiq worker --no-parse` and, beside the first worker, `taskiq scheduler
    # --update-interval 1` run: taskiq's delayed tasks are sent by a scheduler, of which there
    # must be one.
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    receiver = Receiver(broker, max_async_tasks=given.concurrency, validate_params=False)
    scheduler: asyncio.Task[None] | None = None
    if given.slot == 0:
        source = ListRedisScheduleSource(given.redis)
        scheduler = asyncio.create_task(
            run_scheduler_task(TaskiqScheduler(broker, [source]), interval=timedelta(seconds=1))
        )
    await receiver.listen(stop)
    if scheduler:
        scheduler.cancel()
        await asyncio.wait([scheduler])
    await broker.shutdown()


def _tasks(broker: AsyncBroker, workloads: Workloads) -> Tasks:
    async def noop(payload: Payload) -> None:
        workloads.noop()

    async def sleep10(payload: Payload) -> None:
        await workloads.sleep10()

    async def stamp(payload: Payload) -> None:
        workloads.stamp(payload["ns"])

    handlers = (noop, sleep10, stamp)
    return {each.__name__: broker.task(task_name=each.__name__)(each) for each in handlers}
