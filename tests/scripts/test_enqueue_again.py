"""enqueue.lua, sent again: after a lost reply, and while Redis would not take it just now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.asyncio import Redis
from redis_servers import RedisServer
from stored import a_lock, a_message, new, snapshot

from asyncq._broker import keys, producer
from asyncq._broker.arguments import NewTask
from asyncq._broker.broker import Broker, Enqueued
from asyncq._broker.connection import Call, Connection
from asyncq._broker.producer import enqueued
from asyncq._broker.slices import Slice
from asyncq._clock import Clock
from asyncq.errors import OutcomeUnknownError, RedisReplyError, TaskIdConflictError
from asyncq.task import TaskState

pytestmark = pytest.mark.every_redis


async def send(broker: Broker, item: NewTask, token: str = "token") -> Any:
    """One sending of one task under a call's token."""
    queue = item.message.queue
    (reply,) = await broker.enqueue_once([Slice(queue, [(0, item)])], token)
    return enqueued(reply[0], item.message)


@pytest.mark.parametrize("own_id", [True, False])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"process_in_ms": 3_600_000},
        {"group": "g"},
        {"unique": True},
        {"unique": True, "group": "g", "process_in_ms": 3_600_000},
    ],
)
async def test_a_task_sent_again_is_recognised_and_stored_once(
    redis: Redis, queue: str, broker: Broker, own_id: bool, how: dict[str, Any]
) -> None:
    lock = a_lock(queue) if how.get("unique") else ""
    task = a_message(queue, group_key=how.get("group", ""), unique_key=lock)
    item = new(task, own_id=own_id, unique_s=60, process_in_ms=how.get("process_in_ms"))
    first = await send(broker, item)
    stored = await snapshot(redis, queue)
    again = await send(broker, item)
    assert await snapshot(redis, queue) == stored
    assert again.state == first.state
    assert again.due_ms == -(-first.due_ms // 1000) * 1000  # the score knows whole seconds


@pytest.mark.parametrize("own_id", [True, False])
async def test_a_task_sent_again_that_runs_already_is_left_alone(
    redis: Redis, queue: str, broker: Broker, own_id: bool
) -> None:
    item = new(a_message(queue), own_id=own_id)
    await send(broker, item)
    await broker.dequeue([(queue, 1)], "claim")
    stored = await snapshot(redis, queue)
    assert await send(broker, item) == Enqueued(TaskState.ACTIVE, 0)
    assert await snapshot(redis, queue) == stored


async def test_plain_tasks_of_which_some_are_stored_already_are_each_stored_once(
    redis: Redis, queue: str, broker: Broker
) -> None:
    first = [new(a_message(queue, task_id)) for task_id in "ab"]
    await broker.enqueue(first)
    await broker.dequeue([(queue, 1)], "claim")
    results = await broker.enqueue([*first, new(a_message(queue, "c"))])
    states = [TaskState.ACTIVE, TaskState.PENDING, TaskState.PENDING]
    assert results == [Enqueued(state, 0) for state in states]
    assert await redis.lrange(keys.pending(queue), 0, -1) == [b"c", b"b"]


async def test_a_callers_id_under_another_call_is_a_conflict(
    redis: Redis, queue: str, broker: Broker
) -> None:
    await send(broker, new(a_message(queue), own_id=False), "one call")
    stored = await snapshot(redis, queue)
    assert stored["t:a"]["asyncq_call"] == "one call.0"
    result = await send(broker, new(a_message(queue), own_id=False), "another call")
    assert isinstance(result, TaskIdConflictError)
    assert await snapshot(redis, queue) == stored


async def test_two_tasks_of_one_call_with_the_same_id_are_a_conflict(
    redis: Redis, queue: str, broker: Broker
) -> None:
    first, second = await broker.enqueue([new(a_message(queue), own_id=False)] * 2)
    assert first == Enqueued(TaskState.PENDING, 0)
    assert isinstance(second, TaskIdConflictError)
    assert await redis.lrange(keys.pending(queue), 0, -1) == [b"a"]


class Cut:
    """Passes on what is said to Redis, but hangs up in place of the next answers to scripts."""

    def __init__(self, server: RedisServer) -> None:
        self.answers = 0
        self._server = server

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer, ask = await asyncio.open_unix_connection(str(self._server.socket))
        asked = bytearray()
        asking = asyncio.create_task(_pass_on(reader, ask, asked))
        try:
            while data := await answer.read(1 << 16):
                if self.answers and b"EVAL" in asked:
                    self.answers -= 1
                    break
                writer.write(data)
        finally:
            asking.cancel()
            ask.close()
            writer.close()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: bytearray
) -> None:
    while data := await reader.read(1 << 16):
        seen += data
        writer.write(data)


