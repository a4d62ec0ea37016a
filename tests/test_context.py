"""`asyncq.current()`: seen by everything that runs for a task, and by nothing else."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import anyio.from_thread
import anyio.to_thread
import pytest

from asyncq.context import TaskContext, current, enter
from asyncq.errors import InvalidResultError
from asyncq.mux import ServeMux
from asyncq.task import Task


async def refuse(_: bytes) -> None:
    raise AssertionError("nothing was to be written")


def context(
    task_id: str = "id", write: Callable[[bytes], Awaitable[None]] = refuse, **fields: Any
) -> TaskContext:
    known: dict[str, Any] = {
        "task_type": "t",
        "queue": "q",
        "retry_count": 1,
        "max_retry": 25,
        "deadline": None,
        "headers": {"trace": "secret"},
        "state": "secret",
    }
    return TaskContext(task_id=task_id, _write=write, **(known | fields))


def test_outside_a_handler_the_error_says_where_to_call_it() -> None:
    with pytest.raises(RuntimeError, match="call it inside a handler"):
        current()


def test_entered_and_left() -> None:
    outer, inner = context("outer"), context("inner")
    first = enter(lambda: outer)
    second = enter(lambda: inner)
    assert current() is inner
    second.var.reset(second)
    assert current() is outer
    first.var.reset(first)
    with pytest.raises(RuntimeError):
        current()


async def test_each_asyncio_task_has_its_own() -> None:
    both_inside = asyncio.Barrier(2)

    async def attempt(task_id: str) -> str:
        enter(lambda: context(task_id))
        await both_inside.wait()
        return current().task_id

    async with asyncio.TaskGroup() as group:
        attempts = [group.create_task(attempt(name)) for name in ("a", "b")]
    assert [attempt.result() for attempt in attempts] == ["a", "b"]
    with pytest.raises(RuntimeError):
        current()


async def test_children_and_threads_of_a_handler_see_it() -> None:
    async def child() -> str:
        return current().task_id

    token = enter(lambda: context("parent"))
    try:
        assert await asyncio.create_task(child()) == "parent"
        assert await asyncio.to_thread(lambda: current().task_id) == "parent"
        assert await anyio.to_thread.run_sync(lambda: current().task_id) == "parent"
    finally:
        token.var.reset(token)


async def test_a_def_handler_and_middleware_see_it() -> None:
    mux = ServeMux()
    seen: list[str] = []

    @mux.middleware
    async def note(task: Task, call_next: Any) -> object:
        seen.append(current().task_id)
        return await call_next(task)

    @mux.handle("t")
    def handler(task: Task) -> str:
        return current().task_id

    token = enter(lambda: context("mine"))
    try:
        assert await mux(Task("t")) == "mine"
    finally:
        token.var.reset(token)
    assert seen == ["mine"]


@pytest.mark.parametrize(("value", "data"), [(b"\xff", b"\xff"), ("é", b"\xc3\xa9"), ([1], b"[1]")])
async def test_a_result_is_written_by_the_rule_of_payloads(value: object, data: bytes) -> None:
    written: list[bytes] = []

    async def write(result: bytes) -> None:
        written.append(result)

    await context(write=write).write_result(value)
    await context(write=write).write_result(None)
    assert written == [data, b""]


async def test_a_result_that_cannot_be_written_is_an_error_and_nothing_is_stored() -> None:
    with pytest.raises(InvalidResultError):
        await context().write_result(object())


async def test_a_thread_writes_a_result_through_the_loop() -> None:
    written: list[bytes] = []

    async def write(result: bytes) -> None:
        written.append(result)

    def handler() -> None:
        anyio.from_thread.run(current().write_result, {"done": 0.5})

    token = enter(lambda: context(write=write))
    try:
        await anyio.to_thread.run_sync(handler)
    finally:
        token.var.reset(token)
    assert written == [b'{"done":0.5}']


def test_it_is_frozen_and_its_repr_hides_headers_and_state() -> None:
    frozen: Any = context()
    with pytest.raises(dataclasses.FrozenInstanceError):
        frozen.task_id = "other"
    assert "secret" not in repr(frozen)
    assert "refuse" not in repr(frozen)
