"""Delayed tasks: never early, in order, whoever scheduled them; and who forwards a queue."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from serving import Work, Working
from stored import a_message, now_us, travel_to
from waiting import until

from asyncq import Task, current
from asyncq._broker import keys
from asyncq._broker.codec import encode_task
from asyncq._clock import Clock


class Log:
    """A handler that notes what it handled, and when by Redis's clock."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.types: list[str] = []
        self.at_ms: dict[str, float] = {}

    async def __call__(self, task: Task) -> None:
        self.at_ms[task.type] = await now_us(self._redis) / 1000
        self.types.append(task.type)


async def leads(work: Work) -> None:
    """Wait until the server forwards its queue, and hears what is announced."""
    parts = work.server._parts
    assert parts is not None
    await until(lambda: parts.forwarder._leads[work.queue] and parts.subscriber.subscribed.is_set())


async def test_delayed_tasks_run_in_their_order_and_never_early(
    working: Working, redis: Redis
) -> None:
    log = Log(redis)
    async with working(log, delayed_task_check_interval=600) as work:
        await leads(work)
        delays = {"c": 0.6, "a": 0.2, "d": 1.3, "b": 0.4}
        now_ms = await now_us(redis) / 1000
        tasks = [Task(name, process_in=delay) for name, delay in delays.items()]
        await work.client.enqueue_many(tasks, queue=work.queue)  # all counted from one moment
        await until(lambda: len(log.types) == 4)
    assert log.types == ["a", "b", "c", "d"]
    for name, at_ms in log.at_ms.items():
        assert at_ms >= now_ms + delays[name] * 1000


async def test_a_task_for_a_time_of_day_never_runs_before_it(
    working: Working, redis: Redis
) -> None:
    log = Log(redis)
    async with working(log, delayed_task_check_interval=600) as work:
        await leads(work)
        due_ms = await now_us(redis) / 1000 + 300
        at = datetime.fromtimestamp(due_ms / 1000, UTC)
        await work.enqueue("a", process_at=at)
        await until(lambda: log.types)
    assert log.at_ms["a"] >= due_ms - 0.001


async def test_a_retry_does_not_wait_for_the_next_look(working: Working) -> None:
    attempts: list[float] = []

    async def handler(task: Task) -> None:
        attempts.append(time.monotonic())
        if len(attempts) < 3:
            raise ValueError

    settings: dict[str, Any] = {
        "retry_delay": lambda *_: timedelta(milliseconds=150),
        "delayed_task_check_interval": 600,
    }
    async with working(handler, **settings) as work:
        await leads(work)
        await work.gone(await work.enqueue())
    assert attempts[1] - attempts[0] >= 0.149
    assert attempts[2] - attempts[1] >= 0.149


async def test_what_is_due_when_a_server_starts_is_moved_in_batches(
    working: Working, redis: Redis, queue: str
) -> None:
    log = Log(redis)
    now_s = int(await now_us(redis) / 10**6)
    for n in range(250):
        await schedule_raw(redis, queue, f"task-{n}", now_s - 10)
    async with working(log, delayed_task_check_interval=600) as work:
        await work.counted(250, 0)


async def schedule_raw(redis: Redis, queue: str, task_id: str, due_s: int) -> None:
    """As Go's client schedules: a score in whole seconds, and nothing of ours."""
    fields: dict[Any, Any] = {"msg": encode_task(a_message(queue, task_id)), "state": "scheduled"}
    await redis.hset(keys.task(queue, task_id), mapping=fields)
    await redis.zadd(keys.scheduled(queue), {task_id: due_s})


async def test_what_go_schedules_is_run_by_its_score(
    working: Working, redis: Redis, queue: str
) -> None:
    log = Log(redis)
    async with working(log, delayed_task_check_interval=0.1) as work:
        await leads(work)
        due_s = int(await now_us(redis) / 10**6) + 2
        await schedule_raw(redis, queue, "go", due_s)
        await until(lambda: log.types)
        assert log.at_ms["t"] >= due_s * 1000


