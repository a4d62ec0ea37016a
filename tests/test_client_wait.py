"""`Client.wait` and `Client.result`: who is told, who looks, and what they leave behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from proxy import Proxy
from pydantic import BaseModel
from redis.asyncio import Redis
from redis_servers import RedisServer
from redis_topologies import RedisCluster, redis_cluster, say
from serving import Sleeper, Working, working
from stored import a_message
from waiting import soon, until

from asyncq import (
    Client,
    Inspector,
    InvalidPayloadError,
    RedisReplyError,
    RedisUnavailableError,
    RevokeTask,
    Server,
    ServerConfig,
    SkipRetry,
    Task,
    TaskFailedError,
    TaskInfo,
    TaskNotFoundError,
    TaskState,
    current,
)
from asyncq._broker import completion, keys, pool
from asyncq._broker.codec import encode_task

pytestmark = pytest.mark.every_redis


@pytest.fixture
def never_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits is told, or waits for ever."""
    monkeypatch.setattr(completion, "_FIRST_LOOK_S", 1000.0)
    monkeypatch.setattr(completion, "_LONGEST_LOOK_S", 1000.0)


@pytest.fixture
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "_FIRST_LOOK_S", 0.01)
    monkeypatch.setattr(completion, "_LONGEST_LOOK_S", 0.02)


async def listening(client: Client, redis: Redis) -> None:
    """Return when the client's subscription stands; the first wait makes it."""

    async def subscribed() -> bool:
        ((_, count),) = await redis.pubsub_numsub(keys.DONE_CHANNEL)
        return bool(count)

    with pytest.raises(TaskNotFoundError):
        await client.wait(made_up(), timeout=60)
    await until(subscribed, "subscribed")


def made_up(queue: str = "nowhere", task_id: str = "nobody") -> TaskInfo:
    return TaskInfo(
        id=task_id,
        queue=queue,
        type="t",
        payload=b"",
        headers={},
        state=TaskState.PENDING,
        max_retry=1,
        retention=timedelta(hours=1),
    )


async def waited_for(redis: Any, info: TaskInfo) -> None:
    """Return when somebody's wait for the task is noted in Redis."""
    await until(lambda: redis.hexists(keys.task(info.queue, info.id), "asyncq_waited"))


async def finish_like_go(redis: Any, info: TaskInfo, state: str = "completed") -> None:
    """What Go's worker writes in the end; it tells nobody."""
    message = a_message(info.queue, info.id, error_msg="" if state == "completed" else "boom")
    await redis.lrem(keys.pending(info.queue), 1, info.id)
    await redis.zadd(keys.queue_prefix(info.queue) + state, {info.id: 2_000_000_000})
    fields = {"msg": encode_task(message), "state": state, "result": b'{"n": 1}'}
    await redis.hset(keys.task(info.queue, info.id), mapping=fields)


# Told


@pytest.mark.usefixtures("never_look")
async def test_told_at_once_when_an_asyncq_worker_completes_the_task(
    redis: Redis, working: Working
) -> None:
    async def answer(task: Task) -> dict[str, int]:
        await waited_for(redis, info)
        return {"n": 42}

    async with working(answer) as work:
        await listening(work.client, redis)
        info = await work.enqueue("t", retention=60)
        ended = await soon(work.client.wait(info))
        assert (ended.state, ended.result) == (TaskState.COMPLETED, b'{"n":42}')
        assert ended.completed_at is not None


@pytest.mark.usefixtures("never_look")
@pytest.mark.parametrize("error", [SkipRetry("no use"), ValueError("no use")])
async def test_told_at_once_when_the_task_is_archived(
    redis: Redis, working: Working, error: Exception
) -> None:
    async def fail(task: Task) -> None:
        await waited_for(redis, info)
        raise error

    async with working(fail) as work:
        await listening(work.client, redis)
        info = await work.enqueue("t", retention=60, max_retry=0)
        with pytest.raises(TaskFailedError, match=r"failed for good: .*no use") as caught:
            await soon(work.client.result(info, dict))
        assert (caught.value.task_id, caught.value.queue) == (info.id, work.queue)
        assert caught.value.last_error.endswith("no use")


