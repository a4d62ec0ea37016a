"""What a server shows of itself in Redis, and the health check."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis_servers import RedisServer
from serving import Work, Working, fast
from serving import working as working_at
from stored import now_us
from waiting import soon, until

from asyncq import RedisUnavailableError, Task
from asyncq._broker import keys
from asyncq._broker.wire import ServerInfoPb, WorkerInfoPb


class Held:
    """A handler that holds every task until it is let go."""

    def __init__(self) -> None:
        self.leave = asyncio.Event()

    async def __call__(self, task: Task) -> None:
        await self.leave.wait()


def shown(work: Work) -> tuple[str, str]:
    """The keys of the server and of its workers."""
    host, pid, server_id = socket.gethostname(), os.getpid(), work.server.id
    return keys.server(host, pid, server_id), keys.workers(host, pid, server_id)


async def info(work: Work) -> Any:
    data: Any = await work.redis.get(shown(work)[0])
    return None if data is None else ServerInfoPb.FromString(data)


async def workers(work: Work) -> dict[str, Any]:
    raw: Any = work.redis
    found = await raw.hgetall(shown(work)[1])
    return {name.decode(): WorkerInfoPb.FromString(data) for name, data in found.items()}


async def test_a_server_shows_itself_as_go_does(working: Working, redis: Redis, queue: str) -> None:
    queues = {queue: 6, f"{queue}-low": 1}
    started_s = await now_us(redis) // 10**6
    async with working(Held(), queues=queues, concurrency=7, strict_priority=True) as work:
        shows = await until(lambda: info(work))
        assert shows.host == socket.gethostname()
        assert shows.pid == os.getpid()
        assert shows.server_id == work.server.id
        assert shows.concurrency == 7
        assert dict(shows.queues) == queues
        assert shows.strict_priority is True
        assert shows.status == "active"
        assert started_s - 1 <= shows.start_time.seconds <= await now_us(redis) // 10**6 + 1
        assert shows.active_worker_count == 0

        server_key, workers_key = shown(work)
        for name, key in ((keys.SERVERS, server_key), (keys.WORKERS, workers_key)):
            until_s: Any = await redis.zscore(name, key)
            assert 0 < until_s - await now_us(redis) / 10**6 <= 10
        assert 0 < await redis.ttl(server_key) <= 10


async def test_a_running_task_is_shown_with_at_most_a_kilobyte_of_its_payload(
    working: Working,
) -> None:
    held = Held()
    async with working(held) as work:
        payload = b"0123456789" * 1000
        running = await work.enqueue(Task("report", payload), timeout=600)
        shows = (await until(lambda: workers(work)))[running.id]
        assert shows.host == socket.gethostname()
        assert shows.pid == os.getpid()
        assert shows.server_id == work.server.id
        assert (shows.task_id, shows.task_type) == (running.id, "report")
        assert shows.queue == work.queue
        assert shows.task_payload == payload[:1024]
        assert shows.deadline.seconds - shows.start_time.seconds in (600, 601)
        await until(lambda: _count(work, 1))
        assert 0 < await work.redis.ttl(shown(work)[1]) <= 10
        held.leave.set()
        await work.gone(running)
        await until(lambda: _count(work, 0))
        assert await workers(work) == {}


async def _count(work: Work, count: int) -> bool:
    return bool((await info(work)).active_worker_count == count)


async def test_a_stopped_server_says_so_and_a_closed_one_is_gone(
    working: Working, redis: Redis
) -> None:
    held = Held()
    async with working(held) as work:
        running = await work.enqueue()
        await until(lambda: workers(work))
        await work.server.stop()
        await until(lambda: _says(work, "stopped"))
        held.leave.set()
        await work.gone(running)
        await work.server.shutdown()
        server_key, workers_key = shown(work)
        assert await redis.exists(server_key, workers_key) == 0
        assert await redis.zscore(keys.SERVERS, server_key) is None
        assert await redis.zscore(keys.WORKERS, workers_key) is None


async def _says(work: Work, status: str) -> bool:
    return bool((await info(work)).status == status)


async def test_a_server_that_shuts_down_is_shown_until_its_last_task_ends(
    working: Working,
) -> None:
    held = Held()
    async with working(held, shutdown_timeout=60) as work:
        running = await work.enqueue()
        await until(lambda: workers(work))
        leaving = asyncio.create_task(work.server.shutdown())
        await until(lambda: _says(work, "stopped"))
        assert set(await workers(work)) == {running.id}
        held.leave.set()
        await soon(leaving)


async def test_presence_is_renewed_before_it_runs_out(working: Working, redis: Redis) -> None:
    async with working(Held(), timing=fast(heartbeat=0.05)) as work:
        await until(lambda: info(work))
        server_key, _ = shown(work)
        await redis.delete(server_key)
        await until(lambda: info(work))


@pytest.mark.parametrize("form", ["plain", "async"])
async def test_the_health_check_is_told_how_redis_is(
    start_redis: Callable[..., RedisServer], queue: str, form: str
) -> None:
    server = start_redis()
    told: list[BaseException | None] = []

    def plain(error: BaseException | None) -> None:
        told.append(error)

    async def asynchronous(error: BaseException | None) -> None:
        told.append(error)

    settings: dict[str, Any] = {
        "health_check": plain if form == "plain" else asynchronous,
        "health_check_interval": 0.05,
    }
    async with (
        server.client() as redis,
        working_at(redis, server.url, queue, Held(), **settings),
    ):
        await until(lambda: told)
        assert told[0] is None
        server.kill()
        await until(lambda: isinstance(told[-1], RedisUnavailableError))
        server.start()
        await until(lambda: told[-1] is None)


@pytest.mark.parametrize("error", [ValueError("in it"), SystemExit(3)], ids=repr)
async def test_a_health_check_that_fails_is_asked_again(
    working: Working, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    def health_check(_: BaseException | None) -> None:
        nonlocal calls
        calls += 1
        raise error

    async with working(Held(), health_check=health_check, health_check_interval=0.02):
        await until(lambda: calls >= 3)
    assert "healthcheck failed" in caplog.text
