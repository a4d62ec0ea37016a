"""Results, and what a handler may know of its attempt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import anyio.from_thread
import pytest
from pydantic import BaseModel
from serving import Sleeper, Working
from waiting import soon, until

from asyncq import InvalidResultError, LeaseExpiredError, Task, TaskContext, current
from asyncq._broker import keys


class Report(BaseModel):
    pages: int


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (b"\xff\x00", b"\xff\x00"),
        ("é", "é".encode()),
        (None, None),
        ("", None),
        (Report(pages=3), b'{"pages":3}'),
        ([1, None], b"[1,null]"),
    ],
    ids=repr,
)
async def test_a_returned_value_follows_the_rule_of_payloads(
    working: Working, value: Any, data: bytes | None
) -> None:
    async def handler(task: Task) -> Any:
        return value

    async with working(handler) as work:
        info = await work.enqueue(retention=60)
        await work.comes_to("completed", info)
        assert (await work.stored(info)).get("result") == data


@pytest.mark.parametrize("value", [object(), "a\udce4b"], ids=["object", "surrogate"])
@pytest.mark.parametrize("retention", [0, 60])
async def test_a_result_that_cannot_be_stored_archives_without_retry(
    working: Working, value: Any, retention: int
) -> None:
    told: list[BaseException] = []

    async def handler(task: Task) -> Any:
        return value

    async with working(handler, error_handler=lambda _, error: told.append(error)) as work:
        info = await work.enqueue(retention=retention, max_retry=5)
        message = await work.comes_to("archived", info)
        assert "cannot be stored" in message.error_msg
        assert message.retried == 0
        assert await work.counters() == (1, 1)
    assert [type(error) for error in told] == [InvalidResultError]


async def test_results_without_retention_are_dropped_with_one_warning_per_type(
    working: Working, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(task: Task) -> str | None:
        return None if task.type == "quiet" else "lost"

    async with working(handler) as work:
        for task_type in ("a", "a", "b", "quiet"):
            await work.gone(await work.enqueue(task_type))
        await work.comes_to("completed", await work.enqueue("kept", retention=60))
    warned = [r.getMessage() for r in caplog.records if "result that is not kept" in r.message]
    assert [text.split("'")[1] for text in warned] == ["a", "b"]


async def test_a_result_can_be_written_while_the_task_runs(working: Working) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def handler(task: Task) -> None:
        await current().write_result({"percent": 50})
        entered.set()
        await release.wait()

    async with working(handler) as work:
        info = await work.enqueue(retention=60)
        await soon(entered.wait())
        assert (await work.stored(info))["result"] == b'{"percent":50}'
        release.set()
        await work.comes_to("completed", info)
        assert (await work.stored(info))["result"] == b'{"percent":50}'  # None replaces nothing


async def test_a_written_result_is_replaced_by_a_returned_one(working: Working) -> None:
    async def handler(task: Task) -> str:
        await current().write_result("half")
        return "whole"

    async with working(handler) as work:
        info = await work.enqueue(retention=60)
        await work.comes_to("completed", info)
        assert (await work.stored(info))["result"] == b"whole"


async def test_a_written_result_outlives_a_failed_attempt(working: Working) -> None:
    async def handler(task: Task) -> None:
        await current().write_result("half")
        raise ValueError

    async with working(handler) as work:
        info = await work.enqueue()
        await work.comes_to("retry", info)
        assert (await work.stored(info))["result"] == b"half"


async def test_a_def_handler_writes_results_through_anyio(working: Working) -> None:
    def handler(task: Task) -> None:
        anyio.from_thread.run(current().write_result, "from a thread")

    async with working(handler) as work:
        info = await work.enqueue(retention=60)
        await work.comes_to("completed", info)
        assert (await work.stored(info))["result"] == b"from a thread"


async def test_a_result_that_cannot_be_written_is_an_error_in_the_handler(
    working: Working,
) -> None:
    async def handler(task: Task) -> None:
        await current().write_result(object())

    async with working(handler) as work:
        message = await work.comes_to("retry", await work.enqueue())
        assert "cannot be stored" in message.error_msg


async def test_a_late_result_write_does_not_revive_a_deleted_task(working: Working) -> None:
    contexts: list[TaskContext] = []

    async def handler(task: Task) -> None:
        contexts.append(current())

    async with working(handler) as work:
        info = await work.enqueue()
        await work.gone(info)
        with pytest.raises(LeaseExpiredError):
            await contexts[0].write_result("late")
        assert await work.stored(info) == {}


async def test_a_result_write_after_a_lost_lease_is_refused(working: Working) -> None:
    refused: list[BaseException] = []
    entered, taken = asyncio.Event(), asyncio.Event()

    async def handler(task: Task) -> None:
        entered.set()
        await taken.wait()
        try:
            await current().write_result("mine")
        except LeaseExpiredError as error:
            refused.append(error)

    async with working(handler) as work:
        info = await work.enqueue()
        await soon(entered.wait())
        await work.redis.hset(keys.task(work.queue, info.id), "asyncq_claim", "theirs")
        taken.set()
        await until(lambda: refused)
        assert "result" not in await work.stored(info)
        await work.redis.delete(keys.active(work.queue), keys.lease(work.queue))


async def test_the_context_describes_the_attempt(working: Working) -> None:
    seen: list[TaskContext] = []

    async def handler(task: Task) -> None:
        seen.append(current())
        if len(seen) == 1:
            raise ValueError

    @asynccontextmanager
    async def lifespan(server: object) -> AsyncGenerator[str]:
        yield "pool"

    settings: dict[str, Any] = {"retry_delay": lambda *_: 0, "lifespan": lifespan}
    async with working(handler, **settings) as work:
        task = Task("report", b"x", headers={"trace": "7"})
        info = await work.enqueue(task, max_retry=4, timeout=100)
        await work.gone(info)
    first, second = seen
    assert (first.task_id, first.task_type, first.queue) == (info.id, "report", work.queue)
    assert (first.retry_count, second.retry_count) == (0, 1)
    assert first.max_retry == 4
    assert first.headers == {"trace": "7"}
    assert first.state == "pool"
    assert isinstance(first.deadline, datetime)
    assert first.deadline.tzinfo is not None


async def test_a_handler_cannot_change_what_a_retry_will_see(working: Working) -> None:
    async def handler(task: Task) -> None:
        headers: Any = task.headers
        headers["added"] = object()

    async with working(handler) as work:
        info = await work.enqueue(Task("t", headers={"trace": "7"}))
        message = await work.comes_to("retry", info)
        assert message.error_msg.startswith("TypeError")
        assert message.headers == {"trace": "7"}


async def test_handlers_do_not_share_context_variables(working: Working) -> None:
    seen: list[tuple[str, str]] = []
    gate = asyncio.Event()

    async def handler(task: Task) -> None:
        before = current().task_id
        await gate.wait()
        seen.append((before, current().task_id))

    async with working(handler) as work:
        infos = [await work.enqueue() for _ in range(3)]
        for info in infos:
            await work.comes_to("active", info)
        gate.set()
        for info in infos:
            await work.gone(info)
    assert sorted(seen) == sorted((info.id, info.id) for info in infos)


async def test_nobody_outside_a_handler_has_a_context(working: Working) -> None:
    async with working(Sleeper()):
        with pytest.raises(RuntimeError, match="no task is handled"):
            current()
