"""Running, archiving and deleting many tasks: what moves, what stays, and in which order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from placed import NOW_S, put
from redis.asyncio import Redis
from standing import pending_ids
from stored import a_lock, a_message, snapshot

from asyncq import (
    Client,
    Inspector,
    QueueNotFoundError,
    Task,
    TaskFilter,
    TaskState,
)
from asyncq._broker import keys, task_lists
from asyncq._broker.codec import encode_task
from asyncq._broker.connection import Call
from asyncq._broker.task_lists import SLICE

pytestmark = pytest.mark.every_redis

MANY = 2 * SLICE + 50
ZSETS = ["scheduled", "retry", "archived", "completed", "aggregating"]


def group_of(state: str) -> str | None:
    return "g" if state == "aggregating" else None


async def ids(inspector: Inspector, queue: str, state: str) -> list[str]:
    return [t.id async for t in inspector.iter_tasks(queue, state, group=group_of(state))]


@pytest.mark.parametrize("state", ZSETS)
async def test_run_all_makes_every_task_pending_in_order(
    inspector: Inspector, redis: Redis, queue: str, state: str
) -> None:
    names = [f"{n:04}" for n in range(MANY)]
    await put(redis, queue, state, names, group=group_of(state) or "")
    assert await inspector.run_all(queue, state, group=group_of(state)) == MANY
    assert await pending_ids(redis, queue) == names
    left = await snapshot(redis, queue)
    assert set(left) == {"pending", *(f"t:{name}" for name in names)}
    assert {left[f"t:{name}"]["state"] for name in names} == {"pending"}
    assert all(left[f"t:{name}"]["pending_since"].isdecimal() for name in names)


@pytest.mark.parametrize("state", ["pending", "scheduled", "retry", "completed", "aggregating"])
async def test_archive_all_archives_every_task(
    inspector: Inspector, redis: Redis, queue: str, state: str
) -> None:
    names = [f"{n:04}" for n in range(MANY)]
    await put(redis, queue, state, names, group=group_of(state) or "")
    assert await inspector.archive_all(queue, state, group=group_of(state)) == MANY
    assert await ids(inspector, queue, "archived") == names
    assert set(await snapshot(redis, queue)) == {"archived", *(f"t:{name}" for name in names)}


@pytest.mark.parametrize("state", ["pending", *ZSETS])
async def test_delete_all_leaves_nothing_and_gives_up_locks(
    inspector: Inspector, redis: Any, queue: str, state: str
) -> None:
    names = [f"{n:04}" for n in range(MANY)]
    lock = a_lock(queue)
    group = group_of(state) or ""
    await put(redis, queue, state, names, group=group, fields={"unique_key": lock})
    await redis.set(lock, names[77])
    assert await inspector.delete_all(queue, state, group=group_of(state)) == MANY
    assert await snapshot(redis, queue) == {}


async def test_a_lock_of_another_task_stays(inspector: Inspector, redis: Any, queue: str) -> None:
    await put(redis, queue, "scheduled", ["a"], fields={"unique_key": a_lock(queue)})
    await redis.set(a_lock(queue), "b")
    assert await inspector.delete_all(queue, "scheduled") == 1
    assert await redis.get(a_lock(queue)) == b"b"


@pytest.mark.parametrize("state", ["pending", *ZSETS])
async def test_a_filter_spares_the_others_and_keeps_their_order(
    inspector: Inspector, redis: Redis, queue: str, state: str
) -> None:
    group = group_of(state)
    names = [f"{n:04}" for n in range(MANY)]
    for n, name in enumerate(names):
        await put(redis, queue, state, {name: NOW_S + n}, group=group or "", type=f"t{n % 3}")
    seen: list[int] = []
    count = await inspector.delete_all(
        queue, state, group=group, filter=TaskFilter(type="t1"), on_progress=seen.append
    )
    assert count == MANY // 3
    assert await ids(inspector, queue, state) == [n for k, n in enumerate(names) if k % 3 != 1]
    assert seen == sorted(seen)
    assert seen[-1] == count
    assert len(seen) >= 3


@pytest.mark.parametrize("action", ["archive_all", "delete_all"])
async def test_all_pending_match_a_filter(
    inspector: Inspector, client: Client, redis: Redis, queue: str, action: str
) -> None:
    await client.enqueue_many([Task("t") for _ in range(MANY)], queue=queue)
    assert await getattr(inspector, action)(queue, "pending", filter=TaskFilter(type="*")) == MANY
    assert await pending_ids(redis, queue) == []


async def test_pending_tasks_leave_from_the_middle_of_a_very_long_queue(
    inspector: Inspector, redis: Any, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Near the ends the order stays; further in the newest tasks move into the gaps."""
    monkeypatch.setattr(task_lists, "_NEAR_ONE", 2000)
    await redis.lpush(keys.pending(queue), *range(10_000))
    await put(redis, queue, "pending", ["last"])
    wanted = ["500", "1999", "5000", "5001", "7999", "8000"]
    for task_id in wanted:
        await redis.hset(keys.task(queue, task_id), mapping={"state": "pending", "msg": "m"})
        await inspector.delete_task(queue, task_id)
    left = await pending_ids(redis, queue)
    assert left[4998:5000] == ["last", "9999"]
    assert left[:4998] + left[5000:] == [f"{n}" for n in range(9999) if f"{n}" not in wanted]


