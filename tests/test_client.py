"""`Client.enqueue`: every option, every refusal, and what it answers."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis as blocking
from pydantic import BaseModel
from redis.asyncio import Redis
from redis_servers import RedisServer
from stored import moment, snapshot

from asyncq import (
    Client,
    DuplicateTaskError,
    RedisNotConfiguredError,
    RedisReplyError,
    Task,
    TaskIdConflictError,
    TaskInfo,
    TaskState,
    TaskType,
)
from asyncq._broker import keys
from asyncq._broker.message import TaskMessage


@pytest.fixture
async def client(redis_url: str) -> AsyncGenerator[Client]:
    async with Client(redis_url) as client:
        yield client


async def test_a_task_without_options_is_pending_with_the_defaults(
    client: Client, redis: Redis, queue: str
) -> None:
    async with moment(redis) as then:
        info = await client.enqueue(Task("t", b"p"), queue=queue)
    assert (info.queue, info.type, info.payload) == (queue, "t", b"p")
    assert info.state is TaskState.PENDING
    assert info.max_retry == 25
    assert info.timeout == timedelta(minutes=30)
    assert info.deadline is None
    assert info.retention == timedelta(0)
    assert info.group == ""
    assert info.retried == 0
    assert info.headers == {}
    assert info.next_process_at is not None
    there = await snapshot(redis, queue)
    assert there == {
        "pending": [info.id],
        f"t:{info.id}": {
            "msg": TaskMessage("t", info.id, queue, b"p", retry=25, timeout=1800),
            "state": "pending",
            "pending_since": then.ns(),
        },
    }
    assert await redis.sismember(keys.QUEUES, queue)


async def test_without_a_queue_it_goes_to_the_default_one(
    start_redis: Callable[..., RedisServer],
) -> None:
    async with Client(start_redis().url) as client:
        info = await client.enqueue(Task("t"))
    assert info.queue == "default"


async def test_every_option_is_stored_and_answered(
    client: Client, redis: Redis, queue: str
) -> None:
    deadline = datetime(2100, 1, 1, tzinfo=UTC)
    task = Task("t", {"a": 1}, headers={"trace": "7"})
    info = await client.enqueue(
        task,
        queue=queue,
        task_id="mine",
        max_retry=3,
        timeout=timedelta(seconds=20),
        deadline=deadline,
        unique=60,
        retention=timedelta(hours=1),
    )
    assert info.id == "mine"
    assert info.payload == b'{"a":1}'
    assert info.headers == {"trace": "7"}
    assert info.max_retry == 3
    assert info.timeout == timedelta(seconds=20)
    assert info.deadline == deadline
    assert info.retention == timedelta(hours=1)
    lock = keys.unique(queue, "t", b'{"a":1}')
    stored = (await snapshot(redis, queue))["t:mine"]
    assert stored["msg"] == TaskMessage(
        "t",
        "mine",
        queue,
        b'{"a":1}',
        {"trace": "7"},
        retry=3,
        timeout=20,
        deadline=int(deadline.timestamp()),
        unique_key=lock,
        retention=3600,
    )
    assert stored["unique_key"] == lock
    assert await redis.get(lock) == b"mine"
    assert 0 < await redis.ttl(lock) <= 60


async def test_options_of_enqueue_go_over_those_of_the_task_and_its_type(
    client: Client, queue: str
) -> None:
    class Email(BaseModel):
        user_id: int

    email = TaskType("email", Email, max_retry=1, queue="elsewhere", retention=10)
    task = email.task(Email(user_id=1), max_retry=2, queue="elsewhere-too")
    info = await client.enqueue(task, queue=queue)
    assert (info.queue, info.max_retry, info.retention) == (queue, 2, timedelta(seconds=10))
    assert info.payload == b'{"user_id":1}'


async def test_a_deadline_alone_leaves_out_the_default_time_out(client: Client, queue: str) -> None:
    info = await client.enqueue(Task("t"), queue=queue, deadline=datetime(2100, 1, 1, tzinfo=UTC))
    assert info.timeout is None


@pytest.mark.parametrize("how", ["process_in", "process_at"])
async def test_a_task_for_later_is_scheduled(
    client: Client, redis: Redis, queue: str, how: str
) -> None:
    async with moment(redis) as then:
        later = timedelta(hours=1)
        when: Any = later if how == "process_in" else datetime.now(UTC) + later
        info = await client.enqueue(Task("t"), queue=queue, **{how: when})
    assert info.state is TaskState.SCHEDULED
    assert (await snapshot(redis, queue))["scheduled"] == {info.id: then.s_up(3_600_000)}
    assert info.next_process_at is not None
    due_ms = round(info.next_process_at.timestamp() * 1000)
    # A time is rounded up to the millisecond: never early.
    assert then.ms(3_600_000) == due_ms or then.ms(3_600_000) == due_ms - 1


@pytest.mark.parametrize(
    "when",
    [
        {"process_in": 0},
        {"process_in": -5},
        {"process_in": timedelta(seconds=-1)},
        {"process_at": datetime(2001, 1, 1, tzinfo=UTC)},
    ],
    ids=repr,
)
async def test_a_time_that_has_passed_means_now(
    client: Client, queue: str, when: dict[str, Any]
) -> None:
    info = await client.enqueue(Task("t"), queue=queue, **when)
    assert info.state is TaskState.PENDING


async def test_a_group_waits_to_be_aggregated(client: Client, redis: Redis, queue: str) -> None:
    info = await client.enqueue(Task("t"), queue=queue, group="users")
    assert (info.state, info.group) == (TaskState.AGGREGATING, "users")
    there = await snapshot(redis, queue)
    assert set(there["g:users"]) == {info.id}
    assert there["groups"] == {"users"}


async def test_a_second_unique_task_is_refused(client: Client, queue: str) -> None:
    await client.enqueue(Task("t", b"p"), queue=queue, unique=60)
    with pytest.raises(DuplicateTaskError) as refused:
        await client.enqueue(Task("t", b"p"), queue=queue, unique=60)
    assert (refused.value.task_type, refused.value.queue) == ("t", queue)
    await client.enqueue(Task("t", b"other"), queue=queue, unique=60)
    await client.enqueue(Task("other", b"p"), queue=queue, unique=60)
    await client.enqueue(Task("t", b"p"), queue=f"{queue}-other", unique=60)
    await client.enqueue(Task("t", b"p"), queue=queue)  # who asks for no lock gets no refusal


async def test_unique_key_says_what_is_unique_in_place_of_the_payload(
    client: Client, redis: Redis, queue: str
) -> None:
    info = await client.enqueue(Task("t", b"1"), queue=queue, unique=60, unique_key="user-7")
    lock = keys.unique(queue, "t", b"user-7")
    assert await redis.get(lock) == info.id.encode()
    assert (await snapshot(redis, queue))[f"t:{info.id}"]["unique_key"] == lock
    with pytest.raises(DuplicateTaskError):
        await client.enqueue(Task("t", b"2"), queue=queue, unique=60, unique_key=b"user-7")
    await client.enqueue(Task("t", b"1"), queue=queue, unique=60, unique_key="user-8")


async def test_an_absent_payload_and_an_empty_one_are_not_the_same_unique_task(
    client: Client, queue: str
) -> None:
    await client.enqueue(Task("t"), queue=queue, unique=60)
    await client.enqueue(Task("t", b""), queue=queue, unique=60)
    for payload in (None, b""):
        with pytest.raises(DuplicateTaskError):
            await client.enqueue(Task("t", payload), queue=queue, unique=60)


async def test_an_id_that_is_taken_is_refused_and_leaves_no_lock(
    client: Client, redis: Redis, queue: str
) -> None:
    await client.enqueue(Task("t"), queue=queue, task_id="mine")
    with pytest.raises(TaskIdConflictError) as refused:
        await client.enqueue(Task("t", b"p"), queue=queue, task_id="mine", unique=60)
    assert (refused.value.task_id, refused.value.queue) == ("mine", queue)
    assert not await redis.exists(keys.unique(queue, "t", b"p"))
    await client.enqueue(Task("t"), queue=f"{queue}-other", task_id="mine")


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"max_retries": 3}, TypeError, "unknown option 'max_retries'; did you mean 'max_retry'"),
        ({"timeout": 0}, ValueError, "timeout="),
        ({"timeout": 0.5}, ValueError, "timeout="),
        ({"deadline": datetime(2100, 1, 1)}, ValueError, "aware datetime"),  # noqa: DTZ001 - the mistake
        ({"process_at": datetime(2100, 1, 1)}, ValueError, "aware datetime"),  # noqa: DTZ001
        ({"unique": 0.2}, ValueError, "unique="),
        ({"unique_key": "k"}, ValueError, "give unique= too"),
        ({"queue": " "}, ValueError, "queue= must not be blank"),
        ({"task_id": ""}, ValueError, "task_id= must not be blank"),
        ({"group": ""}, ValueError, "group= must not be blank"),
        ({"max_retry": -1}, ValueError, "max_retry="),
        ({"retention": "1h"}, TypeError, "retention="),
        (
            {"process_in": 1, "process_at": datetime(2100, 1, 1, tzinfo=UTC)},
            ValueError,
            "not both",
        ),
    ],
    ids=repr,
)
async def test_a_wrong_option_is_named_and_nothing_is_enqueued(
    client: Client,
    redis: Redis,
    queue: str,
    options: dict[str, Any],
    error: type[Exception],
    match: str,
) -> None:
    options.setdefault("queue", queue)
    with pytest.raises(error, match=match):
        await client.enqueue(Task("t"), **options)
    assert await snapshot(redis, queue) == {}


@pytest.mark.parametrize("wrong", ["t", b"t", None, TaskType("t")], ids=repr)
async def test_what_is_no_task_is_refused_with_the_right_form(client: Client, wrong: Any) -> None:
    with pytest.raises(TypeError, match="enqueue takes a Task, got"):
        await client.enqueue(wrong)


async def test_what_redis_refuses_is_raised(client: Client, redis: Redis, queue: str) -> None:
    await redis.set(keys.pending(queue), "no list")
    with pytest.raises(RedisReplyError, match="WRONGTYPE"):
        await client.enqueue(Task("t"), queue=queue)
    assert [name for name in await snapshot(redis, queue) if name.startswith("t:")] == []


async def test_a_client_of_a_client_shares_its_connections(
    client: Client, redis: Redis, queue: str
) -> None:
    async with Client(client) as sharing:
        assert sharing.where == client.where
        await sharing.enqueue(Task("t"), queue=queue)
    await client.ping()


async def test_a_driver_s_client_is_read_for_its_address_and_left_alone(
    redis: Redis, queue: str
) -> None:
    async with Client(redis) as client:
        await client.enqueue(Task("t"), queue=queue)
    await redis.ping()


async def test_closing_twice_is_harmless_and_names_no_secret(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis(tcp=True)
    async with server.client() as redis:
        await redis.config_set("requirepass", "secret")
    client = Client(f"redis://:secret@127.0.0.1:{server.port}/0")
    await client.ping()
    await client.aclose()
    await client.aclose()
    assert "secret" not in repr(client)
    assert str(server.port) in client.where


def test_a_source_that_is_none_is_explained(redis_url: str) -> None:
    with pytest.raises(RedisNotConfiguredError, match="ASYNCQ_REDIS_URL"):
        Client()
    with blocking.Redis.from_url(redis_url) as synchronous:
        wrong: Any = synchronous
        with pytest.raises(TypeError):
            Client(wrong)
    with pytest.raises(ValueError, match="nonsense"):
        Client("nonsense://x")


def test_the_environment_says_where_redis_is(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://second:1/0")
    assert "second" in Client().where
    monkeypatch.setenv("ASYNCQ_REDIS_URL", "redis://first:1/0")
    assert "first" in Client().where


def test_a_client_goes_on_in_a_second_event_loop(redis_url: str, queue: str) -> None:
    """What a module-level client meets under `asyncio.run`, `async_to_sync` and test runners."""
    client = Client(redis_url)

    async def use() -> TaskInfo:
        info = await client.enqueue(Task("t"), queue=queue, retention=60)
        with pytest.raises(TimeoutError):
            await client.wait(info, timeout=0)
        return info

    with warnings.catch_warnings():
        # Of the first loop's connection, which nobody closed.
        warnings.simplefilter("ignore", ResourceWarning)
        first = asyncio.run(use())
        second = asyncio.run(use())
        asyncio.run(client.aclose())
        gc.collect()
    assert first.id != second.id
