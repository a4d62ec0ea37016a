"""Single tasks and pages of them: what is shown, and what a person may do with them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from placed import NOW_S, put
from pydantic import BaseModel
from redis.asyncio import Redis
from standing import pending_ids
from stored import a_lock, a_message, snapshot

from asyncq import (
    Client,
    Inspector,
    InvalidResultError,
    QueueNotFoundError,
    Task,
    TaskFilter,
    TaskInfo,
    TaskNotFoundError,
    TaskState,
    TaskStateError,
)
from asyncq._broker import keys
from asyncq._broker.codec import decode_task, encode_task

pytestmark = pytest.mark.every_redis

STATES = [state.value for state in TaskState]
WAITING = ["pending", "scheduled", "retry", "archived", "aggregating"]


def group_of(state: str) -> str | None:
    return "g" if state == "aggregating" else None


async def place(redis: Redis, queue: str, state: str, ids: Any, **more: Any) -> None:
    await put(redis, queue, state, ids, group=group_of(state) or "", **more)


# Looking


@pytest.mark.parametrize("state", STATES)
async def test_a_task_is_shown_with_all_its_fields(
    inspector: Inspector, redis: Any, queue: str, state: str
) -> None:
    await place(
        redis,
        queue,
        state,
        {"ä 1": NOW_S + 500},
        fields={"result": b"RES"},
        headers={"trace": "1"},
        retried=3,
        error_msg="boom",
        last_failed_at=1_700_000_000,
        deadline=1_700_003_600,
        retention=60,
        completed_at=1_700_000_001 if state == "completed" else 0,
    )
    (listed,) = await inspector.list_tasks(queue, state, group=group_of(state))
    for info in (await inspector.task_info(queue, "ä 1"), listed):
        assert (info.id, info.queue, info.type, info.payload) == ("ä 1", queue, "t", b"p")
        assert (info.state, dict(info.headers)) == (state, {"trace": "1"})
        assert (info.max_retry, info.retried, info.last_error) == (25, 3, "boom")
        assert info.last_failed_at == datetime.fromtimestamp(1_700_000_000, UTC)
        assert info.timeout == timedelta(minutes=30)
        assert info.deadline == datetime.fromtimestamp(1_700_003_600, UTC)
        assert (info.retention, info.result) == (timedelta(minutes=1), b"RES")
        assert (info.completed_at is not None) == (state == "completed")
        assert info.group == (group_of(state) or "")
        assert info.is_orphaned is False
        if state in ("scheduled", "retry"):
            assert info.next_process_at == datetime.fromtimestamp(NOW_S + 500, UTC)
        else:
            assert (info.next_process_at is not None) == (state == "pending")


@pytest.mark.parametrize("lease_end", [1, None])
async def test_an_active_task_whose_lease_is_over_is_an_orphan(
    inspector: Inspector, redis: Any, queue: str, lease_end: int | None
) -> None:
    await put(redis, queue, "active", ["held", "lost"])
    await redis.zrem(keys.lease(queue), "lost")
    if lease_end:
        await redis.zadd(keys.lease(queue), {"lost": lease_end})
    tasks = await inspector.list_tasks(queue, "active")
    assert [(task.id, task.is_orphaned) for task in tasks] == [("held", False), ("lost", True)]
    assert (await inspector.task_info(queue, "lost")).is_orphaned


async def test_a_message_that_cannot_be_read_is_shown_with_the_reason(
    inspector: Inspector, redis: Any, queue: str
) -> None:
    await put(redis, queue, "archived", ["bad", "worse"])
    await redis.hset(keys.task(queue, "bad"), "msg", b"\xff")
    await redis.hset(
        keys.task(queue, "worse"), mapping={"msg": b"\xff", "asyncq_parked": "the reason"}
    )
    bad, worse = await inspector.list_tasks(queue, "archived")
    assert (bad.id, bad.type) == ("bad", "")
    assert "not a TaskMessage" in bad.last_error
    assert (worse.id, worse.last_error) == ("worse", "the reason")
    with pytest.raises(TaskStateError, match="cannot be read"):
        await inspector.update_payload(queue, "bad", "x")


async def test_what_is_no_task_is_said_to_be_none(
    inspector: Inspector, redis: Any, queue: str
) -> None:
    with pytest.raises(TaskNotFoundError, match=f"no task 'x' in queue '{queue}'"):
        await inspector.task_info(queue, "x")
    await redis.set(keys.task(queue, "text"), "")
    with pytest.raises(TaskStateError, match="its key in Redis is no hash"):
        await inspector.task_info(queue, "text")
    await redis.hset(keys.task(queue, "odd"), mapping={"msg": encode_task(a_message(queue, "odd"))})
    with pytest.raises(TaskStateError, match="its state is '', which asynq has not"):
        await inspector.task_info(queue, "odd")
    await redis.hset(keys.task(queue, "odd"), "state", "dead")
    with pytest.raises(TaskStateError, match="its state is 'dead', which asynq has not"):
        await inspector.task_info(queue, "odd")


@pytest.mark.parametrize("state", STATES)
async def test_pages_are_in_the_order_of_asynq(
    inspector: Inspector, redis: Redis, queue: str, state: str
) -> None:
    names = [f"{n}" for n in range(7)]
    await place(redis, queue, state, names)
    group = group_of(state)

    async def page(number: int, size: int) -> list[str]:
        return [t.id for t in await inspector.list_tasks(queue, state, number, size, group=group)]

    assert await page(1, 3) == ["0", "1", "2"]
    assert await page(2, 3) == ["3", "4", "5"]
    assert await page(3, 3) == ["6"]
    assert await page(4, 3) == []
    assert await page(1, 30) == names


async def test_a_page_has_thirty_tasks_and_may_have_thousands(
    inspector: Inspector, redis: Redis, queue: str
) -> None:
    names = [f"{n:04}" for n in range(1000)]
    await put(redis, queue, "pending", names)
    assert [t.id for t in await inspector.list_tasks(queue, TaskState.PENDING)] == names[:30]
    page = await inspector.list_tasks(queue, "pending", 2, 450)
    assert [t.id for t in page] == names[450:900]


@pytest.mark.parametrize(("page", "size"), [(0, 30), (-1, 30), (1, 0), (1, -5)])
async def test_pages_and_sizes_start_at_one(inspector: Inspector, page: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"start at 1, got {page} and {size}"):
        await inspector.list_tasks("q", "pending", page, size)


async def test_listing_says_what_is_wrong(inspector: Inspector, queue: str) -> None:
    with pytest.raises(QueueNotFoundError):
        await inspector.list_tasks(queue, "pending")
    with pytest.raises(ValueError, match="state= takes one of active, pending"):
        await inspector.list_tasks(queue, "dead")
    with pytest.raises(ValueError, match="say which with group="):
        await inspector.list_tasks(queue, "aggregating")
    with pytest.raises(TypeError, match="page= takes an int, got '2'"):
        await inspector.list_tasks(queue, "pending", "2")  # type: ignore[arg-type]  # a mistake


# Filters


def info_of(type: str = "t", payload: bytes = b"", error: str = "") -> TaskInfo:
    return TaskInfo(
        id="a",
        queue="q",
        type=type,
        payload=payload,
        headers={},
        state=TaskState.RETRY,
        max_retry=1,
        last_error=error,
    )


def test_a_filter_takes_all_that_is_said_together() -> None:
    task = info_of("email:deliver", '{"to": "ümit"}'.encode(), "connection refused")
    assert TaskFilter().matches(task)
    assert TaskFilter(type="email:deliver", payload="ümit", error="refused").matches(task)
    assert TaskFilter(type="email:*").matches(task)
    assert TaskFilter(type="*").matches(task)
    assert TaskFilter(payload=b"to").matches(task)
    for wrong in (
        TaskFilter(type="email:"),
        TaskFilter(type="mail:*"),
        TaskFilter(payload="Ümit"),
        TaskFilter(error="Refused"),
        TaskFilter(type="email:*", error="timed out"),
    ):
        assert not wrong.matches(task)


@given(type=st.text(max_size=3), payload=st.binary(max_size=3), error=st.text(max_size=3))
def test_what_a_task_has_matches_it(type: str, payload: bytes, error: str) -> None:
    task = info_of(type, payload, error)
    given = {"type": type, "payload": payload, "error": error}
    assert TaskFilter(**{k: v for k, v in given.items() if v}).matches(task)  # type: ignore[arg-type]  # mixed


def test_a_filter_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(TypeError, match="payload= takes str or bytes, got 7"):
        TaskFilter(payload=7)  # type: ignore[arg-type]  # a mistake
    with pytest.raises(ValueError, match="type= must not be empty"):
        TaskFilter(type="")


async def test_iterating_with_a_filter(inspector: Inspector, redis: Redis, queue: str) -> None:
    for n, error in enumerate(["timed out", "refused", "timed out again"]):
        await put(redis, queue, "retry", {f"{n}": n}, error_msg=error)
    only = TaskFilter(error="timed out")
    assert [t.id async for t in inspector.iter_tasks(queue, "retry", only)] == ["0", "2"]


# Acting on one

Act = Callable[[Inspector, str, str], Awaitable[None]]


@pytest.mark.parametrize("state", ["scheduled", "retry", "archived", "completed", "aggregating"])
async def test_run_task_puts_it_at_the_back_of_the_queue(
    inspector: Inspector, redis: Redis, queue: str, state: str
) -> None:
    await put(redis, queue, "pending", ["before"])
    await place(redis, queue, state, ["a", "b"])
    await inspector.run_task(queue, "a")
    assert await pending_ids(redis, queue) == ["before", "a"]
    left = await snapshot(redis, queue)
    assert left["t:a"]["state"] == "pending"
    assert left["t:a"]["pending_since"].isdecimal()
    await inspector.run_task(queue, "b")
    left = await snapshot(redis, queue)
    assert set(left) == {"pending", "t:before", "t:a", "t:b"}


@pytest.mark.parametrize("state", ["pending", "scheduled", "retry", "completed", "aggregating"])
async def test_archive_task_keeps_it_as_it_is(
    inspector: Inspector, redis: Redis, queue: str, state: str
) -> None:
    await place(redis, queue, state, ["a"], retried=2, error_msg="e")
    await inspector.archive_task(queue, "a")
    left = await snapshot(redis, queue)
    assert set(left) == {"archived", "t:a"}
    assert abs(left["archived"]["a"] - NOW_S) < 3600  # that is when the tests began
    assert left["t:a"]["state"] == "archived"
    assert (left["t:a"]["msg"].retried, left["t:a"]["msg"].error_msg) == (2, "e")


@pytest.mark.parametrize("state", ["pending", "scheduled", "retry", "completed", "aggregating"])
async def test_delete_task_gives_up_its_lock(
    inspector: Inspector, redis: Any, queue: str, state: str
) -> None:
    await place(redis, queue, state, ["a"], fields={"unique_key": a_lock(queue)})
    await redis.set(a_lock(queue), "a")
    await inspector.delete_task(queue, "a")
    assert await snapshot(redis, queue) == {}


@pytest.mark.parametrize(
    ("method", "state", "reason"),
    [
        ("run_task", "active", "it is running already"),
        ("run_task", "pending", "it is pending already"),
        ("archive_task", "active", "it is running; cancel it first"),
        ("archive_task", "archived", "it is archived already"),
        ("delete_task", "active", "it is running; cancel it first"),
    ],
)
async def test_what_a_state_does_not_allow_is_refused_and_changes_nothing(
    inspector: Inspector, redis: Redis, queue: str, method: str, state: str, reason: str
) -> None:
    await place(redis, queue, state, ["a"])
    before = await snapshot(redis, queue)
    with pytest.raises(TaskStateError, match=reason):
        await getattr(inspector, method)(queue, "a")
    assert await snapshot(redis, queue) == before


@pytest.mark.parametrize("method", ["run_task", "archive_task", "delete_task"])
@pytest.mark.parametrize("state", ["pending", "scheduled", "aggregating"])
async def test_a_task_that_is_not_where_its_state_says_is_left_alone(
    inspector: Inspector, redis: Any, queue: str, method: str, state: str
) -> None:
    await redis.hset(keys.task(queue, "a"), mapping={"state": state, "group": "g", "msg": "m"})
    before = await snapshot(redis, queue)
    with pytest.raises(TaskStateError, match=r"it is pending already|not where its state says"):
        await getattr(inspector, method)(queue, "a")
    assert await snapshot(redis, queue) == before
    with pytest.raises(TaskNotFoundError):
        await getattr(inspector, method)(queue, "nobody")


async def test_archiving_that_redis_refuses_moves_nothing(
    inspector: Inspector, redis: Any, queue: str
) -> None:
    await put(redis, queue, "pending", ["a"])
    await redis.set(keys.archived(queue), "no zset")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await inspector.archive_task(queue, "a")
    assert await pending_ids(redis, queue) == ["a"]
    assert (await inspector.task_info(queue, "a")).state == "pending"


# Payloads


class Order(BaseModel):
    number: int


@pytest.mark.parametrize("state", WAITING)
async def test_a_new_payload_leaves_all_else_as_it_was(
    inspector: Inspector, redis: Any, queue: str, state: str
) -> None:
    await place(redis, queue, state, ["a"], headers={"h": "1"}, retried=2, fields={"mine": "1"})
    before = await snapshot(redis, queue)
    await inspector.update_payload(queue, "a", Order(number=7))
    after = await snapshot(redis, queue)
    assert after["t:a"]["msg"].payload == b'{"number":7}'
    after["t:a"]["msg"] = before["t:a"]["msg"]
    assert after == before
    info = await inspector.task_info(queue, "a")
    assert (info.payload, dict(info.headers), info.retried) == (b'{"number":7}', {"h": "1"}, 2)


async def test_payloads_follow_the_rule_of_tasks(
    inspector: Inspector, client: Client, queue: str
) -> None:
    info = await client.enqueue(Task("t", "old"), queue=queue, process_in=3600)
    for payload in (b"\xff", "text", None, {"a": [1]}):
        await inspector.update_payload(queue, info.id, payload)
        stored = await inspector.task_info(queue, info.id)
        assert stored.payload == Task("t", payload).payload
    with pytest.raises(InvalidResultError):
        await inspector.update_payload(queue, info.id, object())


@pytest.mark.parametrize("state", ["active", "completed", "set"])
async def test_the_payload_of_what_runs_or_ran_is_not_changed(
    inspector: Inspector, redis: Any, queue: str, state: str
) -> None:
    await place(redis, queue, "aggregating" if state == "set" else state, ["a"])
    if state == "set":
        await redis.delete(keys.group(queue, "g"))
    with pytest.raises(TaskStateError, match="its payload cannot be changed"):
        await inspector.update_payload(queue, "a", "new")
    with pytest.raises(TaskNotFoundError):
        await inspector.update_payload(queue, "nobody", "new")


async def test_a_change_in_between_is_not_overwritten(
    inspector: Inspector, redis: Any, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forwarder, a worker and a failed attempt between our reading and our writing."""
    await put(redis, queue, "scheduled", ["a"])
    replace = inspector._tasks.replace_payload
    raced = asyncio.Event()

    async def after_a_failure(*args: Any) -> int:
        if not raced.is_set():
            raced.set()
            failed = encode_task(a_message(queue, "a", retried=1, error_msg="boom"))
            await redis.hset(keys.task(queue, "a"), mapping={"msg": failed, "state": "retry"})
        return await replace(*args)

    monkeypatch.setattr(inspector._tasks, "replace_payload", after_a_failure)
    await inspector.update_payload(queue, "a", "new")
    message = decode_task(await redis.hget(keys.task(queue, "a"), "msg"))
    assert (message.payload, message.retried, message.error_msg) == (b"new", 1, "boom")