@pytest.fixture
async def cut_broker(
    redis_server: RedisServer, clock: Clock, tmp_path: Any
) -> AsyncIterator[tuple[Broker, Cut]]:
    cut = Cut(redis_server)
    path = str(tmp_path / "cut.sock")
    async with AsyncExitStack() as stack:
        server = await asyncio.start_unix_server(cut, path)
        stack.callback(server.close)
        connection = Connection.open(f"unix://{path}?db=0")
        stack.push_async_callback(connection.aclose)
        yield Broker(connection, clock), cut


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer, "_ENQUEUE_PAUSES_S", (0.0, 0.0))


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("own_id", [True, False])
async def test_a_lost_answer_is_asked_for_again(
    redis: Redis, queue: str, cut_broker: tuple[Broker, Cut], own_id: bool
) -> None:
    broker, cut = cut_broker
    cut.answers = 2
    lock = a_lock(queue)
    items = [
        new(a_message(queue, "1"), own_id=own_id),
        new(a_message(queue, "2", unique_key=lock), own_id=own_id, unique_s=60),
    ]
    assert await broker.enqueue(items) == [Enqueued(TaskState.PENDING, 0)] * 2
    assert cut.answers == 0
    assert await redis.lrange(keys.pending(queue), 0, -1) == [b"2", b"1"]


@pytest.mark.usefixtures("no_pauses")
async def test_where_no_answer_comes_at_all_the_outcome_is_unknown(
    queue: str, cut_broker: tuple[Broker, Cut]
) -> None:
    broker, cut = cut_broker
    cut.answers = 1000
    (result,) = await broker.enqueue([new(a_message(queue))])
    assert isinstance(result, OutcomeUnknownError)
    assert (result.task_id, result.queue) == ("a", queue)


async def opened(server: RedisServer, clock: Clock, stack: AsyncExitStack) -> tuple[Broker, Redis]:
    connection = Connection.open(server.url)
    stack.push_async_callback(connection.aclose)
    return Broker(connection, clock), await stack.enter_async_context(server.client())


async def refuse_writes(redis: Redis, why: str) -> None:
    if why == "OOM":
        await redis.config_set("maxmemory", 1)
    else:
        await redis.replicaof("127.0.0.1", 1)


async def allow_writes(redis: Redis) -> None:
    await redis.config_set("maxmemory", 0)
    await redis.replicaof("NO", "ONE")


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("why", ["OOM", "READONLY"])
async def test_while_redis_takes_no_writes_every_item_says_so_and_nothing_is_stored(
    start_redis: Callable[..., RedisServer], queue: str, clock: Clock, why: str
) -> None:
    async with AsyncExitStack() as stack:
        broker, redis = await opened(start_redis(), clock, stack)
        await refuse_writes(redis, why)
        lock = a_lock(queue)
        results = await broker.enqueue(
            [
                new(a_message(queue, "1")),
                new(a_message(queue, "2", unique_key=lock), unique_s=60),
                new(a_message(queue, "3", group_key="g"), own_id=False),
                new(a_message(queue, "4"), process_in_ms=1000),
            ]
        )
        results += await broker.enqueue([new(a_message(queue, "5")), new(a_message(queue, "6"))])
        for result in results:
            assert isinstance(result, RedisReplyError)
            assert (result.code, result.passing) == (why, True)
        assert await snapshot(redis, queue) == {}


@pytest.mark.parametrize("why", ["OOM", "READONLY"])
async def test_what_redis_would_not_take_is_sent_again_until_it_does(
    start_redis: Callable[..., RedisServer],
    queue: str,
    clock: Clock,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(producer, "_ENQUEUE_PAUSES_S", (0.001,) * 10_000)
    async with AsyncExitStack() as stack:
        broker, redis = await opened(start_redis(), clock, stack)
        await refuse_writes(redis, why)
        refused = asyncio.Event()

        def note(calls: Sequence[Call], seconds: float, error: BaseException | None) -> None:
            refused.set()

        broker.connection.on_call = note
        sending = asyncio.create_task(broker.enqueue([new(a_message(queue))]))
        await refused.wait()
        await allow_writes(redis)
        assert await sending == [Enqueued(TaskState.PENDING, 0)]
        assert await redis.lrange(keys.pending(queue), 0, -1) == [b"a"]
