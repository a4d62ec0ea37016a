"""How a worker learns that a queue has tasks, and what it costs Redis when there are none."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis_servers import RedisServer
from serving import Working, fast
from serving import working as working_at
from waiting import until

from asyncq import Task, current
from asyncq._broker import keys
from asyncq._broker.codec import encode_task
from asyncq._broker.message import TaskMessage

StartRedis = Callable[..., RedisServer]
NEVER_POLLS = 3600.0
"""A polling interval that no test lives to see the end of."""


async def passing(task: Task) -> None:
    """Succeeds, every time."""


async def push_raw(redis: Redis, queue: str, task_id: str) -> None:
    """As Go's client enqueues, which tells nobody."""
    fields: dict[Any, Any] = {"msg": encode_task(TaskMessage("t", task_id, queue))}
    await redis.hset(keys.task(queue, task_id), mapping=fields | {"state": "pending"})
    await redis.lpush(keys.pending(queue), task_id)


async def handled(redis: Redis, queue: str, task_id: str) -> None:
    async def gone() -> bool:
        return not await redis.exists(keys.task(queue, task_id))

    await until(gone, f"{task_id} handled")


@pytest.mark.every_redis
async def test_a_waiting_worker_is_woken_by_whoever_pushes(
    working: Working, redis: Redis, queue: str
) -> None:
    async with working(passing, task_check_interval=NEVER_POLLS) as work:
        for n in range(20):
            await push_raw(redis, queue, f"task-{n}")
            await handled(redis, queue, f"task-{n}")
        await work.gone(await work.enqueue())


async def test_it_is_woken_however_often_it_has_waited_in_vain(
    working: Working, redis: Redis, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    timing = fast(block=0.05)
    async with working(passing, task_check_interval=NEVER_POLLS, timing=timing) as work:
        parts = work.server._parts
        assert parts is not None
        waiter = parts.processor._fetcher.watches[queue]._waiter
        assert waiter is not None
        waited = Counter[bool]()
        wait = waiter.wait

        async def count(*args: Any) -> bool:
            found = await wait(*args)
            waited[found] += 1
            return found

        monkeypatch.setattr(waiter, "wait", count)
        await until(lambda: waited[False] >= 5)
        await push_raw(redis, queue, "a")
        await handled(redis, queue, "a")


async def test_each_of_many_queues_is_served_waited_on_or_polled(
    working: Working, redis: Redis, queue: str
) -> None:
    queues = {f"{queue}-{n}": 20 - n for n in range(20)}
    seen: list[str] = []

    async def handler(task: Task) -> None:
        seen.append(current().queue)

    async with working(handler, queues=queues, task_check_interval=0.05) as work:
        parts = work.server._parts
        assert parts is not None
        watches = parts.processor._fetcher.watches
        assert [n for n, watch in enumerate(watches.values()) if watch._waiter] == list(range(16))
        for name in queues:
            await push_raw(redis, name, "a")
        await until(lambda: len(seen) == 20)
    assert sorted(seen) == sorted(queues)


async def test_a_worker_that_may_not_wait_polls(
    start_redis: StartRedis, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_redis(tcp=True)
    async with server.client() as redis:
        raw: Any = redis  # redis-py's ACL helpers know neither channels nor this order
        await raw.execute_command(*"ACL SETUSER worker on >secret ~* &* +@all -blmove".split())
        url = f"redis://worker:secret@127.0.0.1:{server.port}/0"
        async with working_at(redis, url, queue, passing, task_check_interval=0.05) as work:
            for n in range(3):
                await push_raw(redis, queue, f"task-{n}")
                await handled(redis, queue, f"task-{n}")
            await work.gone(await work.enqueue())
    assert f"waiting for queue '{queue}': Redis answered: NOPERM" in caplog.text


async def test_a_queue_whose_key_is_no_list_is_complained_of_and_asked_now_and_then(
    working: Working, redis: Redis, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    await redis.set(keys.pending(queue), "no list")
    other = f"{queue}-other"
    async with working(passing, queues={queue: 1, other: 1}, task_check_interval=0.05) as work:
        await work.gone(await work.enqueue(queue=other))
        await until(lambda: "WRONGTYPE" in caplog.text)
        await redis.delete(keys.pending(queue))
        await work.gone(await work.enqueue())


async def _calls(redis: Redis) -> Counter[str]:
    stats: dict[str, Any] = await redis.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): int(s["calls"]) for name, s in stats.items()})


async def test_an_idle_worker_says_little_to_redis(start_redis: StartRedis, queue: str) -> None:
    server = start_redis()
    async with (
        server.client() as redis,
        working_at(redis, server.url, queue, passing, timing=fast(block=0.2)) as work,
    ):
        await work.gone(await work.enqueue())
        before, start = await _calls(redis), time.monotonic()
        await until(lambda: _waited(redis, before, 5))
        said, took = await _calls(redis) - before, time.monotonic() - start
    # Waiting five times took a second at least; whatever else was said fits into as many calls
    # as the shortened heartbeat, recoverer and sweep have steps.
    assert took >= 5 * 0.2 * 0.9
    assert said["evalsha"] <= 30 * took + 10, said


async def _waited(redis: Redis, before: Counter[str], times: int) -> bool:
    return (await _calls(redis))["blmove"] - before["blmove"] >= times


async def test_a_wake_that_brings_nothing_does_not_spin(
    working: Working, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(passing, task_check_interval=0.2, timing=fast(block=0.2)) as work:
        parts = work.server._parts
        assert parts is not None
        watch = parts.processor._fetcher.watches[queue]
        assert watch._waiter is not None
        wakes: list[float] = []

        async def wake(*_: Any) -> bool:
            wakes.append(time.monotonic())
            return True

        monkeypatch.setattr(watch._waiter, "wait", wake)  # as if others were faster
        await until(lambda: len(wakes) >= 12)
        # 2, 4, 8 ... ms, up to the polling interval.
        assert wakes[11] - wakes[0] > 0.3
