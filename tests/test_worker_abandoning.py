"""Handlers that do not end when they must, and what a shutdown does with those that run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from serving import Sleeper, Working, fast
from waiting import soon, until

from asyncq import Task, TaskTimeoutError, current
from asyncq._broker import keys


class Stubborn:
    """A handler that swallows every cancellation, until the test lets it go."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.ended = asyncio.Event()
        self.leave = asyncio.Event()

    async def __call__(self, task: Task) -> str:
        self.entered.set()
        while not self.leave.is_set():
            try:
                await self.leave.wait()
            except asyncio.CancelledError:
                continue
        self.ended.set()
        return "late"


@pytest.fixture
async def stubborn() -> AsyncGenerator[Stubborn]:
    handler = Stubborn()
    yield handler
    handler.leave.set()  # the event loop could not end while it runs


async def test_a_handler_that_swallows_its_time_out_is_abandoned(
    working: Working, stubborn: Stubborn, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[str, BaseException]] = []

    def error_handler(task: Task, error: BaseException) -> None:
        told.append((current().task_id, error))

    async with working(stubborn, concurrency=1, error_handler=error_handler) as work:
        info = await work.enqueue(timeout=1, retention=60)
        await soon(stubborn.entered.wait())
        message = await work.comes_to("retry", info)
        assert message.error_msg == "context deadline exceeded"
        assert [(task_id, type(error)) for task_id, error in told] == [(info.id, TaskTimeoutError)]
        assert "is abandoned: its time-out or deadline passed" in caplog.text
        assert f'File "{__file__}", line' in caplog.text
        assert "in __call__\n    await self.leave.wait()" in caplog.text

        stubborn.entered.clear()
        second = await work.enqueue()
        await soon(stubborn.entered.wait())  # its slot is free again
        stubborn.leave.set()
        await soon(stubborn.ended.wait())
        await work.gone(second)
        await until(lambda: "its abandoned handler has ended" in caplog.text)
        assert await work.state(info) == "retry"
        assert await work.counters() == (2, 1)


async def test_an_abandoned_attempt_does_not_free_its_slot_twice(
    working: Working, stubborn: Stubborn
) -> None:
    running, most = 0, 0

    async def handler(task: Task) -> None:
        nonlocal running, most
        if task.type == "stubborn":
            await stubborn(task)
            return
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    async with working(handler, concurrency=2) as work:
        info = await work.enqueue("stubborn", timeout=1)
        await work.comes_to("retry", info)
        stubborn.leave.set()
        await soon(stubborn.ended.wait())
        for done in [await work.enqueue() for _ in range(20)]:
            await work.gone(done)
        assert most == 2


async def test_a_handler_that_swallows_a_lost_lease_writes_nothing(
    working: Working, stubborn: Stubborn
) -> None:
    async with working(stubborn, concurrency=1) as work:
        info = await work.enqueue(retention=60)
        await soon(stubborn.entered.wait())
        await work.redis.hset(keys.task(work.queue, info.id), "asyncq_claim", "theirs")
        stubborn.entered.clear()
        second = await work.enqueue()
        await soon(stubborn.entered.wait())
        stubborn.leave.set()
        await work.gone(second)
        assert (await work.stored(info))["state"] == b"active"
        assert await work.counters() == (1, 0)
        await work.redis.delete(keys.active(work.queue), keys.lease(work.queue))


async def test_a_shutdown_waits_for_handlers_and_acknowledges_them(working: Working) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def handler(task: Task) -> str:
        entered.set()
        await release.wait()
        return "done"

    async with working(handler, shutdown_timeout=60) as work:
        info = await work.enqueue(retention=60)
        await soon(entered.wait())
        leaving = asyncio.create_task(work.server.shutdown())
        await until(lambda: work.server.state == "stopped")
        waiting = await work.enqueue()
        release.set()
        await soon(leaving)
        assert (await work.stored(info))["result"] == b"done"
        assert await work.state(info) == "completed"
        assert await work.state(waiting) == "pending"
        assert await work.counters() == (1, 0)


@pytest.mark.parametrize("then", [None, ValueError("cut short")], ids=repr)
async def test_a_shutdown_puts_what_does_not_end_back_unchanged_at_the_head(
    working: Working, then: Any
) -> None:
    told: list[BaseException] = []
    settings = {"concurrency": 3, "shutdown_timeout": 0}
    async with working(
        Sleeper(then), error_handler=lambda _, e: told.append(e), **settings
    ) as work:
        infos = [await work.enqueue(unique=60, payload=str(n)) for n in range(3)]
        for info in infos:
            await work.comes_to("active", info)
        last = await work.enqueue()
        stored = [(await work.stored(info))["msg"] for info in infos]
        await soon(work.server.shutdown())
        there = await work.snapshot()
        # Taken from the right: the oldest comes first again.
        assert there["pending"] == [last.id, infos[2].id, infos[1].id, infos[0].id]
        assert "active" not in there
        assert "lease" not in there
        assert [(await work.stored(info))["msg"] for info in infos] == stored
        assert "asyncq_claim" not in await work.stored(infos[0])
        assert await work.counters() == (0, 0)
        assert told == []


