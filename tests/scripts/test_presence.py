"""write_server_state.lua and the lists of servers: what a server shows of itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from redis_servers import RedisServer
from stored import expiry, moment, now_us

from asyncq._broker import keys
from asyncq._broker.codec import encode_server, encode_worker
from asyncq._broker.connection import Connection
from asyncq._broker.presence import Presence
from asyncq._clock import Clock
from asyncq.errors import RedisReplyError
from asyncq.info import ServerInfo, WorkerInfo

pytestmark = pytest.mark.every_redis

STARTED = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.fixture
def server_id() -> str:
    return uuid4().hex


@pytest.fixture
def presence(connection: Connection, clock: Clock, server_id: str) -> Presence:
    return Presence(connection, clock, "h", 42, server_id)


def server_key(server_id: str) -> str:
    return keys.server("h", 42, server_id)


def workers_key(server_id: str) -> str:
    return keys.workers("h", 42, server_id)


def a_server(server_id: str, workers: int = 0) -> ServerInfo:
    return ServerInfo(
        id=server_id,
        host="h",
        pid=42,
        concurrency=10,
        queues={"default": 1},
        strict_priority=False,
        status="active",
        started=STARTED,
        active_worker_count=workers,
    )


def a_worker(server_id: str, task_id: str) -> WorkerInfo:
    return WorkerInfo(
        host="h",
        pid=42,
        server_id=server_id,
        task_id=task_id,
        task_type="t",
        task_payload=b"p",
        queue="default",
        started=STARTED,
        deadline=STARTED,
    )


async def test_a_server_and_what_it_runs_are_shown_for_ten_seconds(
    redis: Redis, presence: Presence, server_id: str
) -> None:
    running = [a_worker(server_id, task_id) for task_id in ("1", "2")]
    async with moment(redis) as then:
        await presence.write(a_server(server_id, 2), running)
    assert await redis.get(server_key(server_id)) == encode_server(a_server(server_id, 2))
    assert await redis.hgetall(workers_key(server_id)) == {
        b"1": encode_worker(running[0]),
        b"2": encode_worker(running[1]),
    }
    for key in (server_key(server_id), workers_key(server_id)):
        assert (await expiry(redis, key)).meets(then, later_s=10)
    assert await redis.zscore("asynq:servers", server_key(server_id)) == then.s(10)
    assert await redis.zscore("asynq:workers", workers_key(server_id)) == then.s(10)


async def test_what_no_longer_runs_is_no_longer_shown(
    redis: Redis, presence: Presence, server_id: str
) -> None:
    first, second = a_worker(server_id, "1"), a_worker(server_id, "2")
    await presence.write(a_server(server_id, 2), [first, second])
    await presence.write(a_server(server_id, 1), [second])
    assert await redis.hkeys(workers_key(server_id)) == [b"2"]
    await presence.write(a_server(server_id), [])
    assert await redis.exists(workers_key(server_id)) == 0
    assert await redis.get(server_key(server_id)) == encode_server(a_server(server_id))


async def test_a_server_that_leaves_takes_everything_with_it(
    redis: Redis, presence: Presence, server_id: str
) -> None:
    await presence.write(a_server(server_id, 1), [a_worker(server_id, "1")])
    await presence.clear()
    assert await redis.exists(server_key(server_id), workers_key(server_id)) == 0
    assert await redis.zscore("asynq:servers", server_key(server_id)) is None
    assert await redis.zscore("asynq:workers", workers_key(server_id)) is None
    await presence.clear()


async def test_the_servers_that_are_there_now_are_counted(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    async with AsyncExitStack() as stack:
        connection = Connection.open(server.url)
        stack.push_async_callback(connection.aclose)
        redis = await stack.enter_async_context(server.client())
        now_s = await now_us(redis) // 10**6
        await redis.zadd("asynq:servers", {"alive": now_s + 1000, "vanished": now_s - 1000})
        presence = Presence(connection, Clock(), "h", 1, "id")
        assert await presence.write(a_server("id"), []) == 2
        await presence.clear()
        assert await redis.zrange("asynq:servers", 0, -1) == [b"vanished", b"alive"]


@pytest.mark.parametrize("why", ["OOM", "READONLY"])
async def test_a_refusal_is_raised(start_redis: Callable[..., RedisServer], why: str) -> None:
    server = start_redis()
    async with AsyncExitStack() as stack:
        connection = Connection.open(server.url)
        stack.push_async_callback(connection.aclose)
        redis = await stack.enter_async_context(server.client())
        if why == "OOM":
            await redis.config_set("maxmemory", 1)
        else:
            await redis.replicaof("127.0.0.1", 1)
        with pytest.raises(RedisReplyError) as caught:
            await Presence(connection, Clock(), "h", 1, "id").write(a_server("id"), [])
        assert (caught.value.code, caught.value.passing) == (why, True)
