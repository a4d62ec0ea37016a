"""The user's say in failures: retry_delay, is_failure, error_handler; and their own failures."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from serving import Work, Working, fast
from stored import moment
from waiting import until

from asyncq import RevokeTask, SkipRetry, Task
from asyncq._broker import broker, codec, keys
from asyncq._broker.message import TaskMessage


async def failing(task: Task) -> None:
    raise ValueError(task.type)


@pytest.mark.parametrize("delay", [90, 90.0, timedelta(seconds=90)], ids=repr)
async def test_retry_delay_says_when(working: Working, delay: Any) -> None:
    asked: list[tuple[int, str, Task]] = []

    def retry_delay(retried: int, error: BaseException, task: Task) -> Any:
        asked.append((retried, repr(error), task))
        return delay

    async with working(failing, retry_delay=retry_delay) as work, moment(work.redis) as then:
        info = await work.enqueue("report", b"p")
        await work.comes_to("retry", info)
    assert (await work.snapshot())["retry"] == {info.id: then.s_up(90_000)}
    ((retried, error, task),) = asked
    assert (retried, error) == (0, "ValueError('report')")
    assert (task.type, task.payload) == ("report", b"p")


def _raise(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    "answer",
    [
        lambda: _raise(RuntimeError("policy")),
        lambda: _raise(SystemExit(1)),
        lambda: _raise(asyncio.CancelledError()),
        lambda: -1,
        lambda: float("nan"),
        lambda: float("inf"),
        lambda: 1e300,
        lambda: 10**400,
        lambda: timedelta.max,
        lambda: None,
        lambda: "soon",
    ],
)
async def test_a_retry_delay_that_fails_or_makes_no_sense_gives_way_to_the_default(
    working: Working, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(failing, retry_delay=lambda *_: answer()) as work:
        async with moment(work.redis) as then:
            info = await work.enqueue()
            await work.comes_to("retry", info)
        due = (await work.snapshot())["retry"][info.id]
        assert then.s(15).low <= due <= then.s_up(45_000).high
        assert "retry_delay" in caplog.text
        assert await work.counters() == (1, 1)


async def test_what_is_no_failure_is_retried_without_being_counted(working: Working) -> None:
    asked: list[BaseException] = []

    def is_failure(error: BaseException) -> bool:
        asked.append(error)
        return False

    async with working(failing, is_failure=is_failure, retry_delay=lambda *_: 3600) as work:
        info = await work.enqueue(max_retry=1)
        message = await work.comes_to("retry", info)
        assert message.retried == 0
        assert message.error_msg == "ValueError: t"
        assert await work.counters() == (0, 0)
    assert [type(error) for error in asked] == [ValueError]


async def test_what_is_no_failure_never_exhausts_a_task(working: Working) -> None:
    seen: list[Task] = []

    async def handler(task: Task) -> None:
        seen.append(task)
        if len(seen) < 6:
            raise ValueError

    settings: dict[str, Any] = {"is_failure": lambda _: False, "retry_delay": lambda *_: 0}
    async with working(handler, **settings) as work:
        await work.gone(await work.enqueue(max_retry=1))
        assert await work.counters() == (1, 0)


@pytest.mark.parametrize("error", [RuntimeError("policy"), SystemExit(1)], ids=repr)
async def test_an_is_failure_that_fails_counts_a_failure(
    working: Working, error: BaseException
) -> None:
    async with working(failing, is_failure=lambda _: _raise(error)) as work:
        message = await work.comes_to("retry", await work.enqueue())
        assert message.retried == 1
        assert await work.counters() == (1, 1)


@pytest.mark.parametrize("form", ["plain", "async"])
async def test_the_error_handler_is_told_of_every_failed_attempt(
    working: Working, form: str
) -> None:
    told: list[tuple[str, str]] = []

    async def handler(task: Task) -> None:
        if task.type == "good":
            return
        raise {"bad": ValueError, "skip": SkipRetry, "revoke": RevokeTask}[task.type](task.type)

    def plain(task: Task, error: BaseException) -> None:
        told.append((task.type, repr(error)))

    async def asynchronous(task: Task, error: BaseException) -> None:
        await asyncio.sleep(0)
        plain(task, error)

    error_handler = plain if form == "plain" else asynchronous
    async with working(handler, error_handler=error_handler) as work:
        for task_type in ("good", "bad", "skip", "revoke"):
            await work.enqueue(task_type)
        await until(lambda: len(told) == 3)
        await work.counted(4, 2)
    assert sorted(told) == [
        ("bad", "ValueError('bad')"),
        ("revoke", "RevokeTask('revoke')"),
        ("skip", "SkipRetry('skip')"),
    ]


@pytest.mark.parametrize("error", [RuntimeError("in it"), SystemExit(1)], ids=repr)
@pytest.mark.parametrize("form", ["plain", "async"])
async def test_an_error_handler_that_fails_changes_nothing(
    working: Working, form: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def plain(task: Task, _: BaseException) -> None:
        raise error

    async def asynchronous(task: Task, _: BaseException) -> None:
        raise error

    error_handler = plain if form == "plain" else asynchronous
    async with working(failing, error_handler=error_handler) as work:
        message = await work.comes_to("retry", await work.enqueue())
        assert message.error_msg == "ValueError: t"
        await until(lambda: "the error handler failed" in caplog.text)


async def test_an_error_handler_that_hangs_is_given_up_and_holds_nothing_back(
    working: Working, caplog: pytest.LogCaptureFixture
) -> None:
    async def error_handler(task: Task, error: BaseException) -> None:
        await asyncio.Event().wait()

    async with working(failing, error_handler=error_handler, concurrency=1) as work:
        infos = [await work.enqueue() for _ in range(4)]
        for info in infos:
            await work.comes_to("retry", info)
        await work.nothing_held()
        await until(lambda: caplog.text.count("the error handler failed") == 4)


async def test_error_handlers_that_hang_do_not_pile_up(working: Working) -> None:
    release = asyncio.Event()
    hanging = 0

    async def error_handler(task: Task, error: BaseException) -> None:
        nonlocal hanging
        hanging += 1
        await release.wait()

    settings: dict[str, Any] = {"error_handler": error_handler, "concurrency": 2}
    async with working(failing, timing=fast(error_handler=60), **settings) as work:
        infos = [await work.enqueue() for _ in range(30)]
        await until(lambda: hanging >= 3)
        assert (await work.snapshot())["pending"]
        release.set()
        for info in infos:
            await work.comes_to("retry", info)


async def test_an_outcome_that_cannot_be_encoded_does_not_take_others_with_it(
    working: Working, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()

    async def handler(task: Task) -> None:
        await gate.wait()
        raise ValueError(task.type)

    def encode_task(message: TaskMessage) -> bytes:
        if message.type == "bad" and message.error_msg:
            raise RuntimeError("cannot be encoded")
        return codec.encode_task(message)

    monkeypatch.setattr(broker, "encode_task", encode_task)
    async with working(handler) as work:
        bad, *good = [await work.enqueue(kind) for kind in ("bad", "good", "good", "good")]
        for info in (bad, *good):
            await work.comes_to("active", info)
        gate.set()
        for info in good:
            await work.comes_to("retry", info)
        await until(lambda: "outcome cannot be written" in caplog.text)
        assert "the settler failed" not in caplog.text
        assert len([r for r in caplog.records if "too late" in r.getMessage()]) == 0
        # Its lease was let go: in the end it is recovered, and fails again in the same way.
        await until(lambda: _recovered(work, bad.id))


async def _recovered(work: Work, task_id: str) -> bool:
    found: Any = await work.redis.hget(keys.task(work.queue, task_id), "asyncq_recovered")
    return found is not None
