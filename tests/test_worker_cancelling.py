"""Ends of an attempt that come from outside: time-out, deadline, cancel, and what stands first."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from serving import Sleeper, Working, fast
from waiting import soon, until

from asyncq import LeaseExpiredError, SkipRetry, Task, TaskCancelledError, TaskTimeoutError, current
from asyncq._broker import keys
from asyncq._broker.message import TaskMessage

TIMED_OUT = "context deadline exceeded"
CANCELLED = "context canceled"


# Three ways a handler may take its cancellation; none changes what the attempt is.
@pytest.mark.parametrize("then", [None, "done", ValueError("mine"), SkipRetry("mine")], ids=repr)
async def test_a_time_out_is_a_failure_whatever_the_handler_makes_of_it(
    working: Working, then: Any
) -> None:
    sleeper = Sleeper(then)
    async with working(sleeper) as work:
        message = await work.comes_to("retry", await work.enqueue(timeout=1, retention=60))
        assert message.error_msg == TIMED_OUT
        assert message.retried == 1
        assert sleeper.cancelled.is_set()
        assert await work.counters() == (1, 1)


@pytest.mark.parametrize("then", [None, "done", ValueError("mine"), SkipRetry("mine")], ids=repr)
async def test_a_cancel_is_a_failure_whatever_the_handler_makes_of_it(
    working: Working, then: Any
) -> None:
    sleeper = Sleeper(then)
    async with working(sleeper) as work:
        info = await work.enqueue()
        await soon(sleeper.entered.wait())
        await work.cancel(info)
        message = await work.comes_to("retry", info)
        assert message.error_msg == CANCELLED
        assert message.retried == 1


async def test_a_time_out_that_finds_no_retry_left_archives(working: Working) -> None:
    async with working(Sleeper()) as work:
        info = await work.enqueue(timeout=1, max_retry=0)
        assert (await work.comes_to("archived", info)).error_msg == TIMED_OUT


async def test_a_deadline_ends_an_attempt_like_a_time_out(working: Working) -> None:
    async with working(Sleeper()) as work:
        info = await work.enqueue(deadline=datetime.now(UTC) + timedelta(seconds=2))
        assert (await work.comes_to("retry", info)).error_msg == TIMED_OUT


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({"timeout": 100}, 100),
        ({"deadline": 50}, 50),
        ({"timeout": 100, "deadline": 50}, 50),
        ({"timeout": 20, "deadline": 50}, 20),
        ({}, 1800),
    ],
)
async def test_the_earlier_of_time_out_and_deadline_counts(
    working: Working, options: dict[str, Any], seconds: int
) -> None:
    seen: list[datetime | None] = []

    async def handler(task: Task) -> None:
        seen.append(current().deadline)

    async with working(handler) as work:
        start = datetime.now(UTC)
        if "deadline" in options:
            options = options | {"deadline": start + timedelta(seconds=options["deadline"])}
        await work.gone(await work.enqueue(**options))
        (deadline,) = seen
        assert deadline is not None
        # A deadline is kept in whole seconds, cut.
        assert start + timedelta(seconds=seconds - 1) < deadline
        assert deadline <= datetime.now(UTC) + timedelta(seconds=seconds)


async def test_a_deadline_that_has_passed_fails_without_calling_the_handler(
    working: Working,
) -> None:
    sleeper = Sleeper()
    async with working(sleeper) as work:
        info = await work.enqueue(deadline=datetime.now(UTC) - timedelta(hours=1))
        assert (await work.comes_to("retry", info)).error_msg == TIMED_OUT
        assert not sleeper.entered.is_set()


@pytest.mark.parametrize(
    "limits", [{"timeout": 2**62}, {"deadline": 2**62}, {"timeout": 0, "deadline": 0}], ids=repr
)
async def test_a_limit_that_only_a_foreign_producer_can_set_does_not_stop_the_worker(
    working: Working, limits: dict[str, Any]
) -> None:
    sleeper = Sleeper()
    async with working(sleeper) as work:
        info = await work.enqueue_message(TaskMessage("t", "far", work.queue, **limits))
        # Presence names deadlines, too: the server must be able to go on telling.
        identity = work.server._identity
        workers = keys.workers(identity.host, identity.pid, identity.id)
        await until(lambda: work.redis.hexists(workers, "far"))
        await work.cancel(info)
        assert (await work.comes_to("archived", info)).error_msg == CANCELLED


@pytest.mark.parametrize("limits", [{"timeout": -1}, {"deadline": -(2**62)}], ids=repr)
async def test_a_negative_limit_has_passed(working: Working, limits: dict[str, Any]) -> None:
    async with working(Sleeper()) as work:
        message = TaskMessage("t", "past", work.queue, retry=1, **limits)
        info = await work.enqueue_message(message)
        assert (await work.comes_to("retry", info)).error_msg == TIMED_OUT


async def test_a_cancel_that_names_no_task_here_is_ignored(working: Working) -> None:
    release = asyncio.Event()

    async def handler(task: Task) -> None:
        await release.wait()

    async with working(handler) as work:
        info = await work.enqueue()
        await work.comes_to("active", info)
        for data in (b"\xff\xfe", b"", b"nobody"):
            await work.redis.publish(keys.CANCEL_CHANNEL, data)
        other = await work.enqueue()
        await work.comes_to("active", other)
        await work.cancel(other)
        assert (await work.comes_to("retry", other)).error_msg == CANCELLED
        release.set()
        await work.gone(info)


async def test_a_cancelled_task_of_the_same_id_in_two_queues_is_cancelled_in_both(
    working: Working, queue: str
) -> None:
    both = {queue: 1, f"{queue}-2": 1}
    async with working(Sleeper(), queues=both) as work:
        infos = [await work.enqueue(task_id="same", queue=name) for name in both]
        for info in infos:
            await work.comes_to("active", info)
        await work.cancel(infos[0])
        for info in infos:
            assert (await work.comes_to("retry", info)).error_msg == CANCELLED


class Lingerer:
    """A handler whose clean-up takes as long as the test wants."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.leave = asyncio.Event()

    async def __call__(self, task: Task) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
            await self.leave.wait()


