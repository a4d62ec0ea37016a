"""The janitor: completed tasks past their retention, and the limits of the archive."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis.asyncio import Redis
from serving import Working
from stored import a_message
from waiting import until

from asyncq import Task
from asyncq._broker import keys
from asyncq._broker.codec import encode_task


async def passing(task: Task) -> None:
    """Succeeds, every time."""


async def put(redis: Redis, queue: str, state: str, task_id: str, score: float) -> None:
    fields: dict[Any, Any] = {"msg": encode_task(a_message(queue, task_id)), "state": state}
    await redis.hset(keys.task(queue, task_id), mapping=fields)
    await redis.zadd(f"asynq:{{{queue}}}:{state}", {task_id: score})


async def left(redis: Redis, queue: str, state: str) -> list[str]:
    ids: list[Any] = await redis.zrange(f"asynq:{{{queue}}}:{state}", 0, -1)
    return [task_id.decode() for task_id in ids]


async def test_completed_tasks_are_deleted_after_their_retention(
    working: Working, redis: Redis, queue: str
) -> None:
    now = time.time()
    for n in range(7):
        await put(redis, queue, "completed", f"over-{n}", now - 1)
    await put(redis, queue, "completed", "kept", now + 60)
    async with working(passing, janitor_interval=0.05, janitor_batch_size=3):
        await until(lambda: _is_left(redis, queue, "completed", ["kept"]))
    assert await redis.exists(*[keys.task(queue, f"over-{n}") for n in range(7)]) == 0
    assert await redis.exists(keys.task(queue, "kept")) == 1


async def _is_left(redis: Redis, queue: str, state: str, wanted: list[str]) -> bool:
    return await left(redis, queue, state) == wanted


async def test_the_archive_keeps_its_newest_and_says_what_it_deleted(
    working: Working, redis: Redis, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    now = time.time()
    for n in range(3):
        await put(redis, queue, "archived", f"old-{n}", now - 7200)
    for n in range(8):
        await put(redis, queue, "archived", f"new-{n}", now - 100 + n)
    settings: dict[str, Any] = {"archive_max_age": 3600, "archive_max_size": 5}
    async with working(passing, janitor_interval=0.05, janitor_batch_size=2, **settings):
        await until(lambda: _is_left(redis, queue, "archived", [f"new-{n}" for n in range(3, 8)]))
        await until(lambda: "deleted archived tasks" in caplog.text)
    assert await redis.exists(*[keys.task(queue, f"old-{n}") for n in range(3)]) == 0
    assert await redis.exists(*[keys.task(queue, f"new-{n}") for n in range(3)]) == 0
    assert (
        f"deleted archived tasks of queue '{queue}': 3 older than 3600 s (archive_max_age),"
        " 3 beyond the newest 5 (archive_max_size)"
    ) in caplog.text


async def test_an_archive_within_its_limits_is_left_alone(
    working: Working, redis: Redis, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    now = time.time()
    for n in range(3):
        await put(redis, queue, "archived", f"new-{n}", now - 100 + n)
    await put(redis, queue, "completed", "over", now - 1)
    async with working(passing, janitor_interval=0.05, archive_max_size=3):
        await until(lambda: _is_left(redis, queue, "completed", []))
    assert len(await left(redis, queue, "archived")) == 3
    assert "deleted archived tasks" not in caplog.text


async def test_a_queue_that_cannot_be_cleaned_does_not_hold_up_another(
    working: Working, redis: Redis, queue: str
) -> None:
    bad = f"{queue}-bad"
    raw: Any = redis
    await raw.set(keys.completed(bad), "no sorted set")
    now = time.time()
    await put(redis, bad, "archived", "old", now - 7200)
    await put(redis, queue, "completed", "over", now - 1)
    queues = {bad: 1, queue: 1}
    async with working(passing, queues=queues, janitor_interval=0.05, archive_max_age=3600):
        await until(lambda: _is_left(redis, queue, "completed", []))
        await until(lambda: _is_left(redis, bad, "archived", []))
