"""Ends of an attempt that the handler chooses: what it returns and raises."""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from serving import Working
from stored import a_lock, moment

from asyncq import Handler, RevokeTask, ServeMux, SkipRetry, Task, TaskType


def raising(error: BaseException) -> Any:
    async def handler(task: Task) -> None:
        raise error

    return handler


async def passing(task: Task) -> None:
    """Succeeds, every time."""


async def test_a_success_deletes_the_task_and_counts_it(working: Working) -> None:
    async with working(passing) as work:
        info = await work.enqueue()
        await work.gone(info)
        await work.nothing_held()
        assert await work.counters() == (1, 0)
        assert set(await work.snapshot()) == {"processed", "processed:<day>"}


async def test_a_success_with_retention_keeps_the_task_with_its_result(working: Working) -> None:
    async def handler(task: Task) -> dict[str, int]:
        return {"n": 1}

    async with working(handler) as work, moment(work.redis) as then:
        info = await work.enqueue(retention=60)
        message = await work.comes_to("completed", info)
        assert (await work.stored(info))["result"] == b'{"n":1}'
        assert message.retried == 0
        assert message.error_msg == ""
    assert message.completed_at == then.s()
    assert (await work.snapshot())["completed"] == {info.id: then.s(60)}
    assert await work.counters() == (1, 0)


async def test_a_success_frees_the_lock_of_a_unique_task(working: Working) -> None:
    async with working(passing) as work:
        for _ in range(2):
            info = await work.enqueue("t", b"p", unique=60)
            await work.gone(info)
        assert not await work.redis.exists(a_lock(work.queue))


async def test_a_failure_is_retried_after_its_delay_with_the_reason(working: Working) -> None:
    attempts: list[str] = []

    async def handler(task: Task) -> None:
        attempts.append(task.type)
        raise ValueError("no such user")

    async with working(handler, retry_delay=lambda *_: timedelta(hours=1)) as work:
        async with moment(work.redis) as then:
            info = await work.enqueue(max_retry=3, unique=60)
            message = await work.comes_to("retry", info)
            there = await work.snapshot()
        assert there["retry"] == {info.id: then.s_up(3_600_000)}
        assert message.retried == 1
        assert message.error_msg == "ValueError: no such user"
        assert message.last_failed_at == then.s()
        assert "active" not in there
        assert "lease" not in there
        assert "asyncq_claim" not in await work.stored(info)
        assert await work.redis.exists(message.unique_key)
        assert await work.counters() == (1, 1)
    assert attempts == ["t"]


async def test_a_failure_is_retried_until_it_succeeds(working: Working) -> None:
    seen: list[int] = []

    async def handler(task: Task) -> None:
        seen.append(len(seen))
        if len(seen) < 3:
            raise ValueError

    async with working(handler, retry_delay=lambda *_: 0) as work:
        await work.gone(await work.enqueue())
        assert seen == [0, 1, 2]
        assert await work.counters() == (3, 2)


async def test_the_last_failure_archives(working: Working) -> None:
    async with working(raising(ValueError("no")), retry_delay=lambda *_: 0) as work:
        async with moment(work.redis) as then:
            info = await work.enqueue(max_retry=2, unique=60)
            message = await work.comes_to("archived", info)
        assert message.retried == 2
        assert message.error_msg == "ValueError: no"
        assert (await work.snapshot())["archived"] == {info.id: then.s()}
        assert await work.redis.exists(message.unique_key)
        assert await work.counters() == (3, 3)


async def test_skip_retry_archives_at_once(working: Working) -> None:
    async with working(raising(SkipRetry("no such account"))) as work:
        message = await work.comes_to("archived", await work.enqueue())
        assert message.error_msg == "no such account"
        assert message.retried == 0
        assert await work.counters() == (1, 1)


async def test_revoke_task_drops_the_task_and_frees_its_lock(working: Working) -> None:
    async with working(raising(RevokeTask("not needed"))) as work:
        info = await work.enqueue(unique=60, retention=60)
        await work.gone(info)
        await work.enqueue(unique=60)
        await work.counted(2, 0)


@pytest.mark.parametrize(
    ("leaves", "state"),
    [
        ([SkipRetry("a"), SkipRetry("b")], "archived"),
        ([SkipRetry("a"), ExceptionGroup("in", [SkipRetry("b")])], "archived"),
        ([SkipRetry("a"), ValueError("b")], "retry"),
        ([RevokeTask("a"), RevokeTask("b")], ""),
        ([RevokeTask("a"), SkipRetry("b")], "retry"),
        ([RevokeTask("a"), ExceptionGroup("in", [ValueError("b")])], "retry"),
    ],
)
async def test_a_group_is_a_signal_only_if_all_its_leaves_are(
    working: Working, leaves: list[Exception], state: str
) -> None:
    async with working(raising(ExceptionGroup("several", leaves))) as work:
        info = await work.enqueue()
        await work.counted(1, 0 if state == "" else 1)
        assert await work.state(info) == state


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class LeavingError(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError(), "ValueError"),
        (ValueError("é\x00"), "ValueError: é\x00"),
        (UnprintableError(), "UnprintableError: (its text could not be made: RuntimeError)"),
        (LeavingError(), "LeavingError: (its text could not be made: SystemExit)"),
        (SystemExit(2), "SystemExit: 2"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (asyncio.CancelledError("by myself"), "CancelledError: by myself"),
        (TimeoutError("of a call"), "TimeoutError: of a call"),
        (StopIteration(), "RuntimeError: coroutine raised StopIteration"),
    ],
)
async def test_whatever_is_raised_is_an_ordinary_failure_and_the_worker_lives(
    working: Working, error: BaseException, text: str
) -> None:
    mux = ServeMux()
    mux.handle("bad", raising(error))
    mux.handle("good", passing)
    async with working(mux) as work:
        message = await work.comes_to("retry", await work.enqueue("bad"))
        assert message.error_msg == text
        assert message.retried == 1
        await work.gone(await work.enqueue("good"))


