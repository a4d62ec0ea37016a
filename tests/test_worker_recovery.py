"""Tasks of workers that vanished, orphans, and overdue aggregation sets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from redis.asyncio import Redis
from serving import Work, Working, fast
from stored import a_message, new, put_active
from waiting import until

from asyncq import GroupConfig, Task
from asyncq._broker import keys
from asyncq._broker.broker import Broker
from asyncq._broker.codec import decode_task
from asyncq._broker.connection import Connection
from asyncq._broker.message import TaskMessage
from asyncq._clock import Clock

LEASE_EXPIRED = "asynq: task lease expired"


@pytest.fixture
async def dead_worker(redis_url: str) -> AsyncGenerator[Broker]:
    """Takes tasks with a lease of a second, and is never heard of again."""
    connection = Connection.open(redis_url)
    yield Broker(connection, Clock(), lease_s=1)
    await connection.aclose()


async def take_and_die(broker: Broker, *messages: TaskMessage) -> None:
    await broker.enqueue([new(message) for message in messages])
    await broker.dequeue([(messages[0].queue, len(messages))], "dead")


async def look(redis: Redis, queue: str, task_id: str) -> TaskMessage:
    data: Any = await redis.hget(keys.task(queue, task_id), "msg")
    return decode_task(data)


class Seen:
    """A handler that notes what was said of each attempt before it."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    async def __call__(self, task: Task) -> None:
        self.ids.append(task.type)


async def test_what_a_dead_worker_held_is_run_at_once_by_another(
    working: Working, dead_worker: Broker, redis: Redis, queue: str
) -> None:
    seen = Seen()
    await take_and_die(dead_worker, a_message(queue, "a"), a_message(queue, "b"))
    async with working(seen, retry_delay=lambda *_: 3600) as work:
        await until(lambda: len(seen.ids) == 2)
        await work.counted(4, 2)
        await work.nothing_held()
        assert not await redis.exists(keys.task(queue, "a"), keys.task(queue, "b"))