async def test_a_pending_id_that_stands_twice_leaves_with_both(
    inspector: Inspector, redis: Any, queue: str
) -> None:
    await put(redis, queue, "pending", ["a", "b", "c"])
    await redis.rpush(keys.pending(queue), "b")
    await inspector.delete_task(queue, "b")
    assert await pending_ids(redis, queue) == ["a", "c"]


async def test_ids_without_a_task_are_cleared_away_uncounted(
    inspector: Inspector, redis: Any, queue: str
) -> None:
    for state in ("pending", "scheduled", "aggregating"):
        group = group_of(state)
        await put(redis, queue, state, ["ghost", f"{state}"], group=group or "")
        await redis.delete(keys.task(queue, "ghost"))
        assert await inspector.delete_all(queue, state, group=group) == 1
        await put(redis, queue, state, ["ghost"], group=group or "")
        await redis.delete(keys.task(queue, "ghost"))
        assert await inspector.delete_all(queue, state, group=group) == 0
    assert await snapshot(redis, queue) == {}


async def test_what_stands_in_the_wrong_place_is_left_alone_and_does_not_hold_up_the_rest(
    inspector: Inspector, redis: Any, queue: str
) -> None:
    await put(redis, queue, "scheduled", [f"{n:03}" for n in range(SLICE + 10)])
    for n in range(SLICE):
        await redis.hset(keys.task(queue, f"{n:03}"), "state", "active")
    assert await inspector.run_all(queue, "scheduled") == 10
    assert len(await ids(inspector, queue, "scheduled")) == SLICE