async def test_a_text_that_is_not_unicode_is_stored_with_what_can_be(
    working: Working, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "asyncq")  # such a text cannot pass between test processes
    async with working(raising(ValueError(b"a\xe4b".decode(errors="surrogateescape")))) as work:
        message = await work.comes_to("retry", await work.enqueue())
        assert message.error_msg == "ValueError: a\ufffdb"


async def test_what_a_def_handler_raises_is_a_failure_too(working: Working) -> None:
    def handler(task: Task) -> None:
        sys.exit("leaving")

    async with working(handler) as work:
        message = await work.comes_to("retry", await work.enqueue())
        assert message.error_msg == "SystemExit: leaving"


async def test_a_handler_that_cancels_itself_has_failed(working: Working) -> None:
    async def handler(task: Task) -> None:
        myself = asyncio.current_task()
        assert myself is not None
        myself.cancel()
        await asyncio.sleep(60)

    async with working(handler) as work:
        message = await work.comes_to("retry", await work.enqueue())
        assert message.error_msg == "CancelledError"


async def test_a_handler_that_cancels_itself_and_returns_has_succeeded(working: Working) -> None:
    async def handler(task: Task) -> None:
        myself = asyncio.current_task()
        assert myself is not None
        myself.cancel()

    async with working(handler) as work:
        await work.gone(await work.enqueue())
        await work.nothing_held()
        assert await work.counters() == (1, 0)


async def test_a_type_that_nobody_handles_fails_in_the_words_of_asynq(working: Working) -> None:
    mux = ServeMux()
    mux.handle("known", passing)
    async with working(mux) as work:
        message = await work.comes_to("retry", await work.enqueue("unknown"))
        assert message.error_msg == 'handler not found for task "unknown"'


class Email(BaseModel):
    user_id: int


@pytest.mark.parametrize(
    ("invalid_payload", "state"), [("retry", "retry"), ("archive", "archived")]
)
async def test_a_payload_that_does_not_parse(
    working: Working, invalid_payload: Any, state: str
) -> None:
    mux = ServeMux()

    @mux.handle(TaskType("email", Email), invalid_payload=invalid_payload)
    async def send(payload: Email) -> None:
        raise AssertionError("it was not an email")

    async with working(mux) as work:
        info = await work.enqueue("email", b'{"user_id": "x"}')
        message = await work.comes_to(state, info)
        assert message.error_msg.startswith("cannot be read as Email: user_id: ")
        assert message.payload == b'{"user_id": "x"}'


async def test_middleware_sees_every_task_and_every_error(working: Working) -> None:
    seen: list[str] = []
    mux = ServeMux()
    mux.handle("good", passing)
    mux.handle("bad", raising(ValueError("no")))

    @mux.use
    async def outer(task: Task, call_next: Any) -> object:
        seen.append(f"{task.type} in")
        try:
            return await call_next(task)
        except Exception as error:
            seen.append(f"{task.type}: {error}")
            raise SkipRetry(f"seen: {error}") from error

    async with working(mux, concurrency=1) as work:
        await work.gone(await work.enqueue("good"))
        message = await work.comes_to("archived", await work.enqueue("bad"))
        assert message.error_msg == "seen: no"
        await work.comes_to("archived", await work.enqueue("none"))
    assert seen == [
        "good in",
        "bad in",
        "bad: no",
        "none in",
        'none: handler not found for task "none"',
    ]


async def test_no_log_shows_a_payload_that_middleware_could_not_parse(
    working: Working, caplog: pytest.LogCaptureFixture
) -> None:
    mux = ServeMux()

    @mux.middleware
    async def parse(task: Task, call_next: Handler) -> object:
        task.parse(dict[str, int])
        return await call_next(task)

    async with working(mux) as work:
        info = await work.enqueue("t", {"user_id": "secret"}, max_retry=0)
        await work.comes_to("archived", info)
    assert "InvalidPayloadError" in caplog.text
    assert "in parse" in caplog.text  # a traceback was logged
    assert "secret" not in caplog.text


class BusyError(Exception):
    """To be tried again without counting a failure."""


async def test_log_of_a_failure_says_what_becomes_of_the_task(
    working: Working, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "asyncq")
    errors = {"later": ValueError("no"), "never": SkipRetry("no"), "busy": BusyError("no")}

    async def handler(task: Task) -> None:
        raise errors[task.type]

    async with working(
        handler,
        retry_delay=lambda *_: 3600,
        is_failure=lambda error: not isinstance(error, BusyError),
    ) as work:
        for type_, state in (("later", "retry"), ("never", "archived"), ("busy", "retry")):
            await work.comes_to(state, await work.enqueue(type_, max_retry=3))
    told = [record for record in caplog.records if " failed: " in record.getMessage()]
    assert [record.getMessage().partition(" failed: ")[2] for record in told] == [
        "ValueError: no; retry 1 of 3 in 1:00:00",
        "no; archived",
        "BusyError: no; not counted, tried again in 1:00:00",
    ]
    assert [record.levelname for record in told] == ["WARNING", "WARNING", "INFO"]
    assert [bool(record.exc_info) for record in told] == [True, True, False]