@pytest.mark.usefixtures("never_look")
async def test_told_at_once_when_the_task_is_revoked(redis: Redis, working: Working) -> None:
    async def revoke(task: Task) -> None:
        await waited_for(redis, info)
        raise RevokeTask

    async with working(revoke) as work:
        await listening(work.client, redis)
        info = await work.enqueue("t", retention=60)
        with pytest.raises(TaskNotFoundError):
            await soon(work.client.wait(info))


@pytest.mark.usefixtures("never_look")
@pytest.mark.parametrize("method", ["archive_task", "delete_task", "archive_all", "delete_all"])
async def test_told_at_once_what_a_person_does_with_the_task(
    client: Client, inspector: Inspector, redis: Redis, queue: str, method: str
) -> None:
    await listening(client, redis)
    info = await client.enqueue(Task("t"), queue=queue, retention=60)
    waiting = asyncio.create_task(client.wait(info))
    await waited_for(redis, info)
    await getattr(inspector, method)(queue, "pending" if method.endswith("all") else info.id)
    if method.startswith("archive"):
        assert (await soon(waiting)).state is TaskState.ARCHIVED
    else:
        with pytest.raises(TaskNotFoundError):
            await soon(waiting)


@pytest.mark.usefixtures("never_look")
async def test_told_at_once_in_a_cluster_whatever_node_has_the_queue(redis_variant: str) -> None:
    with redis_cluster(redis_variant) as cluster:
        entered: dict[str, asyncio.Event] = {}

        async def wait_to_be_waited_for(task: Task) -> None:
            await entered[current().queue].wait()

        queues = ("one", "two", "three", "four")
        async with Client(cluster.url) as client:
            config = ServerConfig(queues=dict.fromkeys(queues, 1), concurrency=4)
            async with Server(client, wait_to_be_waited_for, config):
                for queue in queues:
                    entered[queue] = asyncio.Event()
                    info = await client.enqueue(Task("t"), queue=queue, retention=60)
                    waiting = asyncio.create_task(client.wait(info))
                    await until(lambda: subscribed(cluster))
                    await until(lambda: is_waited_for(cluster, info))  # noqa: B023 - called now
                    entered[queue].set()
                    assert (await soon(waiting)).state is TaskState.COMPLETED


def subscribed(cluster: RedisCluster) -> bool:
    return any(say(node, "PUBSUB", "CHANNELS", keys.DONE_CHANNEL) for node in cluster.nodes)


def is_waited_for(cluster: RedisCluster, info: TaskInfo) -> bool:
    key = keys.task(info.queue, info.id)
    return bool(say(cluster.owner(key), "HEXISTS", key, "asyncq_waited"))


async def test_a_failure_that_is_retried_is_not_the_end(redis: Redis, working: Working) -> None:
    attempts = 0

    async def second_time_lucky(task: Task) -> str:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise ValueError("not yet")
        return "well"

    async with working(second_time_lucky, retry_delay=lambda n, error, task: 0) as work:
        info = await work.enqueue("t", retention=60)
        assert await soon(work.client.result(info, str)) == "well"


# Looking


@pytest.mark.usefixtures("look_often")
@pytest.mark.parametrize("state", ["completed", "archived"])
async def test_found_by_looking_where_go_finishes_the_task(
    client: Client, redis: Redis, queue: str, state: str
) -> None:
    info = await client.enqueue(Task("t"), queue=queue, retention=60)
    waiting = asyncio.create_task(client.wait(info))
    await waited_for(redis, info)
    await finish_like_go(redis, info, state)
    ended = await soon(waiting)
    assert (ended.state, ended.result) == (state, b'{"n": 1}')


async def test_a_task_that_has_ended_is_returned_at_once(
    client: Client, redis: Redis, queue: str
) -> None:
    info = await client.enqueue(Task("t"), queue=queue, retention=60)
    await finish_like_go(redis, info)
    assert (await client.wait(info, timeout=0)).state is TaskState.COMPLETED


class Sum(BaseModel):
    n: int


