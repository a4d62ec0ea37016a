"""`asyncq.testing`: what users' tests are written with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from types import NoneType

import anyio.from_thread
import pytest
from redis_servers import RedisServer

from asyncq import (
    Client,
    GroupConfig,
    Inspector,
    InvalidResultError,
    RedisUnavailableError,
    ServeMux,
    ServerConfig,
    SkipRetry,
    Task,
    current,
)
from asyncq.handler import Handler
from asyncq.testing import _Recorder, _Work, drain, in_attempt


@pytest.fixture
def config(queue: str) -> ServerConfig:
    return ServerConfig(queues={queue: 1})


# In an attempt


async def test_handler_sees_the_attempt_that_the_test_describes() -> None:
    deadline = datetime(2030, 1, 1, tzinfo=UTC)
    with in_attempt(task_id="7", queue="q", retry_count=2, deadline=deadline, headers={"a": "b"}):
        attempt = current()
    assert (attempt.task_id, attempt.task_type, attempt.queue) == ("7", "test", "q")
    assert (attempt.retry_count, attempt.max_retry, attempt.deadline) == (2, 25, deadline)
    assert (attempt.headers, attempt.state) == ({"a": "b"}, None)
    with pytest.raises(RuntimeError, match="no task is handled"):
        current()


async def test_results_that_are_written_are_kept_as_they_would_stand_in_redis() -> None:
    with in_attempt() as written:
        await current().write_result("half")
        await current().write_result({"done": 2})
        with pytest.raises(InvalidResultError):
            await current().write_result(object())
    assert written == [b"half", b'{"done":2}']


async def test_def_handler_is_in_the_attempt_in_its_thread() -> None:
    mux = ServeMux()

    @mux.handle("t")
    def handle(task: Task) -> int:
        anyio.from_thread.run(current().write_result, current().task_id)
        return current().retry_count

    with in_attempt(task_id="id", retry_count=3) as written:
        assert await mux(Task("t")) == 3
    assert written == [b"id"]


def test_attempt_ends_with_an_error_of_the_test() -> None:
    with pytest.raises(ZeroDivisionError), in_attempt():
        raise ZeroDivisionError
    with pytest.raises(RuntimeError):
        current()


# Run dry


async def test_queues_are_run_until_handlers_enqueue_no_more(
    client: Client, inspector: Inspector, queue: str
) -> None:
    other = f"{queue}:other"

    async def count_down(task: Task) -> int:
        """To and fro between the queues, of which one is looked at after the other."""
        n = int(task.json())
        if n:
            await client.enqueue(Task("t", n - 1), queue=(queue, other)[n % 2])
        return n

    await client.enqueue(Task("t", 20), queue=queue)
    attempts = await drain(client, count_down, ServerConfig(queues={queue: 1, other: 1}))
    assert [attempt.result for attempt in attempts] == list(range(20, -1, -1))
    assert {attempt.context.queue for attempt in attempts} == {queue, other}
    for name in (queue, other):
        assert (await inspector.queue_info(name)).size == 0


async def test_queue_that_was_deleted_a_moment_ago_is_run_dry(
    client: Client, inspector: Inspector, queue: str, config: ServerConfig
) -> None:
    await client.enqueue(Task("t"), queue=queue)
    await inspector.delete_queue(queue, force=True)
    await client.enqueue(Task("t"), queue=queue, process_in=3600)  # it is not listed again so soon
    assert queue not in await inspector.queues()
    assert len(await drain(client, done, config, run_delayed=True)) == 1


async def test_queue_without_tasks_is_dry(redis_url: str, config: ServerConfig) -> None:
    assert await drain(redis_url, ServeMux(), config) == []


async def test_delayed_tasks_are_left_to_wait(
    client: Client, inspector: Inspector, queue: str, config: ServerConfig
) -> None:
    await client.enqueue(Task("fails"), queue=queue)
    await client.enqueue(Task("later"), queue=queue, process_in=3600)
    (attempt,) = await drain(client, fails, config)
    assert (attempt.task.type, repr(attempt.error)) == ("fails", "ValueError('no')")
    info = await inspector.queue_info(queue)
    assert (info.scheduled, info.retry) == (1, 1)


async def fails(task: Task) -> None:
    raise ValueError("no")


async def test_delayed_tasks_are_run_at_once_when_asked_for(
    client: Client, queue: str, config: ServerConfig
) -> None:
    async def third_time(task: Task) -> str:
        if task.type == "later":
            return "late"
        if current().retry_count < 2:
            raise ValueError("no")
        return "done"

    late = await client.enqueue(Task("later"), queue=queue, process_in=3600, retention=60)
    info = await client.enqueue(Task("t"), queue=queue, retention=60)
    attempts = await drain(client, third_time, config, run_delayed=True)
    tried = [attempt for attempt in attempts if attempt.context.task_id == info.id]
    assert [type(attempt.error) for attempt in tried] == [ValueError, ValueError, NoneType]
    assert await client.result(info, str) == "done"
    assert await client.result(late, str) == "late"


async def test_task_that_goes_on_failing_is_archived_in_the_end(
    client: Client, inspector: Inspector, queue: str, config: ServerConfig
) -> None:
    info = await client.enqueue(Task("t"), queue=queue, max_retry=3)
    skipped = await client.enqueue(Task("skip"), queue=queue, max_retry=3)
    mux = ServeMux()
    mux.handle("t", fails)

    @mux.handle("skip")
    async def skip(task: Task) -> None:
        raise SkipRetry("never")

    attempts = await drain(client, mux, config, run_delayed=True)
    assert len(attempts) == 5
    for task in (info, skipped):
        assert (await inspector.task_info(queue, task.id)).state == "archived"


async def test_server_works_as_it_is_configured(client: Client, queue: str) -> None:
    async def around(task: Task, call_next: Handler) -> str:
        return f"{current().state}: {await call_next(task)}"

    mux = ServeMux()
    mux.use(around)
    mux.handle("t", done)
    config = ServerConfig(queues={queue: 1}, lifespan=lambda _: nullcontext("state"))
    await client.enqueue(Task("t", headers={"a": "b"}), queue=queue, retention=60)
    (attempt,) = await drain(client, mux, config)
    assert attempt.result == "state: done"
    assert attempt.context.headers == {"a": "b"}


def done(task: Task) -> str:
    return "done"


async def test_groups_are_aggregated_at_once_when_asked_for(
    client: Client, inspector: Inspector, queue: str
) -> None:
    async def together(group: str, tasks: list[Task]) -> Task:
        return Task(f"together:{group}", [task.json() for task in tasks], queue="elsewhere")

    async def handle(task: Task) -> None:
        pass

    for n in (1, 2, 3):
        await client.enqueue(Task("t", n), queue=queue, group="g", unique=600)
    config = ServerConfig(queues={queue: 1}, group=GroupConfig(together, max_size=2))
    assert await drain(client, handle, config) == []
    assert (await inspector.queue_info(queue)).aggregating == 3
    attempts = await drain(client, handle, config, run_delayed=True)
    assert [attempt.task.type for attempt in attempts] == ["together:g"] * 2
    assert sorted(n for attempt in attempts for n in attempt.task.json()) == [1, 2, 3]
    assert (await inspector.queue_info(queue)).size == 0
    await client.enqueue(Task("t", 1), queue=queue, group="g", unique=600)  # its lock is gone


async def test_error_of_an_aggregator_is_raised(client: Client, queue: str) -> None:
    def refuse(group: str, tasks: list[Task]) -> Task:
        raise ZeroDivisionError

    await client.enqueue(Task("t"), queue=queue, group="g")
    config = ServerConfig(queues={queue: 1}, group=GroupConfig(refuse))
    with pytest.raises(ZeroDivisionError):
        await drain(client, fails, config, run_delayed=True)


async def test_what_is_left_after_the_time_is_said(
    client: Client, inspector: Inspector, queue: str
) -> None:
    async def hang(task: Task) -> None:
        await asyncio.Event().wait()

    await client.enqueue_many([Task("t"), Task("t")], queue=queue)
    config = ServerConfig(queues={queue: 1}, concurrency=1, shutdown_timeout=0)
    with pytest.raises(
        TimeoutError, match=rf"queue '{queue}': (1 pending, 1 active|2 pending, 0 active)"
    ):
        await drain(client, hang, config, timeout=0.1)
    await inspector.pause_queue(queue)
    with pytest.raises(TimeoutError, match=r"2 pending, 0 active \(paused\)"):
        await drain(client, hang, config, timeout=0)


async def test_handlers_that_have_not_ended_are_told(client: Client, config: ServerConfig) -> None:
    recorder = _Recorder(fails)
    work = _Work(client, config, recorder, run_delayed=False)
    assert await work.what_is_left() == "tasks that handlers enqueue again and again"
    recorder.begun = 1
    assert await work.what_is_left() == "1 handler has not ended"


async def test_error_of_the_server_is_raised(redis_url: str, config: ServerConfig) -> None:
    def refuse(server: object) -> nullcontext[None]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await drain(redis_url, fails, ServerConfig(lifespan=refuse))
    with pytest.raises(TypeError, match="with every task"):
        await drain(redis_url, len, config)  # type: ignore[arg-type]


async def test_redis_that_is_not_there_is_said(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    url = server.url
    server.stop()
    with pytest.raises(RedisUnavailableError):
        await drain(url, fails)
