"""Handlers that misbehave, in a real worker process, which lives and serves others afterwards."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
from redis.asyncio import Redis
from standing import at_rest, nothing_left, standing, until
from worker_processes import Worker, Workers

from asyncq import Client, Task, TaskInfo
from asyncq._broker import keys
from asyncq._broker.codec import decode_task
from asyncq._broker.message import TaskMessage

SLOTS = 2
TIMED_OUT = "context deadline exceeded"
SHORT = {"lease": 3, "heartbeat": 1, "claimed_grace": 1, "recover": 0.5, "cancel": 0.5}


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    async with Client(redis_url) as client:
        yield client


@pytest.fixture
async def workers(redis_url: str, queue: str, tmp_path: Path) -> AsyncIterator[Workers]:
    config = {"queues": {queue: 1}, "concurrency": SLOTS, "shutdown_timeout": 1}
    timing = SHORT | {"blocked_after": 1}
    async with Workers(redis_url, tmp_path, config=config, timing=timing) as workers:
        yield workers


async def message_of(redis: Redis, info: TaskInfo) -> TaskMessage:
    stored = await redis.hget(keys.task(info.queue, info.id), "msg")
    assert isinstance(stored, bytes)
    return decode_task(stored)


async def serves_another(client: Client, workers: Workers, worker: Worker, queue: str) -> None:
    """The same process takes a task into every slot, and leaves as it should."""
    done = workers.count("done")
    await client.enqueue_many([Task("quick", queue=queue)] * SLOTS * 5)
    await until(lambda: workers.count("done") == done + SLOTS * 5, lambda: worker.log)
    assert worker.is_running
    worker.send_signal(signal.SIGTERM)
    assert await worker.wait() == 0, worker.log


@pytest.mark.parametrize(
    ("kind", "place", "text"),
    [
        ("hangs", "retry", TIMED_OUT),
        ("swallows", "retry", TIMED_OUT),
        ("thread", "retry", TIMED_OUT),
        ("not-utf8", "retry", "ValueError: caf"),
        ("exits", "retry", "SystemExit: 3"),
        ("unserialisable", "archived", "a value of type"),
    ],
)
async def test_odd_handler_fails_and_the_worker_serves_on(
    kind: str, place: str, text: str, client: Client, redis: Redis, queue: str, workers: Workers
) -> None:
    # As many as there are slots: one that is not freed would be missed.
    tasks = [Task(kind, queue=queue, timeout=1)] * SLOTS
    infos = await client.enqueue_many(tasks)
    worker = await workers.start()

    async def all_failed() -> bool:
        return await standing(redis, queue) == nothing_left(
            processed=SLOTS, failed=SLOTS, **{place: SLOTS}
        )

    await until(all_failed, lambda: worker.log)
    for info in infos:
        message = await message_of(redis, info)
        assert message.error_msg.startswith(text)
        assert message.retried == (place == "retry")
    await serves_another(client, workers, worker, queue)


@pytest.mark.parametrize(
    ("timing", "seconds"),
    [
        pytest.param(SHORT | {"blocked_after": 1}, 8, id="longer than a short lease"),
        pytest.param({}, 120, id="two minutes", marks=pytest.mark.campaign),
    ],
)
async def test_handler_that_blocks_the_loop_keeps_its_task_and_those_beside_it(
    timing: Mapping[str, float],
    seconds: int,
    client: Client,
    redis: Redis,
    redis_url: str,
    queue: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    config = {"queues": {queue: 1}, "concurrency": SLOTS}
    beside = await client.enqueue(Task("gated", queue=queue))
    async with Workers(redis_url, tmp_path, config=config, timing=timing) as workers:
        worker = await workers.start()
        await until(lambda: workers.count("start") == 1)
        blocking = await client.enqueue(Task("blocks", str(seconds), queue=queue))
        await until(lambda: workers.count("start") == 2)
        await workers.start()  # it would recover them
        await worker.says("the event loop runs again", longest_s=seconds + 120)
        workers.open_gate()
        after = await at_rest(redis, queue)
        assert workers.times("start") == {beside.id: 1, blocking.id: 1}
        assert workers.times("done") == {beside.id: 1, blocking.id: 1}
        assert f"by task 'blocks' {blocking.id}" in worker.log
        assert "worker_targets.py" in worker.log
    assert after == nothing_left(processed=2)
    record_property(
        "summary",
        f"event loop blocked for {seconds} s: 2 tasks held, 0 recovered by a second worker",
    )


async def test_worker_blocked_past_all_deadlines_leaves_and_its_tasks_are_recovered(
    client: Client, redis: Redis, queue: str, workers: Workers
) -> None:
    info = await client.enqueue(Task("blocks", "3600", queue=queue, timeout=1, max_retry=0))
    worker = await workers.start()
    assert await worker.wait() == 70, worker.log
    assert f"by task 'blocks' {info.id}" in worker.log
    another = await workers.start()
    await until(lambda: _is_archived(redis, queue), lambda: another.log)
    assert (await message_of(redis, info)).error_msg == "asynq: task lease expired"
    await serves_another(client, workers, another, queue)


async def _is_archived(redis: Redis, queue: str) -> bool:
    return await standing(redis, queue) == nothing_left(processed=1, failed=1, archived=1)