async def test_results_are_parsed(client: Client, redis: Redis, queue: str) -> None:
    info = await client.enqueue(Task("t"), queue=queue, retention=60)
    await finish_like_go(redis, info)
    assert await client.result(info, Sum) == Sum(n=1)
    with pytest.raises(InvalidPayloadError):
        await client.result(info, list)


@pytest.mark.usefixtures("look_often")
async def test_a_task_that_vanishes_is_said_to_be_gone(
    client: Client, redis: Redis, queue: str
) -> None:
    info = await client.enqueue(Task("t"), queue=queue, retention=60)
    waiting = asyncio.create_task(client.wait(info))
    await waited_for(redis, info)
    await redis.delete(keys.task(queue, info.id))
    with pytest.raises(TaskNotFoundError, match=info.id):
        await soon(waiting)
    assert not await redis.exists(keys.task(queue, info.id))  # nothing is written to it


async def test_a_task_without_retention_cannot_be_waited_for(client: Client, queue: str) -> None:
    info = await client.enqueue(Task("t"), queue=queue)
    with pytest.raises(ValueError, match="enqueue it with retention="):
        await client.wait(info)
    with pytest.raises(ValueError, match="enqueue it with retention="):
        await client.result(info, str)


# Ends of waiting


@pytest.mark.parametrize("timeout", [0, 0.05, timedelta(milliseconds=20)])
async def test_a_time_out_says_where_the_task_is(
    client: Client, queue: str, timeout: float | timedelta
) -> None:
    info = await client.enqueue(Task("t"), queue=queue, retention=60)
    with pytest.raises(TimeoutError, match=r"has not ended within .* s; its state is pending"):
        await client.wait(info, timeout=timeout)
    assert client._completions._waiting == {}


@pytest.mark.parametrize("timeout", ["5", True])
async def test_a_time_out_is_a_duration(client: Client, timeout: Any) -> None:
    with pytest.raises(TypeError, match="timeout= takes a timedelta or a number of seconds"):
        await client.wait(made_up(), timeout=timeout)


async def test_a_cancelled_wait_leaves_nothing_behind_and_disturbs_no_other(
    redis: Redis, working: Working
) -> None:
    sleeper = Sleeper(then="woken")
    async with working(sleeper) as work:
        info = await work.enqueue("t", retention=60, max_retry=0)
        kept, *others = [asyncio.create_task(work.client.wait(info)) for _ in range(20)]
        await waited_for(redis, info)
        for other in others:
            other.cancel()
        await asyncio.wait(others)
        assert all(other.cancelled() for other in others)
        assert len(work.client._completions._waiting[keys.task(work.queue, info.id)]) == 1
        await soon(sleeper.entered.wait())
        await work.cancel(info)
        assert (await soon(kept)).state is TaskState.ARCHIVED
        assert work.client._completions._waiting == {}


async def test_very_many_wait_with_one_subscription(redis: Redis, working: Working) -> None:
    async def echo(task: Task) -> bytes:
        return task.payload

    async with working(echo, concurrency=50) as work:
        infos = await work.client.enqueue_many(
            [Task("t", str(n)) for n in range(1000)], queue=work.queue, retention=600
        )
        results = await soon(
            asyncio.gather(*(work.client.result(info, str) for info in [*infos, *infos]))
        )
        assert results == [str(n) for n in range(1000)] * 2
        ((_, subscriptions),) = await redis.pubsub_numsub(keys.DONE_CHANNEL)
        assert subscriptions == 1
        assert work.client._completions._waiting == {}


async def test_however_many_wait_other_calls_find_a_connection(
    client: Client, redis: Redis, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "POOL_TIMEOUT", 0)
    monkeypatch.setattr(completion, "_PATIENCE_S", 0)
    info = await client.enqueue(Task("t"), queue=queue, retention=600)
    waiting = [asyncio.create_task(client.wait(info)) for _ in range(200)]
    for _ in range(20):
        await client.ping()
    await finish_like_go(redis, info)
    ended = await soon(asyncio.gather(*waiting))
    assert {info.state for info in ended} == {TaskState.COMPLETED}


