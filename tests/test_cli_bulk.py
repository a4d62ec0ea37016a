"""`asyncq task runall|archiveall|deleteall`: which tasks are meant, and what is asked before."""

from __future__ import annotations

import pytest
from operating import operate, operated
from placed import put
from redis.asyncio import Redis

from asyncq import Inspector

FLAGS = {"runall": (), "archiveall": (), "deleteall": ("--yes",)}
DONE = {"runall": "made pending", "archiveall": "archived", "deleteall": "deleted"}


async def ids(inspector: Inspector, queue: str, state: str, group: str | None = None) -> list[str]:
    return [task.id async for task in inspector.iter_tasks(queue, state, group=group)]


@pytest.mark.parametrize("command", FLAGS)
async def test_all_tasks_of_a_state_are_moved(
    redis: Redis, redis_url: str, inspector: Inspector, queue: str, command: str
) -> None:
    await put(redis, queue, "retry", [f"{n}" for n in range(250)])
    await put(redis, queue, "scheduled", ["other"])
    said = await operated(redis_url, "task", command, "-q", queue, "-s", "retry", *FLAGS[command])
    assert said.out == f"retry tasks of queue '{queue}': 250 {DONE[command]}\n"
    assert await ids(inspector, queue, "retry") == []
    assert await ids(inspector, queue, "scheduled") == ["other"]


@pytest.mark.parametrize("command", FLAGS)
async def test_only_tasks_that_are_meant_are_moved(
    redis: Redis, redis_url: str, inspector: Inspector, queue: str, command: str
) -> None:
    await put(redis, queue, "retry", ["a"], error_msg="connection timed out")
    await put(redis, queue, "retry", ["b"], error_msg="no such row")
    flags = ("-q", queue, "-s", "retry", "--error-contains", "timed out")
    said = await operated(redis_url, "task", command, *flags, "--dry-run", "--json")
    record = {"queue": queue, "state": "retry", "group": None, "count": 1}
    assert said.json == {**record, "dry_run": True}
    assert await ids(inspector, queue, "retry") == ["a", "b"]
    said = await operated(redis_url, "task", command, *flags, *FLAGS[command], "--json")
    assert said.json == {**record, "dry_run": False}
    assert await ids(inspector, queue, "retry") == ["b"]


@pytest.mark.parametrize("command", FLAGS)
async def test_tasks_of_a_group_are_moved(
    redis: Redis, redis_url: str, inspector: Inspector, queue: str, command: str
) -> None:
    await put(redis, queue, "aggregating", ["a", "b"], group="one")
    await put(redis, queue, "aggregating", ["c"], group="two")
    flags = ("-q", queue, "-s", "aggregating", *FLAGS[command])
    said = await operate(redis_url, "task", command, *flags)
    assert said.status == 1
    assert "say which with --group; there are 'one', 'two'" in said.err
    said = await operated(redis_url, "task", command, *flags, "-g", "one")
    assert said.out.startswith(f"aggregating tasks of group 'one' of queue '{queue}': 2 ")
    assert await ids(inspector, queue, "aggregating", "one") == []
    assert await ids(inspector, queue, "aggregating", "two") == ["c"]


async def test_all_tasks_are_not_deleted_without_a_yes(
    redis: Redis, redis_url: str, inspector: Inspector, queue: str
) -> None:
    await put(redis, queue, "archived", ["a", "b"])
    said = await operate(redis_url, "task", "deleteall", "-q", queue, "-s", "archived")
    assert (said.status, said.out) == (2, "")
    assert f"whether to delete the archived tasks of queue '{queue}', 2 in all, which" in said.err
    assert await ids(inspector, queue, "archived") == ["a", "b"]
    said = await operate(
        redis_url, "task", "deleteall", "-q", queue, "-s", "archived", "--type", "t*"
    )
    assert f"delete the archived tasks of queue '{queue}' whose type is 't*', which" in said.err


@pytest.mark.parametrize(
    ("command", "state", "hint"),
    [
        ("runall", "archive", "there is no state 'archive'; did you mean 'archived'?"),
        ("runall", "pending", "tasks in state 'pending' cannot; it takes scheduled, retry,"),
        ("archiveall", "archived", "tasks in state 'archived' cannot; it takes pending,"),
        ("deleteall", "active", "tasks in state 'active' cannot; it takes pending,"),
        ("deleteall", "xyz", "there is no state 'xyz'; there are pending, scheduled,"),
    ],
)
async def test_state_that_cannot_be_meant_is_refused(
    redis_url: str, queue: str, command: str, state: str, hint: str
) -> None:
    said = await operate(redis_url, "task", command, "-q", queue, "-s", state, *FLAGS[command])
    assert said.status == 2
    assert hint in " ".join(said.err.replace("│", " ").split())


async def test_queue_that_is_not_there_is_refused(redis: Redis, redis_url: str, queue: str) -> None:
    await put(redis, queue, "retry", ["a"])
    said = await operate(redis_url, "task", "runall", "-q", queue[:-1], "-s", "retry")
    assert said.status == 1
    assert said.err == (f"error: there is no queue '{queue[:-1]}'; did you mean '{queue}'?\n")


async def test_group_goes_with_aggregating_tasks(redis_url: str, queue: str) -> None:
    said = await operate(redis_url, "task", "runall", "-q", queue, "-s", "retry", "-g", "g")
    assert (said.status, "--group goes with aggregating" in said.err) == (2, True)
