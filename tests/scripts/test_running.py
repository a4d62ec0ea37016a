"""What holds for every script: Redis may forget it, be full, or be a replica at any moment."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.resources import files
from typing import Any

import pytest
from redis.asyncio import Redis
from redis_servers import RedisServer
from stored import a_message, new, put_active, snapshot, take

from asyncq._broker import keys, scripts
from asyncq._broker.aggregation import Aggregation
from asyncq._broker.broker import Broker, Enqueued, Fetched
from asyncq._broker.connection import Call, Connection
from asyncq._broker.maintenance import Maintenance, Recovery
from asyncq._broker.outcome import Done, Requeued
from asyncq._broker.scripts import Script
from asyncq._broker.slices import Slice
from asyncq._clock import Clock
from asyncq.errors import RedisReplyError
from asyncq.task import TaskState

pytestmark = pytest.mark.every_redis

LOADED = [value for value in vars(scripts).values() if isinstance(value, Script)]


def test_every_lua_file_is_loaded_and_says_what_it_does() -> None:
    lua = files("asyncq._broker") / "lua"
    sources = {f.name: f.read_text() for f in lua.iterdir() if f.name.endswith(".lua")}
    assert {f"{script.name}.lua" for script in LOADED} == set(sources)
    for source in sources.values():
        assert re.match(r"-- [A-Z].*\n(--.*\n)+", source)


@pytest.mark.parametrize("script", LOADED, ids=lambda script: script.name)
async def test_redis_knows_every_script_by_its_sha(redis: Redis, script: Script) -> None:
    assert await redis.script_load(script.source) in (script.sha, script.sha.encode())
    assert "--@include" not in script.source


@pytest.fixture
async def private(
    start_redis: Callable[..., RedisServer],
) -> AsyncIterator[tuple[Connection, Redis]]:
    """A server of one's own, whose scripts can be flushed and whose memory can run out."""
    async with AsyncExitStack() as stack:
        server = start_redis()
        connection = Connection.open(server.url)
        stack.push_async_callback(connection.aclose)
        yield connection, await stack.enter_async_context(server.client())


async def test_scripts_flushed_in_the_middle_of_a_pipeline_cost_nothing(
    private: tuple[Connection, Redis], queue: str
) -> None:
    connection, redis = private
    broker = Broker(connection, Clock())
    await broker.enqueue([new(a_message(queue, "0"))])
    calls = [
        call
        for n in range(1, 6)
        for call in (
            broker._enqueue_call(Slice(queue, [(0, new(a_message(queue, str(n))))]), "token"),
            Call.command("SCRIPT", "FLUSH"),
        )
    ]
    replies = await connection.run(calls)
    assert replies[::2] == [[1]] * 5
    assert sorted(await redis.lrange(keys.pending(queue), 0, -1)) == [b"%d" % n for n in range(6)]


async def test_a_whole_life_survives_a_redis_that_forgets_every_script(
    private: tuple[Connection, Redis], queue: str
) -> None:
    connection, redis = private
    broker, maintenance = Broker(connection, Clock()), Maintenance(connection, Clock())
    for task_id in "ab":
        await redis.script_flush()
        await broker.enqueue([new(a_message(queue, task_id), process_in_ms=1)])
        await redis.script_flush()
        while not await redis.llen(keys.pending(queue)):
            await maintenance.forward(queue, "server", 1)
        await redis.script_flush()
        (fetched,) = await broker.dequeue([(queue, 1)], "claim")
        assert isinstance(fetched, Fetched)
        await redis.script_flush()
        assert await broker.extend_leases(queue, [(task_id, "claim")]) == [True]
        await redis.script_flush()
        (leased,) = fetched.tasks
        assert await broker.settle([Done(leased)]) == [True]  # type: ignore[arg-type]  # Leased
    assert await redis.get(keys.processed(queue)) == b"2"


Operation = Callable[[Connection, str], Awaitable[Any]]


async def _dequeue(connection: Connection, queue: str) -> Any:
    (result,) = await Broker(connection, Clock()).dequeue([(queue, 1)], "c")
    return result


async def _recover(connection: Connection, queue: str) -> Any:
    task = a_message(queue, "expired")
    maintenance = Maintenance(connection, Clock())
    return (await maintenance.recover(queue, [Recovery("restart", queue, task.id, "", task)]))[0]