async def test_the_first_reason_stands_a_cancel_before_a_shutdown(working: Working) -> None:
    handler = Lingerer()
    async with working(handler, shutdown_timeout=0, timing=fast(cancel=30)) as work:
        info = await work.enqueue()
        await work.comes_to("active", info)
        await work.cancel(info)
        await soon(handler.cancelled.wait())
        leaving = asyncio.create_task(work.server.shutdown())
        await until(lambda: work.server.state == "stopped")
        handler.leave.set()
        await soon(leaving)
        assert (await work.comes_to("retry", info)).error_msg == CANCELLED


async def test_the_first_reason_stands_a_shutdown_before_a_cancel(working: Working) -> None:
    handler = Lingerer()
    async with working(handler, shutdown_timeout=0, timing=fast(cancel=30)) as work:
        info = await work.enqueue()
        await work.comes_to("active", info)
        leaving = asyncio.create_task(work.server.shutdown())
        await soon(handler.cancelled.wait())
        await work.cancel(info)
        handler.leave.set()
        await soon(leaving)
        assert (await work.comes_to("pending", info)).error_msg == ""


@pytest.mark.parametrize(
    ("options", "kind"), [({"timeout": 1}, TaskTimeoutError), ({}, TaskCancelledError)]
)
async def test_the_error_handler_learns_why_an_attempt_was_ended(
    working: Working, options: dict[str, Any], kind: type[Exception]
) -> None:
    told: list[BaseException] = []
    async with working(Sleeper("swallowed"), error_handler=lambda _, e: told.append(e)) as work:
        info = await work.enqueue(**options)
        if not options:
            await work.comes_to("active", info)
            await work.cancel(info)
        await work.comes_to("retry", info)
    assert [type(error) for error in told] == [kind]


async def test_a_task_taken_over_by_another_is_cancelled_and_nothing_is_written(
    working: Working,
) -> None:
    told: list[BaseException] = []
    sleeper = Sleeper("a result")
    settings: dict[str, Any] = {"concurrency": 1, "shutdown_timeout": 0}
    async with working(sleeper, error_handler=lambda _, e: told.append(e), **settings) as work:
        info = await work.enqueue(retention=60)
        await soon(sleeper.entered.wait())
        # What recovery and another worker's dequeue leave: the task is active, under their claim.
        await work.redis.hset(keys.task(work.queue, info.id), "asyncq_claim", "theirs")
        before = await work.stored(info)
        await soon(sleeper.cancelled.wait())
        await until(lambda: told)
        assert [type(error) for error in told] == [LeaseExpiredError]
        sleeper.entered.clear()
        await work.enqueue()
        await soon(sleeper.entered.wait())  # its slot is free
        assert await work.stored(info) == before
        assert await work.counters() == (0, 0)
        await work.redis.delete(keys.active(work.queue), keys.lease(work.queue))


async def test_a_handler_that_ends_after_its_task_was_taken_over_writes_nothing(
    working: Working, caplog: pytest.LogCaptureFixture
) -> None:
    release, entered = asyncio.Event(), asyncio.Event()

    async def handler(task: Task) -> None:
        entered.set()
        await release.wait()

    async with working(handler, timing=fast(heartbeat=60)) as work:
        info = await work.enqueue()
        await soon(entered.wait())
        await work.redis.hset(keys.task(work.queue, info.id), "asyncq_claim", "theirs")
        before = await work.stored(info)
        release.set()
        await until(lambda: "came too late" in caplog.text)
        assert await work.stored(info) == before
        assert await work.counters() == (0, 0)
        await work.redis.delete(keys.active(work.queue), keys.lease(work.queue))