async def test_a_recovered_task_goes_to_the_head_and_counts_a_failure(
    working: Working,
    dead_worker: Broker,
    redis: Redis,
    queue: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await take_and_die(dead_worker, a_message(queue, "a", retry=3))
    await dead_worker.enqueue([new(a_message(queue, name)) for name in ("b", "c")])
    await redis.set(keys.paused(queue), 1)
    async with working(Seen()) as work:
        await until(lambda: _is(redis, queue, "a", "pending"))
        assert (await work.snapshot())["pending"] == ["c", "b", "a"]
        message = await look(redis, queue, "a")
        assert message.error_msg == LEASE_EXPIRED
        assert message.retried == 1
        assert message.last_failed_at
        assert await work.counters() == (1, 1)
        await until(lambda: "did not renew its lease in time; it is next" in caplog.text)


async def _is(redis: Redis, queue: str, task_id: str, state: str) -> bool:
    found: Any = await redis.hget(keys.task(queue, task_id), "state")
    return bool(found == state.encode())


async def test_a_task_that_is_recovered_again_waits_before_it_runs(
    working: Working, dead_worker: Broker, redis: Redis, queue: str
) -> None:
    asked: list[tuple[int, str]] = []

    def retry_delay(retried: int, error: BaseException, task: Task) -> float:
        asked.append((retried, str(error)))
        return 3600

    await take_and_die(dead_worker, a_message(queue, "a"))
    await redis.hset(keys.task(queue, "a"), "asyncq_recovered", 1)
    async with working(Seen(), retry_delay=retry_delay) as work:
        await until(lambda: _is(redis, queue, "a", "retry"))
        assert asked == [(0, LEASE_EXPIRED)]
        assert (await look(redis, queue, "a")).retried == 1
        assert await work.counters() == (1, 1)


async def test_an_exhausted_task_of_a_dead_worker_is_archived(
    working: Working, dead_worker: Broker, redis: Redis, queue: str
) -> None:
    await take_and_die(dead_worker, a_message(queue, "a", retry=2, retried=2))
    async with working(Seen()) as work:
        await until(lambda: _is(redis, queue, "a", "archived"))
        message = await look(redis, queue, "a")
        assert (message.retried, message.error_msg) == (2, LEASE_EXPIRED)
        assert await work.counters() == (1, 1)


async def test_a_lost_lease_that_is_no_failure_is_not_counted(
    working: Working, dead_worker: Broker, redis: Redis, queue: str
) -> None:
    await take_and_die(dead_worker, a_message(queue, "a"))
    await redis.set(keys.paused(queue), 1)
    async with working(Seen(), is_failure=lambda _: False) as work:
        await until(lambda: _is(redis, queue, "a", "pending"))
        assert (await look(redis, queue, "a")).retried == 0
        assert await work.counters() == (0, 0)


async def test_a_lease_without_claim_is_left_alone_for_longer(
    working: Working, redis: Redis, queue: str
) -> None:
    seconds, _ = await redis.time()
    # Both ran out long ago, one for longer than Go's workers are given.
    await put_active(redis, a_message(queue, "go-late"), int(seconds) - 20)
    await put_active(redis, a_message(queue, "go-dead"), int(seconds) - 60)
    await put_active(redis, a_message(queue, "ours"), int(seconds) - 20, claim="dead")
    timing = fast(unclaimed_grace=50)
    await redis.set(keys.paused(queue), 1)
    async with working(Seen(), timing=timing) as work:
        await until(lambda: _is(redis, queue, "go-dead", "pending"))
        await until(lambda: _is(redis, queue, "ours", "pending"))
        assert await _is(redis, queue, "go-late", "active")
        assert (await work.snapshot())["lease"] == {"go-late": int(seconds) - 20}


async def test_a_task_in_active_without_a_lease_is_recovered(
    working: Working, redis: Redis, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Seen()
    await put_active(redis, a_message(queue, "a"), 0)
    await redis.zrem(keys.lease(queue), "a")
    async with working(seen) as work:
        await until(lambda: seen.ids)
        await work.nothing_held()
    assert f"tasks of queue '{queue}' in active without a lease: a" in caplog.text


async def test_an_id_in_active_without_a_task_is_removed(
    working: Working, redis: Redis, queue: str
) -> None:
    await redis.lpush(keys.active(queue), "ghost")
    await redis.zadd(keys.lease(queue), {"other-ghost": 1})
    async with working(Seen()) as work:
        await work.nothing_held()


async def test_an_unreadable_message_does_not_stop_the_recovery_of_others(
    working: Working, dead_worker: Broker, redis: Redis, queue: str
) -> None:
    seen = Seen()
    await take_and_die(dead_worker, a_message(queue, "bad"), a_message(queue, "good"))
    await redis.hset(keys.task(queue, "bad"), "msg", b"\xff")
    async with working(seen) as work:
        await until(lambda: seen.ids)
        await until(lambda: _is(redis, queue, "bad", "archived"))
        await work.nothing_held()


@pytest.mark.parametrize("leased", [True, False])
async def test_an_id_that_is_no_text_is_recovered(
    working: Working, redis: Redis, queue: str, leased: bool
) -> None:
    odd: Any = b"\xff\xfe"
    key: Any = keys.task_prefix(queue).encode() + odd
    await redis.hset(key, mapping={"msg": b"\xff", "state": "active"})
    await redis.lpush(keys.active(queue), odd)
    if leased:
        await redis.zadd(keys.lease(queue), {odd: 1})
    async with working(Seen()) as work:
        await work.nothing_held()
    assert await redis.zscore(keys.archived(queue), odd) is not None


async def test_several_servers_recover_a_task_once(
    working: Working, dead_worker: Broker, redis: Redis, queue: str
) -> None:
    seen = Seen()
    await take_and_die(dead_worker, *[a_message(queue, str(n)) for n in range(20)])
    async with working(seen) as work, working(seen), working(seen):
        await until(lambda: len(seen.ids) >= 20)
        await work.counted(40, 20)
        assert len(seen.ids) == 20


async def test_a_worker_that_lives_keeps_its_lease(working: Working, redis: Redis) -> None:
    release = asyncio.Event()
    runs = 0

    async def handler(task: Task) -> None:
        nonlocal runs
        runs += 1
        await release.wait()

    timing = fast(lease=2, heartbeat=0.2)
    async with working(handler, timing=timing) as work, working(handler, timing=timing):
        info = await work.enqueue()
        await work.comes_to("active", info)
        first: Any = await redis.zscore(keys.lease(work.queue), info.id)
        # Two leases later it still runs.
        await until(lambda: _beyond(redis, work, info.id, first + 4))
        assert runs == 1
        release.set()
        await work.gone(info)
        assert await work.counters() == (1, 0)


async def _beyond(redis: Redis, work: Work, task_id: str, end: float) -> bool:
    found: Any = await redis.zscore(keys.lease(work.queue), task_id)
    return found is not None and found >= end


async def test_an_overdue_aggregation_set_goes_back_to_its_group_and_is_aggregated(
    working: Working, redis: Redis, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    aggregated: list[list[str]] = []

    def aggregate(group: str, tasks: list[Task]) -> Task:
        aggregated.append([task.type for task in tasks])
        return Task("batch")

    group = GroupConfig(aggregate, grace_period=1)
    async with working(Seen(), group=group) as work:
        info = await work.enqueue("part", group="g", process_in=3600)
        # As an aggregator that died after it had taken the set leaves it.
        set_key = keys.aggregation_set(queue, "g", "0b2e1a2c")
        await redis.zadd(set_key, {info.id: 1})
        await redis.zrem(keys.scheduled(queue), info.id)
        await redis.hset(keys.task(queue, info.id), "state", "aggregating")
        await redis.zadd(keys.aggregation_sets(queue), {set_key: 1})
        await until(lambda: aggregated == [["part"]])
        await work.gone(info)
    assert f"reclaimed 1 overdue aggregation sets of '{queue}'" in caplog.text


async def test_a_queue_that_cannot_be_recovered_does_not_hold_up_another(
    working: Working, dead_worker: Broker, redis: Redis, queue: str
) -> None:
    bad = f"{queue}-bad"
    raw: Any = redis
    await raw.set(keys.lease(bad), "no sorted set")
    seen = Seen()
    await take_and_die(dead_worker, a_message(queue, "a"))
    async with working(seen, queues={bad: 1, queue: 1}) as work:
        await until(lambda: seen.ids)
        await work.nothing_held()


async def test_a_queue_that_cannot_be_swept_does_not_hold_up_another(
    working: Working, redis: Redis, queue: str
) -> None:
    bad = f"{queue}-bad"
    raw: Any = redis
    await raw.set(keys.active(bad), "no list")
    await raw.set(keys.aggregation_sets(queue), "no sorted set")
    seen = Seen()
    await put_active(redis, a_message(queue, "a"), 0)
    await redis.zrem(keys.lease(queue), "a")
    async with working(seen, queues={bad: 1, queue: 1}) as work:
        await until(lambda: seen.ids)
        await work.nothing_held()