async def _forward(connection: Connection, queue: str) -> Any:
    return await Maintenance(connection, Clock()).forward(queue, "server", 1)


async def _take_set(connection: Connection, queue: str) -> Any:
    return await Aggregation(connection, Clock()).take_set(
        queue, "g", grace_s=0, max_delay_s=None, max_size=1
    )


async def _reclaim(connection: Connection, queue: str) -> Any:
    return await Aggregation(connection, Clock()).reclaim(queue)


@pytest.mark.parametrize("why", ["OOM", "READONLY"])
@pytest.mark.parametrize("operation", [_dequeue, _recover, _forward, _take_set, _reclaim])
async def test_while_redis_takes_no_writes_an_operation_says_so_and_changes_nothing(
    private: tuple[Connection, Redis], queue: str, operation: Operation, why: str
) -> None:
    connection, redis = private
    await put_one_of_each(connection, redis, queue)
    before = await snapshot(redis, queue)
    if why == "OOM":
        await redis.config_set("maxmemory", 1)
    else:
        await redis.replicaof("127.0.0.1", 1)
    try:
        result = await operation(connection, queue)
    except RedisReplyError as error:
        result = error
    assert isinstance(result, RedisReplyError), result
    assert (result.code, result.passing) == (why, True)
    assert await snapshot(redis, queue) == before


async def put_one_of_each(connection: Connection, redis: Redis, queue: str) -> None:
    """Something that each of the operations would move."""
    await put_active(redis, a_message(queue, "expired"), 1)
    await Broker(connection, Clock()).enqueue(
        [new(a_message(queue, "pending")), new(a_message(queue, "part", group_key="g"))]
    )
    await redis.hset(keys.task(queue, "due"), mapping={"msg": "m", "state": "scheduled"})
    await redis.zadd(keys.scheduled(queue), {"due": 1})
    overdue = keys.aggregation_set(queue, "g", "id")
    await redis.zadd(overdue, {"part of an overdue set": 1})
    await redis.zadd(keys.aggregation_sets(queue), {overdue: 1})


@pytest.mark.parametrize("why", ["OOM", "READONLY"])
async def test_outcomes_that_redis_takes_no_writes_for_are_written_later(
    private: tuple[Connection, Redis], queue: str, why: str
) -> None:
    connection, redis = private
    broker = Broker(connection, Clock())
    held = await take(broker, a_message(queue, "1"), a_message(queue, "2"))
    before = await snapshot(redis, queue)
    if why == "OOM":
        await redis.config_set("maxmemory", 1)
    else:
        await redis.replicaof("127.0.0.1", 1)
    for result in await broker.settle([Requeued(leased) for leased in held]):
        assert isinstance(result, RedisReplyError)
        assert (result.code, result.passing) == (why, True)
    assert await snapshot(redis, queue) == before
    await redis.config_set("maxmemory", 0)
    await redis.replicaof("NO", "ONE")
    assert await broker.settle([Requeued(leased) for leased in held]) == [True, True]


async def test_success_is_written_even_when_memory_is_full(
    private: tuple[Connection, Redis], queue: str
) -> None:
    connection, redis = private
    broker = Broker(connection, Clock())
    held = await take(broker, a_message(queue, "1"), a_message(queue, "2"))
    await redis.config_set("maxmemory", 1)
    assert await broker.settle([Done(leased) for leased in held]) == [True, True]
    await redis.config_set("maxmemory", 0)
    assert set(await snapshot(redis, queue)) == {"processed", "processed:<day>"}


async def test_queue_names_and_ids_may_hold_anything(
    redis: Redis, broker: Broker, queue: str
) -> None:
    odd = f" Mixed Case:{queue}\u00e9}} "
    task = a_message(odd, "an id: {x} \u00e9")
    assert await broker.enqueue([new(task)]) == [Enqueued(TaskState.PENDING, 0)]
    (fetched,) = await broker.dequeue([(odd, 1)], "claim")
    assert isinstance(fetched, Fetched)
    (leased,) = fetched.tasks
    assert await broker.settle([Requeued(leased)]) == [True]  # type: ignore[arg-type]  # Leased
    assert await redis.lrange(keys.pending(odd), 0, -1) == [task.id.encode()]
