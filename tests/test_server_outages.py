"""Redis goes away and comes back; and what a server leaves behind in its process and in Redis."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis_servers import RedisServer
from serving import Sleeper, Work, fast, working
from waiting import soon, until

from asyncq import Client, Server, ServerConfig, Task
from asyncq._broker import keys

StartRedis = Callable[..., RedisServer]


async def passing(task: Task) -> None:
    """Succeeds, every time."""


async def renew(work: Work, server: RedisServer) -> None:
    """Restart Redis; the look at it needs a new connection."""
    server.restart(kill=True)
    await work.redis.connection_pool.disconnect()


async def test_an_idle_server_goes_on_after_a_restart_of_redis(
    start_redis: StartRedis, queue: str
) -> None:
    server = start_redis(persistent=True)
    async with (
        server.client() as redis,
        working(redis, server.url, queue, passing, task_check_interval=0.1) as work,
    ):
        await work.gone(await work.enqueue())
        for _ in range(2):
            await renew(work, server)
            await work.gone(await work.enqueue())
            await work.gone(await work.enqueue(process_in=0.05))


async def test_running_tasks_outlive_a_restart_of_redis(
    start_redis: StartRedis, queue: str
) -> None:
    server = start_redis(persistent=True)
    entered, release = asyncio.Semaphore(0), asyncio.Event()
    seen: list[str] = []

    async def handler(task: Task) -> str:
        entered.release()
        await release.wait()
        seen.append(task.type)
        return "done"

    async with (
        server.client() as redis,
        working(redis, server.url, queue, handler, timing=fast(lease=30)) as work,
    ):
        infos = [await work.enqueue(str(n), retention=600) for n in range(10)]
        for _ in infos:
            await soon(entered.acquire())
        await renew(work, server)
        release.set()
        for info in infos:
            await work.comes_to("completed", info)
        assert sorted(seen) == sorted(str(n) for n in range(10))
        await work.nothing_held()
        assert await work.counters() == (10, 0)


async def test_outcomes_wait_for_redis_to_come_back(start_redis: StartRedis, queue: str) -> None:
    server = start_redis(persistent=True)
    entered, release, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handler(task: Task) -> None:
        entered.set()
        await release.wait()
        ended.set()

    async with (
        server.client() as redis,
        working(redis, server.url, queue, handler, timing=fast(lease=30)) as work,
    ):
        info = await work.enqueue()
        await soon(entered.wait())
        server.kill()
        release.set()
        await soon(ended.wait())
        parts = work.server._parts
        assert parts is not None
        await until(lambda: parts.settler.unwritten == 1)
        server.start()
        await work.redis.connection_pool.disconnect()
        await work.gone(info)
        await work.nothing_held()
        assert await work.counters() == (1, 0)


async def test_without_redis_a_shutdown_ends_and_says_what_it_left(
    start_redis: StartRedis, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_redis()
    sleeper = Sleeper()
    timing = fast(last_writes=0.2)
    async with (
        server.client() as redis,
        working(redis, server.url, queue, sleeper, shutdown_timeout=0, timing=timing) as work,
    ):
        await work.enqueue()
        await soon(sleeper.entered.wait())
        server.kill()
        await soon(work.server.shutdown())
        assert work.server.state == "closed"
    assert "left with outcomes unwritten" in caplog.text


async def test_leases_that_end_while_redis_is_away_end_their_attempts(
    start_redis: StartRedis, queue: str
) -> None:
    server = start_redis(persistent=True)
    sleeper = Sleeper("a result")
    told: list[str] = []

    def error_handler(task: Task, error: BaseException) -> None:
        told.append(str(error))

    async with (
        server.client() as redis,
        working(
            redis, server.url, queue, sleeper, error_handler=error_handler, shutdown_timeout=0
        ) as work,
    ):
        await work.enqueue()
        await soon(sleeper.entered.wait())
        server.kill()
        await soon(sleeper.cancelled.wait())
        await until(lambda: told)
        assert told == ["asynq: task lease expired"]
        server.start()
        await work.redis.connection_pool.disconnect()


async def test_a_flush_of_scripts_is_not_noticed(start_redis: StartRedis, queue: str) -> None:
    server = start_redis()
    async with (
        server.client() as redis,
        working(redis, server.url, queue, passing) as work,
    ):
        await work.gone(await work.enqueue())
        await redis.script_flush()
        await work.gone(await work.enqueue())
        await redis.script_flush()
        await work.client.enqueue_many([Task("t")] * 50, queue=queue)
        await work.counted(52, 0)


async def test_a_read_only_moment_loses_nothing(start_redis: StartRedis, queue: str) -> None:
    # As during a failover: the master has become a replica (of nobody), and then one again.
    server = start_redis(args=["--replica-read-only", "yes"])
    release, entered = asyncio.Event(), asyncio.Event()

    async def handler(task: Task) -> None:
        entered.set()
        await release.wait()

    settings: dict[str, Any] = {"task_check_interval": 0.1, "timing": fast(lease=30)}
    async with (
        server.client() as redis,
        working(redis, server.url, queue, handler, **settings) as work,
    ):
        info = await work.enqueue()
        await soon(entered.wait())
        await redis.replicaof("127.0.0.1", "1")
        release.set()
        parts = work.server._parts
        assert parts is not None
        await until(lambda: parts.settler.unwritten == 1)
        await redis.replicaof("NO", "ONE")
        await work.gone(info)
        await work.gone(await work.enqueue())


async def _connections(redis: Redis) -> int:
    return len(await redis.client_list())


def _guards() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "asyncq-guard"]


async def test_twenty_lives_leave_no_tasks_threads_or_connections(
    start_redis: StartRedis, queue: str
) -> None:
    server = start_redis()
    config = ServerConfig(queues={queue: 1, f"{queue}-low": 1})
    async with server.client() as redis, Client(server.url) as client:
        await client.ping()
        connections = await _connections(redis)
        tasks = asyncio.all_tasks()
        for _ in range(20):
            async with Server(client, passing, config, _timing=fast()):
                info = await client.enqueue(Task("t"), queue=queue)
                await until(functools.partial(_absent, redis, keys.task(queue, info.id)))
            assert asyncio.all_tasks() == tasks
        await until(lambda: not _guards())
        # The shared client may have opened more, for good; the servers closed their own.
        await client.aclose()
        await until(lambda: _at_most(redis, connections))
        assert await redis.keys("asynq:servers*") == []
        assert await redis.keys("asynq:workers*") == []


async def _absent(redis: Redis, key: str) -> bool:
    return not await redis.exists(key)


async def _at_most(redis: Redis, connections: int) -> bool:
    return await _connections(redis) <= connections


async def test_a_server_of_its_own_closes_every_connection(
    start_redis: StartRedis, queue: str
) -> None:
    server = start_redis()
    async with server.client() as redis:
        await redis.ping()
        before = await _connections(redis)
        async with working(redis, server.url, queue, passing) as work:
            await work.gone(await work.enqueue())
            assert await _connections(redis) > before
        await until(lambda: _at_most(redis, before))