async def test_a_handler_that_returns_when_a_shutdown_cancels_it_has_succeeded(
    working: Working,
) -> None:
    sleeper = Sleeper("saved")
    async with working(sleeper, shutdown_timeout=0) as work:
        info = await work.enqueue(retention=60)
        await soon(sleeper.entered.wait())
        await soon(work.server.shutdown())
        assert (await work.stored(info))["result"] == b"saved"
        assert await work.counters() == (1, 0)


async def test_a_handler_that_swallows_a_shutdown_is_abandoned_and_requeued(
    working: Working, stubborn: Stubborn
) -> None:
    async with working(stubborn, shutdown_timeout=0) as work:
        info = await work.enqueue()
        await soon(stubborn.entered.wait())
        await soon(work.server.shutdown())
        assert work.server.state == "closed"
        assert (await work.snapshot())["pending"] == [info.id]
        assert await work.counters() == (0, 0)
        stubborn.leave.set()
        await soon(stubborn.ended.wait())


async def test_a_shutdown_waits_for_the_error_handler(working: Working) -> None:
    release = asyncio.Event()
    heard: list[str] = []

    async def handler(task: Task) -> None:
        raise ValueError

    async def error_handler(task: Task, error: BaseException) -> None:
        heard.append("begun")
        await release.wait()
        heard.append("ended")

    left: list[str] = []

    @asynccontextmanager
    async def lifespan(server: object) -> AsyncGenerator[None]:
        yield
        left.extend(heard)

    timing = fast(error_handler=60)
    settings = {"error_handler": error_handler, "lifespan": lifespan, "timing": timing}
    async with working(handler, **settings) as work:
        info = await work.enqueue()
        await work.comes_to("retry", info)  # written, whatever the error handler does
        leaving = asyncio.create_task(work.server.shutdown())
        await until(lambda: work.server.state == "stopped")
        release.set()
        await soon(leaving)
    assert left == ["begun", "ended"]


class Gate:
    """A `def` handler that tells when it runs, and ends when it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.leave = threading.Event()

    def __call__(self, task: Task) -> str:
        self.entered.set()
        self.leave.wait()
        return "late"


async def test_a_def_handler_runs_in_a_thread_with_its_context(working: Working) -> None:
    seen: list[Any] = []

    def handler(task: Task) -> str:
        seen.extend((threading.current_thread() is threading.main_thread(), current().task_id))
        return "done"

    async with working(handler) as work:
        info = await work.enqueue(retention=60)
        await work.comes_to("completed", info)
        assert seen == [False, info.id]
        assert (await work.stored(info))["result"] == b"done"


async def test_a_def_handler_past_its_time_is_abandoned_at_once_and_named(
    working: Working,
) -> None:
    gate = Gate()
    async with working(gate, timing=fast(cancel=600), sync_concurrency=1) as work:
        info = await work.enqueue("report", timeout=1)
        message = await work.comes_to("retry", info)
        assert message.error_msg == "context deadline exceeded"
        (left,) = work.server.abandoned_threads()
        assert left.what == "report"
        assert left.thread_id
        gate.leave.set()
        await until(lambda: not work.server.abandoned_threads())
        second = await work.enqueue()
        await work.gone(second)
        assert await work.state(info) == "retry"


async def test_a_shutdown_requeues_a_def_handler_that_does_not_end(working: Working) -> None:
    gate = Gate()
    async with working(gate, shutdown_timeout=0) as work:
        info = await work.enqueue()
        await asyncio.to_thread(gate.entered.wait)
        await soon(work.server.shutdown())
        assert (await work.snapshot())["pending"] == [info.id]
        assert [call.what for call in work.server.abandoned_threads()] == ["t"]
        gate.leave.set()
        await until(lambda: not work.server.abandoned_threads())


async def test_def_handlers_run_at_most_sync_concurrency_at_a_time(working: Working) -> None:
    lock = threading.Lock()
    running, most = 0, 0
    both = threading.Barrier(2)

    def handler(task: Task) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait()  # two do run at a time
        with lock:
            running -= 1

    async with working(handler, sync_concurrency=2) as work:
        for info in [await work.enqueue() for _ in range(10)]:
            await work.gone(info)
    assert most == 2


async def test_a_task_that_times_out_while_it_waits_for_a_thread_is_never_called(
    working: Working,
) -> None:
    gate = Gate()
    called: list[str] = []

    def handler(task: Task) -> None:
        called.append(task.type)
        gate(task)

    async with working(handler, sync_concurrency=1) as work:
        await work.enqueue("first")
        await asyncio.to_thread(gate.entered.wait)
        info = await work.enqueue("second", timeout=1)
        await work.comes_to("retry", info)
        gate.leave.set()
    assert called == ["first"]
