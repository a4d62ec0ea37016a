"""What a server counts of its work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis_servers import RedisServer
from serving import Sleeper, Work, Working, fast
from waiting import LONGEST_S, soon, until

from asyncq import Client, RevokeTask, Server, ServerConfig, SkipRetry, Statistics, Task
from asyncq._broker import keys
from asyncq._worker.fetcher import Fetcher
from asyncq._worker.guard import Guard
from asyncq._worker.runner import Runner
from asyncq._worker.settler import Settler
from asyncq.statistics import (
    ATTEMPTS,
    BLOCKED,
    BUSY,
    CALL_ERRORS,
    CALLS,
    CONCURRENCY,
    CUT_SHORT,
    DURATION,
    FETCHED,
    LAG,
    PICKUP,
    READY,
    SETTLED,
    UNWRITTEN,
    Value,
)


def numbers(statistics: Statistics, name: str) -> Mapping[tuple[str, ...], Any]:
    """The values that are not 0."""
    return {tuple(labels): value for labels, value in statistics.snapshot()[name] if value}


def number(statistics: Statistics, name: str) -> Any:
    """The value of a family without labels."""
    ((_, value),) = statistics.snapshot()[name]
    return value


def count(value: Value) -> float:
    """How many values a histogram has."""
    assert isinstance(value, Sequence)
    return sum(value[:-1])


async def counted(
    statistics: Statistics, name: str, wanted: Mapping[tuple[str, ...], float]
) -> None:
    await until(
        lambda: numbers(statistics, name) == wanted, lambda: dict(numbers(statistics, name))
    )


async def by_type(task: Task) -> None:
    match task.type:
        case "fails":
            raise ValueError("no")
        case "skips":
            raise SkipRetry("never")
        case "revokes":
            raise RevokeTask("not wanted")
        case _:
            return


async def test_attempts_are_counted_by_queue_type_and_outcome(working: Working) -> None:
    statistics = Statistics()
    async with working(by_type, statistics=statistics, retry_delay=lambda *_: 3600) as work:
        await work.enqueue("works")
        await work.enqueue("works", retention=60)
        await work.enqueue("fails")
        await work.enqueue("fails", max_retry=0)
        await work.enqueue("skips")
        await work.enqueue("revokes")
        q = work.queue
        await counted(
            statistics,
            ATTEMPTS.name,
            {
                (q, "works", "succeeded"): 2,
                (q, "fails", "retried"): 1,
                (q, "fails", "archived"): 1,
                (q, "skips", "archived"): 1,
                (q, "revokes", "revoked"): 1,
            },
        )
        durations = numbers(statistics, DURATION.name)
        assert {labels[1]: count(value) for labels, value in durations.items()} == {
            "works": 2,
            "fails": 2,
            "skips": 1,
            "revokes": 1,
        }
        assert numbers(statistics, CUT_SHORT.name) == {}


async def test_a_duration_is_that_of_the_handler(working: Working) -> None:
    async def sleeps(task: Task) -> None:
        await asyncio.sleep(0.03)

    statistics = Statistics()
    async with working(sleeps, statistics=statistics) as work:
        await work.enqueue("t")
        await counted(statistics, ATTEMPTS.name, {(work.queue, "t", "succeeded"): 1})
        ((*_, total),) = numbers(statistics, DURATION.name).values()
        assert total >= 0.02  # clocks of loops are coarse


async def test_a_shutdown_and_what_it_cuts_short_are_counted(working: Working) -> None:
    statistics, sleeper = Statistics(), Sleeper()
    async with working(sleeper, statistics=statistics, shutdown_timeout=0) as work:
        await work.enqueue("t")
        await soon(sleeper.entered.wait())
    q = work.queue
    assert numbers(statistics, ATTEMPTS.name) == {(q, "t", "requeued"): 1}
    assert numbers(statistics, CUT_SHORT.name) == {(q, "t", "shutdown"): 1}
    assert statistics.state == "closed"
    assert number(statistics, READY.name) == 0


async def test_time_outs_and_cancellations_are_counted(working: Working) -> None:
    statistics, sleeper = Statistics(), Sleeper()
    async with working(sleeper, statistics=statistics, retry_delay=lambda *_: 3600) as work:
        await work.enqueue("slow", timeout=1)
        cancelled = await work.enqueue("long")
        await until(lambda: number(statistics, BUSY.name) == 2)
        await work.cancel(cancelled)
        q = work.queue
        await counted(
            statistics, CUT_SHORT.name, {(q, "slow", "timeout"): 1, (q, "long", "cancelled"): 1}
        )
        assert numbers(statistics, ATTEMPTS.name) == {
            (q, "slow", "retried"): 1,
            (q, "long", "retried"): 1,
        }


async def test_an_abandoned_attempt_is_counted_once(working: Working) -> None:
    release = asyncio.Event()

    async def stubborn(task: Task) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    statistics = Statistics()
    async with working(stubborn, statistics=statistics, retry_delay=lambda *_: 3600) as work:
        await work.enqueue("t", timeout=1)
        await counted(statistics, ATTEMPTS.name, {(work.queue, "t", "retried"): 1})
        assert [count(v) for v in numbers(statistics, DURATION.name).values()] == [1]
        release.set()
    assert numbers(statistics, ATTEMPTS.name) == {(work.queue, "t", "retried"): 1}


async def test_a_lost_lease_is_counted(working: Working) -> None:
    statistics, sleeper = Statistics(), Sleeper()
    async with working(sleeper, statistics=statistics) as work:
        info = await work.enqueue("t")
        await soon(sleeper.entered.wait())
        await work.redis.hset(keys.task(work.queue, info.id), "asyncq_claim", "theirs")
        await counted(statistics, ATTEMPTS.name, {(work.queue, "t", "lost"): 1})
        assert numbers(statistics, CUT_SHORT.name) == {(work.queue, "t", "lease_lost"): 1}


async def test_an_unreadable_task_is_counted_without_a_type(working: Working) -> None:
    statistics = Statistics()
    async with working(by_type, statistics=statistics) as work:
        await work.redis.hset(
            keys.task(work.queue, "bad"), mapping={"msg": b"\xff", "state": "pending"}
        )
        await work.redis.sadd(keys.QUEUES, work.queue)
        await work.redis.lpush(keys.pending(work.queue), "bad")
        await counted(statistics, ATTEMPTS.name, {(work.queue, "", "unreadable"): 1})
        assert numbers(statistics, DURATION.name) == {}


async def test_slots_are_shown_as_they_are(working: Working) -> None:
    statistics, sleeper = Statistics(), Sleeper()
    async with working(sleeper, statistics=statistics, concurrency=7, shutdown_timeout=0) as work:
        assert number(statistics, CONCURRENCY.name) == 7
        assert number(statistics, READY.name) == 1
        for _ in range(3):
            await work.enqueue("t")
        await until(lambda: number(statistics, BUSY.name) == 3)
        await work.server.stop()
        assert number(statistics, READY.name) == 0
    assert number(statistics, BUSY.name) == number(statistics, CONCURRENCY.name) == 0
    assert number(statistics, UNWRITTEN.name) == 0


async def test_the_wait_before_the_start_is_counted(
    working: Working, client: Client, redis: Redis, queue: str
) -> None:
    statistics = Statistics()
    info = await client.enqueue(Task("old"), queue=queue)
    await client.enqueue(Task("new"), queue=queue)
    since_ns = int(await redis.hget(keys.task(queue, info.id), "pending_since") or 0)
    await redis.hset(keys.task(queue, info.id), "pending_since", since_ns - 100 * 10**9)
    async with working(by_type, statistics=statistics):
        await until(lambda: len(numbers(statistics, PICKUP.name)) == 2)
    found = numbers(statistics, PICKUP.name)
    assert {labels: count(value) for labels, value in found.items()} == {
        (queue, "old"): 1,
        (queue, "new"): 1,
    }
    assert found[queue, "old"][-1] >= 100
    assert 0 <= found[queue, "new"][-1] < 100


async def test_a_task_without_a_time_is_taken_and_not_counted_as_waiting(
    working: Working, client: Client, redis: Redis, queue: str
) -> None:
    statistics = Statistics()
    none = await client.enqueue(Task("none"), queue=queue)
    odd = await client.enqueue(Task("odd"), queue=queue)
    await redis.hdel(keys.task(queue, none.id), "pending_since")
    await redis.hset(keys.task(queue, odd.id), "pending_since", "yesterday")
    async with working(by_type, statistics=statistics):
        await counted(
            statistics,
            ATTEMPTS.name,
            {(queue, "none", "succeeded"): 1, (queue, "odd", "succeeded"): 1},
        )
    assert numbers(statistics, PICKUP.name) == {}


async def test_batches_and_calls_are_counted(working: Working) -> None:
    statistics = Statistics()
    async with working(by_type, statistics=statistics) as work:
        await work.client.enqueue_many([Task("t") for _ in range(50)], queue=work.queue)
        await counted(statistics, ATTEMPTS.name, {(work.queue, "t", "succeeded"): 50})
        await until(lambda: number(statistics, UNWRITTEN.name) == 0)
        fetched = numbers(statistics, FETCHED.name)
        assert list(fetched) == [(work.queue,)]
        assert fetched[work.queue,][-1] == 50
        assert number(statistics, SETTLED.name)[-1] == 50
        operations = {operation for (operation,) in numbers(statistics, CALLS.name)}
        assert operations >= {"dequeue", "settle"}
        assert numbers(statistics, CALL_ERRORS.name) == {}


async def test_errors_of_redis_are_counted(start_redis: Callable[..., RedisServer]) -> None:
    own, statistics = start_redis(), Statistics()
    config = ServerConfig(statistics=statistics, shutdown_timeout=0)
    async with Server(own.url, by_type, config, _timing=fast(last_writes=0.1)):
        own.kill()
        await until(
            lambda: any(
                error == "unavailable" for _, error in numbers(statistics, CALL_ERRORS.name)
            )
        )


async def test_what_redis_refuses_is_counted(start_redis: Callable[..., RedisServer]) -> None:
    own, statistics = start_redis(), Statistics()
    async with (
        Server(own.url, by_type, ServerConfig(statistics=statistics), _timing=fast()),
        own.client() as redis,
    ):
        await redis.config_set("min-replicas-to-write", 1)
        await until(
            lambda: any(error == "refused" for _, error in numbers(statistics, CALL_ERRORS.name))
        )
        await redis.config_set("min-replicas-to-write", 0)


async def test_the_event_loop_is_looked_at(working: Working) -> None:
    statistics = Statistics()
    async with working(by_type, statistics=statistics):
        await until(lambda: count(number(statistics, LAG.name)) > 1)


async def test_a_handler_that_blocks_the_loop_is_counted_by_its_type(working: Working) -> None:
    statistics = Statistics()

    async def blocks(task: Task) -> None:
        deadline = time.monotonic() + LONGEST_S
        while time.monotonic() < deadline and not numbers(statistics, BLOCKED.name):
            time.sleep(0.02)  # noqa: ASYNC251 - the mistake that is counted

    timing = fast(blocked_after=0.8)
    async with working(blocks, statistics=statistics, timing=timing) as work:
        await work.enqueue("image:resize")
        await counted(statistics, ATTEMPTS.name, {(work.queue, "image:resize", "succeeded"): 1})
    assert numbers(statistics, BLOCKED.name) == {("image:resize",): 1}


async def test_two_servers_may_share_their_statistics(
    working: Working, redis_url: str, queue: str
) -> None:
    statistics = Statistics()
    config = ServerConfig(statistics=statistics, queues={f"{queue}-2": 1}, concurrency=3)
    async with working(by_type, statistics=statistics, concurrency=4) as work:
        async with Server(redis_url, by_type, config, _timing=fast()):
            assert number(statistics, CONCURRENCY.name) == 7
            await work.enqueue("t")
            await work.enqueue("t", queue=f"{queue}-2")
            await counted(
                statistics,
                ATTEMPTS.name,
                {(queue, "t", "succeeded"): 1, (f"{queue}-2", "t", "succeeded"): 1},
            )
        assert number(statistics, CONCURRENCY.name) == 4


async def test_a_server_without_statistics_has_nothing_to_do_with_them(working: Working) -> None:
    async with working(by_type) as work:
        await run_one(work)
        parts = work.server._parts
        assert parts is not None
        assert parts.observation is None
        assert work.server._connection.on_call is None
        assert type(parts.settler) is Settler
        assert type(parts._guard) is Guard
        assert type(parts.processor.runner) is Runner
        assert type(parts.processor._fetcher) is Fetcher


async def run_one(work: Work) -> None:
    info = await work.enqueue("t")
    await work.gone(info)