async def test_closing_the_client_ends_waiting(client: Client, redis: Redis, queue: str) -> None:
    info = await client.enqueue(Task("t"), queue=queue, retention=60)
    waiting = asyncio.create_task(client.wait(info))
    await waited_for(redis, info)
    await client.aclose()
    with pytest.raises(RedisUnavailableError):
        await soon(waiting)


async def test_a_client_may_wait_in_one_event_loop_after_another(
    redis_url: str, redis: Redis, queue: str
) -> None:
    def in_a_loop_of_its_own() -> TaskState:
        async def wait() -> TaskState:
            async with Client(redis_url) as client:
                info = await client.enqueue(Task("t"), queue=queue, retention=60)
                with pytest.raises(TimeoutError):
                    await client.wait(info, timeout=0.01)
                return info.state

        return asyncio.run(wait())

    for _ in range(2):
        assert await asyncio.to_thread(in_a_loop_of_its_own) is TaskState.PENDING


# A Redis that is away


async def test_waiting_rides_out_a_lost_connection(
    redis: Redis, redis_server: RedisServer, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(task: Task) -> str:
        return "well"

    async with Proxy(redis_server.socket) as proxy, Client(proxy.url) as client:
        info = await client.enqueue(Task("t"), queue=queue, retention=60)
        waiting = asyncio.create_task(client.result(info, str))
        await waited_for(redis, info)
        for _ in range(3):
            await cut_all(redis)
        async with working(redis, redis_server.url, queue, answer):
            assert await soon(waiting) == "well"
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


async def cut_all(redis: Any) -> None:
    """Cut every other connection, as a load balancer or a restart does."""
    await redis.client_kill_filter(_type="normal", skipme=True)
    await redis.client_kill_filter(_type="pubsub", skipme=True)


async def test_waiting_ends_when_redis_stays_away(
    start_redis: Callable[[], RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "_PATIENCE_S", 0.2)
    server = start_redis()
    async with Client(server.url) as client:
        info = await client.enqueue(Task("t"), retention=60)
        waiting = asyncio.create_task(client.wait(info))
        async with server.client() as redis:
            await waited_for(redis, info)
        server.kill()
        with pytest.raises(RedisUnavailableError):
            await soon(waiting)


async def test_a_time_out_holds_while_redis_is_away(
    start_redis: Callable[[], RedisServer],
) -> None:
    server = start_redis()
    async with Client(server.url) as client:
        info = await client.enqueue(Task("t"), retention=60)
        server.kill()
        with pytest.raises((TimeoutError, RedisUnavailableError)):
            await soon(client.wait(info, timeout=0.3))


async def test_a_user_that_may_not_subscribe_waits_by_looking(
    start_redis: Callable[[], RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    server = start_redis()
    async with server.client() as raw:
        redis: Any = raw
        await redis.execute_command(
            *("ACL", "SETUSER", "u", "on", ">p", "~*", "resetchannels", "+@all")
        )
        url = server.url.replace("unix://", "unix://u:p@")
        async with Client(url) as client:
            info = await client.enqueue(Task("t"), queue="q", retention=60)
            waiting = asyncio.create_task(client.wait(info))
            await waited_for(redis, info)
            await until(lambda: "not told of ends of tasks" in caplog.text)
            await finish_like_go(redis, info)
            assert (await soon(waiting)).state is TaskState.COMPLETED


async def test_a_redis_that_is_full_can_be_waited_on(
    start_redis: Callable[[], RedisServer],
) -> None:
    server = start_redis()
    async with server.client() as redis, Client(server.url) as client:
        info = await client.enqueue(Task("t"), queue="q", retention=60)
        await redis.config_set("maxmemory", 1)
        with pytest.raises(TimeoutError):
            await client.wait(info, timeout=0.05)


async def test_an_error_that_does_not_pass_is_raised(
    client: Client, redis: Any, queue: str
) -> None:
    await redis.set(keys.task(queue, "text"), "no hash")
    with pytest.raises(RedisReplyError, match="WRONGTYPE"):
        await client.wait(made_up(queue, "text"))
