"""`Client.enqueue_many`: results line up, failures stay alone, few round trips; and outages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis_servers import RedisServer

from asyncq import (
    Client,
    DuplicateTaskError,
    EnqueueManyError,
    RedisReplyError,
    RedisUnavailableError,
    Task,
    TaskIdConflictError,
    TaskInfo,
)
from asyncq._broker import keys
from asyncq._broker.connection import Call


@pytest.fixture
async def client(redis_url: str) -> AsyncGenerator[Client]:
    async with Client(redis_url) as client:
        yield client


async def test_results_line_up_with_the_input(client: Client, redis: Redis, queue: str) -> None:
    queues = [f"{queue}-{n % 3}" for n in range(30)]
    tasks = [Task(f"t{n}", str(n), queue=name) for n, name in enumerate(queues)]
    infos = await client.enqueue_many(tasks)
    assert [(i.type, i.payload, i.queue) for i in infos] == [
        (f"t{n}", str(n).encode(), name) for n, name in enumerate(queues)
    ]
    # In the order of the input, within each queue: the oldest on the right.
    pending: list[Any] = await redis.lrange(keys.pending(f"{queue}-0"), 0, -1)
    assert [id_.decode() for id_ in reversed(pending)] == [info.id for info in infos[::3]]


async def test_options_go_over_those_of_every_task(client: Client, queue: str) -> None:
    infos = await client.enqueue_many(
        [Task("a", max_retry=1), Task("b", max_retry=2, retention=5)], queue=queue, max_retry=9
    )
    assert [(info.queue, info.max_retry) for info in infos] == [(queue, 9)] * 2
    assert [info.retention.total_seconds() for info in infos] == [0, 5]


async def test_no_tasks_are_no_round_trip(client: Client) -> None:
    said: list[Any] = []
    client._connection.on_call = lambda *call: said.append(call)
    assert await client.enqueue_many([]) == []
    assert said == []


async def test_a_generator_will_do(client: Client, queue: str) -> None:
    def tasks() -> Iterator[Task]:
        for n in range(5):
            yield Task(f"t{n}")

    infos = await client.enqueue_many(tasks(), queue=queue)
    assert [info.type for info in infos] == [f"t{n}" for n in range(5)]


def with_failures(queue: str, poisoned: str) -> list[Any]:
    """Good and bad by turns, each bad for a reason of its own."""
    return [
        Task("good-0", queue=queue),
        Task("taken", queue=queue, task_id="taken"),
        Task("good-1", queue=queue),
        Task("unique", b"p", queue=queue, unique=60),
        "no task",
        Task("good-2", queue=queue),
        Task("poisoned", queue=poisoned),
        Task("again", queue=queue, task_id="again"),
        Task("again", queue=queue, task_id="again"),
    ]


async def prepare_failures(client: Client, redis: Redis, queue: str) -> None:
    await client.enqueue(Task("t"), queue=queue, task_id="taken")
    await client.enqueue(Task("unique", b"p"), queue=queue, unique=60)
    await redis.set(keys.pending(f"{queue}-poisoned"), "no list")


KINDS: list[type[Any]] = [
    TaskInfo,
    TaskIdConflictError,
    TaskInfo,
    DuplicateTaskError,
    TypeError,
    TaskInfo,
    RedisReplyError,
    TaskInfo,
    TaskIdConflictError,
]


async def test_failed_items_neither_hide_nor_take_others_with_them(
    client: Client, redis: Redis, queue: str
) -> None:
    await prepare_failures(client, redis, queue)
    with pytest.raises(EnqueueManyError) as raised:
        await client.enqueue_many(with_failures(queue, f"{queue}-poisoned"))
    results = raised.value.results
    assert [type(result) for result in results] == KINDS
    assert "5 of 9 tasks were not enqueued (item 1: " in str(raised.value)
    for info in results:
        if isinstance(info, TaskInfo):
            assert await redis.hget(keys.task(queue, info.id), "state") == b"pending"


async def test_failed_items_can_be_returned_in_their_places(
    client: Client, redis: Redis, queue: str
) -> None:
    await prepare_failures(client, redis, queue)
    results = await client.enqueue_many(
        with_failures(queue, f"{queue}-poisoned"), return_exceptions=True
    )
    assert [type(result) for result in results] == KINDS


async def test_a_wrong_option_for_all_fails_each(client: Client, redis: Redis, queue: str) -> None:
    with pytest.raises(EnqueueManyError) as raised:
        await client.enqueue_many([Task("a"), Task("b")], queue=queue, timeout=0)
    assert [type(result) for result in raised.value.results] == [ValueError, ValueError]
    assert await redis.keys(f"asynq:{{{queue}}}:*") == []


async def test_thousands_of_tasks_are_few_round_trips(
    client: Client, redis: Redis, queue: str
) -> None:
    trips = 0

    def count(calls: Sequence[Call], took: float, error: BaseException | None) -> None:
        nonlocal trips
        trips += 1

    client._connection.on_call = count
    queues = [f"{queue}-{n}" for n in range(3)]
    tasks = [Task("t", str(n), queue=queues[n % 3]) for n in range(5000)]
    infos = await client.enqueue_many(tasks)
    assert len({info.id for info in infos}) == 5000
    assert [await redis.llen(keys.pending(name)) for name in queues] == [1667, 1667, 1666]
    assert trips <= 5000 / 300


async def test_large_payloads_are_not_sent_all_at_once(client: Client, queue: str) -> None:
    calls: list[int] = []
    client._connection.on_call = lambda said, *_: calls.append(len(said))
    infos = await client.enqueue_many([Task("t", b"x" * 300_000)] * 20, queue=queue)
    assert len(infos) == 20
    assert len(calls) > 1


async def test_without_redis_an_enqueue_fails_after_its_bounded_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Client(f"unix://{tmp_path}/none.sock") as client:
        with pytest.raises(RedisUnavailableError) as raised:
            await client.enqueue(Task("t"))
        assert not raised.value.sent
        with pytest.raises(EnqueueManyError) as many:
            await client.enqueue_many([Task("a"), Task("b")])
        assert [type(result) for result in many.value.results] == [RedisUnavailableError] * 2
        with pytest.raises(RedisUnavailableError):
            await client.ping()


async def test_an_enqueue_rides_over_a_restart_of_redis(
    start_redis: Callable[..., RedisServer], queue: str
) -> None:
    server = start_redis(persistent=True)
    async with Client(server.url) as client:
        await client.enqueue(Task("t"), queue=queue)
        server.restart(kill=True)
        info = await client.enqueue(Task("t"), queue=queue, task_id="after")
        assert info.id == "after"
        async with server.client() as redis:
            assert await redis.llen(keys.pending(queue)) == 2