async def test_a_task_of_next_week_waits_for_next_week(
    working: Working, redis: Redis, queue: str
) -> None:
    clock = Clock()
    log = Log(redis)
    settings: dict[str, Any] = {"delayed_task_check_interval": 0.05, "clock": clock}
    async with working(log, **settings) as work:
        start_ms = await now_us(redis) / 1000
        info = await work.enqueue(process_in=timedelta(days=7))
        await work.gone(await work.enqueue("now"))
        assert await work.state(info) == "scheduled"
        await travel_to(redis, clock, start_ms + 7 * 86_400_000 + 1500)
        await work.gone(info)


async def test_one_of_two_servers_leads_and_the_other_takes_over(
    working: Working, redis: Redis, queue: str
) -> None:
    settings: dict[str, Any] = {"delayed_task_check_interval": 0.2}
    log = Log(redis)
    async with working(log, **settings) as second:
        await leads(second)
        async with working(log, **settings) as first:
            holder: Any = await redis.get(keys.forwarder(queue))
            assert holder == second.server.id.encode()
            assert first.server._parts is not None
            assert not first.server._parts.forwarder._leads[queue]
            await second.server.shutdown()
            await leads(first)
            await first.gone(await first.enqueue(process_in=0.05))


async def test_a_leader_that_died_is_replaced(working: Working, redis: Redis, queue: str) -> None:
    # Its key stands until it runs out.
    await redis.set(keys.forwarder(queue), "dead", px=400)
    log = Log(redis)
    async with working(log, delayed_task_check_interval=0.1) as work:
        await leads(work)
        await work.gone(await work.enqueue(process_in=0.05))


async def test_a_server_that_leaves_resigns(working: Working, redis: Redis, queue: str) -> None:
    log = Log(redis)
    settings: dict[str, Any] = {"delayed_task_check_interval": 600}
    async with working(log, **settings) as work:
        await leads(work)
    async with working(log, **settings) as work:
        await leads(work)
        await work.gone(await work.enqueue(process_in=0.05))


async def test_a_delayed_task_of_a_paused_queue_waits_in_pending(
    working: Working, redis: Redis, queue: str
) -> None:
    await redis.set(keys.paused(queue), 1)
    async with working(Log(redis), delayed_task_check_interval=600) as work:
        await leads(work)
        info = await work.enqueue(process_in=0.05)
        await work.comes_to("pending", info)


async def test_two_queues_of_a_server_are_both_forwarded_in_time(
    working: Working, redis: Redis, queue: str
) -> None:
    other = f"{queue}-other"
    seen: list[str] = []

    async def handler(task: Task) -> None:
        seen.append(current().queue)

    settings: dict[str, Any] = {"queues": {queue: 1, other: 1}, "delayed_task_check_interval": 600}
    async with working(handler, **settings) as work:
        await leads(work)
        await work.enqueue(process_in=0.3, queue=other)
        await work.enqueue(process_in=0.1)
        await asyncio.wait_for(until(lambda: len(seen) == 2), 60)
    assert seen == [queue, other]


async def test_a_queue_that_cannot_be_forwarded_does_not_hold_up_another(
    working: Working, redis: Redis, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad = f"{queue}-bad"
    raw: Any = redis
    await raw.set(keys.scheduled(bad), "no sorted set")
    log = Log(redis)
    settings: dict[str, Any] = {"queues": {bad: 1, queue: 1}, "delayed_task_check_interval": 600}
    async with working(log, **settings) as work:
        await leads(work)
        await work.gone(await work.enqueue(process_in=0.1))
        await until(lambda: "forwarder: " in caplog.text)
        assert log.types == ["t"]


async def test_a_server_resigns_from_its_other_queues_when_it_cannot_from_one(
    working: Working, redis: Redis, queue: str
) -> None:
    bad = f"{queue}-bad"
    settings: dict[str, Any] = {"queues": {bad: 1, queue: 1}, "delayed_task_check_interval": 600}
    async with working(Log(redis), **settings) as work:
        await leads(work)
        assert work.server._parts is not None
        forwarder = work.server._parts.forwarder
        await until(lambda: forwarder._leads[bad])
        raw: Any = redis
        await raw.set(keys.scheduled(bad), "no sorted set")
    await until(lambda: _is_free(redis, queue))


async def _is_free(redis: Redis, queue: str) -> bool:
    return not await redis.exists(keys.forwarder(queue))