async def test_run_all_does_not_chase_what_comes_back(
    inspector: Inspector, redis: Any, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker fails at once what was run: it is in retry again, behind all others."""
    await put(redis, queue, "retry", {f"{n:04}": NOW_S for n in range(SLICE + 1)})
    run = inspector._connection.run

    async def and_fail_it(calls: Any) -> Any:
        replies = await run(calls)
        for task_id in await redis.lrange(keys.pending(queue), 0, -1):
            await redis.hset(keys.task(queue, task_id.decode()), "state", "retry")
            await redis.zadd(keys.retry(queue), {task_id: NOW_S + 100})
        await redis.delete(keys.pending(queue))
        return replies

    monkeypatch.setattr(inspector._connection, "run", and_fail_it)
    assert await inspector.run_all(queue, "retry") == SLICE + 1


@pytest.mark.parametrize("near", [100_000, 1500])
@pytest.mark.parametrize("share", [2, 3, 40])
async def test_bulk_work_while_workers_take_and_producers_add(
    inspector: Inspector,
    redis: Any,
    queue: str,
    near: int,
    share: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of one type that nobody takes are all archived, and no other."""
    monkeypatch.setattr(task_lists, "_NEAR_MANY", near)
    names = [f"{n:05}" for n in range(40 * SLICE)]
    wanted = {name for n, name in enumerate(names) if n % share == 1 or 4500 < n < 5500}
    await put(redis, queue, "pending", names, type="spared")
    for name in wanted:
        message = encode_task(a_message(queue, name, type="wanted"))
        await redis.hset(keys.task(queue, name), "msg", message)
    taken: list[str] = []

    async def disturb() -> None:
        for n in range(200):
            if (got := await redis.rpop(keys.pending(queue))) is not None:
                taken.append(got.decode())
            await put(redis, queue, "pending", [f"new{n:03}"], type="spared")

    disturbing = asyncio.create_task(disturb())
    count = await inspector.archive_all(queue, "pending", filter=TaskFilter(type="wanted"))
    await disturbing
    archived = set(await ids(inspector, queue, "archived"))
    assert count == len(archived)
    assert archived == wanted - set(taken)
    left = await pending_ids(redis, queue)
    new = [f"new{n:03}" for n in range(200)]
    assert sorted([*left, *archived, *taken]) == sorted([*names, *new])
    if near == 100_000:
        assert left == sorted(left)  # digits before letters


async def test_two_inspectors_share_the_work_without_a_double(
    inspector: Inspector, redis: Redis, queue: str
) -> None:
    await put(redis, queue, "pending", [f"{n}" for n in range(10 * SLICE)])
    counts = await asyncio.gather(*(inspector.archive_all(queue, "pending") for _ in range(3)))
    assert sum(counts) == 10 * SLICE
    assert (await inspector.queue_info(queue)).archived == 10 * SLICE


async def test_no_script_call_moves_more_than_a_slice(
    inspector: Inspector, client: Client, queue: str
) -> None:
    """Whatever is asked for: Redis serves others in between."""
    most = 0

    def note(calls: Any, seconds: float, error: object) -> None:
        nonlocal most
        call: Call
        for call in calls:
            if call.script is not None and call.script.name.endswith("_tasks"):
                most = max(most, len(call.args) - 5)

    await client.enqueue_many([Task("t") for _ in range(5 * SLICE)], queue=queue)
    inspector._connection.on_call = note
    assert await inspector.archive_all(queue, "pending") == 5 * SLICE
    assert await inspector.run_all(queue, "archived") == 5 * SLICE
    assert len(await inspector.list_tasks(queue, "pending", page_size=5 * SLICE)) == 5 * SLICE
    assert await inspector.delete_all(queue, "pending", filter=TaskFilter(type="t")) == 5 * SLICE
    # What a scan names in its arguments is the last slice (with stays), and a few before.
    assert SLICE <= most <= 3 * SLICE


async def test_deleting_works_when_redis_is_full(start_redis: Any) -> None:
    """It is what one does then."""
    server = start_redis()
    async with Client(server.url) as client, Inspector(client) as inspector:
        await client.enqueue_many([Task("t", b"x" * 100) for _ in range(300)])
        async with server.client() as redis:
            await redis.config_set("maxmemory", 1)
        only = TaskFilter(type="t")
        assert await inspector.delete_all("default", "pending", filter=only) == 300


@pytest.mark.parametrize(
    ("action", "state", "known"),
    [
        ("run_all", "pending", "aggregating, archived, completed, retry, scheduled"),
        ("run_all", "active", "aggregating, archived, completed, retry, scheduled"),
        ("archive_all", "archived", "aggregating, completed, pending, retry, scheduled"),
        ("archive_all", "active", "aggregating, completed, pending, retry, scheduled"),
        ("delete_all", "active", "aggregating, archived, completed, pending, retry, scheduled"),
    ],
)
async def test_states_that_cannot_be_meant_are_refused_with_those_that_can(
    inspector: Inspector, action: str, state: str, known: str
) -> None:
    with pytest.raises(ValueError, match=f"^{action} takes one of {known}, got '{state}'$"):
        await getattr(inspector, action)("q", state)


@pytest.mark.parametrize("action", ["run_all", "archive_all", "delete_all"])
async def test_mistakes_in_the_arguments_say_what_is_expected(
    inspector: Inspector, queue: str, action: str
) -> None:
    act = getattr(inspector, action)
    with pytest.raises(QueueNotFoundError, match=f"queue '{queue}' does not exist"):
        await act(queue, "scheduled")
    with pytest.raises(ValueError, match="say which with group="):
        await act(queue, "aggregating")
    with pytest.raises(ValueError, match="group= goes with aggregating tasks, not with 'retry'"):
        await act(queue, TaskState.RETRY, group="g")
    with pytest.raises(ValueError, match=r"state= takes one of active, .*, got 'dead'"):
        await act(queue, "dead")
    with pytest.raises(TypeError, match=r"write TaskFilter\(type=...\)"):
        await act(queue, "retry", filter={"type": "t"})
    with pytest.raises(ValueError, match="queue= must not be blank"):
        await act(" ", "retry")
