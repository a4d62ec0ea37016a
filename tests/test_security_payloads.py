"""Payloads stand in no log, and have a limit."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import time
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from commands import Command
from pydantic import BaseModel
from redis.asyncio import Redis
from serving import Working
from waiting import soon, until

from asyncq import (
    Client,
    EnqueueManyError,
    GroupConfig,
    InvalidPayloadError,
    PayloadTooLargeError,
    RevokeTask,
    ServeMux,
    SkipRetry,
    SyncClient,
    Task,
    TaskInfo,
    TaskType,
    current,
)
from asyncq._broker import keys

SECRET = "4242-4242-4242-4242"


class Card(BaseModel):
    number: str
    month: int


def test_neither_task_nor_info_nor_error_shows_a_payload() -> None:
    card = TaskType("card", Card)
    task = card(number=SECRET, month=1)
    shown = [repr(task), str(task), repr(card)]
    with pytest.raises(InvalidPayloadError) as raised:
        Task("card", json.dumps({"number": [SECRET], "month": SECRET})).parse(Card)
    shown.append("".join(traceback.format_exception(raised.value)))
    assert not [text for text in shown if SECRET in text]


# Every way in which an attempt can end.
ways = ServeMux()


@ways.handle("card")
async def typed(card: Card) -> None: ...


@ways.handle("fails")
async def fails(task: Task) -> None:
    number = task.json()["number"]
    raise LookupError(f"no account for a number of {len(number)} digits")


@ways.handle("skips")
async def skips(task: Task) -> None:
    raise SkipRetry


@ways.handle("drops")
async def drops(task: Task) -> None:
    raise RevokeTask


@ways.handle("returns")
async def returns(task: Task) -> bytes:
    return task.payload


@ways.handle("unstorable")
async def returns_what_cannot_be_stored(task: Task) -> object:
    return {task.payload: object()}


@ways.handle("hangs")
async def hangs(task: Task) -> None:
    await asyncio.Event().wait()


@ways.handle("swallows")
async def swallows_its_time_out(task: Task) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.Event().wait()


@ways.handle("thread")
def blocks_a_thread(task: Task) -> None:
    time.sleep(2)


@ways.handle("blocks")
async def blocks_the_loop(task: Task) -> None:
    time.sleep(2)  # noqa: ASYNC251 - the guard shall speak of it


@ways.handle("writes")
async def fails_after_its_result(task: Task) -> None:
    await current().write_result(task.payload)
    raise ValueError("after its result")


async def fails_to_aggregate(group: str, tasks: list[Task]) -> Task:
    raise ValueError(f"{len(tasks)} parts")


async def test_no_log_shows_a_payload_or_result(
    working: Working, redis: Redis, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At the level of debugging, of all loggers."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "asyncq")  # and set back afterwards: the server sets it, too
    payload = {"number": SECRET, "month": 1}
    kinds = "fails skips drops returns unstorable hangs swallows thread writes nobody".split()
    config: dict[str, Any] = {
        "group": GroupConfig(aggregator=fails_to_aggregate, grace_period=1),
        "retry_delay": lambda *_: 3600,
        "log_level": "debug",
        "shutdown_timeout": 1,
    }
    async with working(ways, **config) as work:
        await work.enqueue("part", payload, group="g")
        await work.enqueue("card", {"number": SECRET, "month": SECRET})
        for kind in kinds:
            await work.enqueue(kind, payload, timeout=1)
        await enqueue_unreadable(redis, await work.enqueue("t", payload, process_in=3600))
        for said in (
            "the aggregator failed",
            "no account for a number",
            "cannot be read as",
            "cannot be stored",
            "after its result",
            "handler not found",
            "abandoned",
        ):
            await says(caplog, said)
        await work.enqueue("blocks", payload)
        await says(caplog, "the event loop runs again")
        await until(lambda: redis.zscore(keys.archived(queue), "unreadable"))
        last = await work.enqueue("hangs", payload)
        await work.comes_to("active", last)
    assert await redis.hget(keys.task(queue, last.id), "state") == b"pending"
    assert SECRET not in caplog.text
    assert not [record for record in caplog.records if SECRET in repr(record.__dict__)]


async def says(caplog: pytest.LogCaptureFixture, words: str) -> None:
    await until(lambda: words in caplog.text, lambda: f"{words}\n{caplog.text}")


async def enqueue_unreadable(redis: Redis, like: TaskInfo) -> None:
    """A task whose message is cut short, the payload in what is left of it."""
    message = await redis.hget(keys.task(like.queue, like.id), "msg")
    assert isinstance(message, bytes)
    assert SECRET.encode() in message[:-1]
    fields: dict[Any, Any] = {"msg": message[:-1], "state": "pending"}
    await redis.hset(keys.task(like.queue, "unreadable"), mapping=fields)
    await redis.lpush(keys.pending(like.queue), "unreadable")


async def test_no_worker_process_prints_a_payload(
    redis_url: str, queue: str, redis: Redis, tmp_path: Path
) -> None:
    (tmp_path / "tasks.py").write_text(
        "from asyncq import ServeMux, Task\n"
        "mux = ServeMux()\n"
        "@mux.handle('fails')\n"
        "async def fails(task: Task) -> None:\n"
        "    payload = task.json()\n"
        "    raise LookupError('no such row')\n"
    )
    async with Client(redis_url) as client:
        for kind in ("fails", "nobody"):
            await client.enqueue(Task(kind, {"n": SECRET}), queue=queue, max_retry=0)
    flags = ("--redis", redis_url, "--queue", queue, "--log-level", "debug")
    with Command("worker", "tasks:mux", *flags, cwd=tmp_path) as worker:
        await until(lambda: is_archived(redis, queue), lambda: worker.output)
        worker.send(signal.SIGTERM)
        assert worker.exit_status() == 0
        assert "no such row" in worker.output
        assert SECRET not in worker.output


async def is_archived(redis: Redis, queue: str) -> bool:
    return await redis.zcard(keys.archived(queue)) == 2


# ---- large payloads ----


@pytest.fixture
async def small(redis_url: str) -> AsyncIterator[Client]:
    async with Client(redis_url, max_payload_size=1000) as client:
        yield client


async def test_payload_too_large_is_refused_before_it_is_sent(small: Client, queue: str) -> None:
    said: list[Any] = []
    small._connection.on_call = lambda *call: said.append(call)
    with pytest.raises(PayloadTooLargeError) as raised:
        await small.enqueue(Task("image:resize", b"x" * 1001, queue=queue))
    assert (raised.value.task_type, raised.value.size, raised.value.limit) == (
        "image:resize",
        1001,
        1000,
    )
    for part in ("'image:resize'", "1001 bytes", "takes 1000", "object store", "max_payload_size="):
        assert part in str(raised.value)
    assert said == []
    await small.enqueue(Task("image:resize", b"x" * 1000, queue=queue))


async def test_payload_too_large_fails_alone_among_many(small: Client, queue: str) -> None:
    tasks = [Task("t", b"x" * size, queue=queue) for size in (1, 2000, 1000)]
    with pytest.raises(EnqueueManyError) as raised:
        await small.enqueue_many(tasks)
    kinds = [type(result) for result in raised.value.results]
    assert kinds == [TaskInfo, PayloadTooLargeError, TaskInfo]


async def test_sync_client_refuses_large_payloads_too(redis_url: str, queue: str) -> None:
    def enqueue() -> None:
        with SyncClient(redis_url, max_payload_size=10) as client:
            client.enqueue(Task("t", b"x" * 10, queue=queue))
            with pytest.raises(PayloadTooLargeError):
                client.enqueue(Task("t", b"x" * 11, queue=queue))

    await soon(asyncio.to_thread(enqueue))


async def test_limit_is_64_mib_unless_set(client: Client, queue: str) -> None:
    with pytest.raises(PayloadTooLargeError, match="67108865 bytes"):
        await client.enqueue(Task("t", b"x" * ((64 << 20) + 1), queue=queue))


@pytest.mark.parametrize(
    ("size", "kind"),
    [(0, ValueError), (512 << 20, ValueError), (True, TypeError), ("1", TypeError)],
)
def test_limit_that_cannot_be_meant_is_refused(size: Any, kind: type[Exception]) -> None:
    for make in (Client, SyncClient):
        with pytest.raises(kind, match="max_payload_size= takes"):
            make("redis://h", max_payload_size=size)
