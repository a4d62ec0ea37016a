"""Groups: when they are aggregated, by what, and what becomes of the parts."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from redis.asyncio import Redis
from serving import Work, Working, fast
from stored import a_message
from waiting import soon, until

from asyncq import GroupConfig, SkipRetry, Task, current
from asyncq._broker import keys
from asyncq._broker.codec import encode_task
from asyncq._worker.aggregator import Aggregator


class Batches:
    """A handler and an aggregator that note what they were given."""

    def __init__(self, **options: Any) -> None:
        self.groups: list[tuple[str, list[str]]] = []
        self.handled: list[str] = []
        self._options = options

    async def handle(self, task: Task) -> None:
        self.handled.append(task.payload.decode())

    def aggregate(self, group: str, tasks: list[Task]) -> Task:
        self.groups.append((group, [task.payload.decode() for task in tasks]))
        joined = b"+".join(task.payload for task in tasks)
        return Task("batch", joined, **self._options)

    async def aggregate_later(self, group: str, tasks: list[Task]) -> Task:
        await asyncio.sleep(0)
        return self.aggregate(group, tasks)


async def enqueue_parts(work: Work, *payloads: str, **options: Any) -> list[Any]:
    """All at once: no aggregator sees some of them without the others."""
    tasks = [Task("part", payload) for payload in payloads]
    options = {"group": "g", "queue": work.queue} | options
    return await work.client.enqueue_many(tasks, **options)


@pytest.mark.parametrize("form", ["plain", "async"])
async def test_a_quiet_group_is_aggregated_after_its_grace_period(
    working: Working, form: str
) -> None:
    batches = Batches()
    aggregator = batches.aggregate if form == "plain" else batches.aggregate_later
    async with working(batches.handle, group=GroupConfig(aggregator, grace_period=1)) as work:
        parts = await enqueue_parts(work, "a", "b", "c")
        assert {str(part.state) for part in parts} == {"aggregating"}
        await until(lambda: batches.handled)
        for part in parts:
            await work.gone(part)
        await work.counted(1, 0)
        there = await work.snapshot()
        assert set(there) == {"processed", "processed:<day>"}
    ((group, payloads),) = batches.groups
    assert group == "g"
    assert sorted(payloads) == ["a", "b", "c"]
    assert batches.handled == ["+".join(payloads)]


async def test_a_full_group_is_aggregated_at_once_and_in_sets_of_its_size(
    working: Working,
) -> None:
    batches = Batches()
    group = GroupConfig(batches.aggregate, grace_period=3600, max_size=2)
    async with working(batches.handle, group=group) as work:
        await enqueue_parts(work, "a", "b", "c", "d", "e")
        await step(work)
        await until(lambda: len(batches.handled) == 2)
        assert [len(payloads) for _, payloads in batches.groups] == [2, 2]
        assert len((await work.snapshot())["g:g"]) == 1


async def test_a_group_that_never_rests_is_aggregated_after_its_max_delay(
    working: Working, redis: Redis, queue: str
) -> None:
    batches = Batches()
    group = GroupConfig(batches.aggregate, grace_period=3600, max_delay=60)
    async with working(batches.handle, group=group) as work:
        await enqueue_parts(work, "old", "new")
        await step(work)
        assert batches.groups == []
        oldest: Any
        (oldest,) = await redis.zrange(keys.group(queue, "g"), 0, 0)
        await redis.zincrby(keys.group(queue, "g"), -61, oldest)
        await step(work)
        await until(lambda: batches.handled)


async def test_the_new_task_has_its_own_options_and_the_queue_of_its_parts(
    working: Working,
) -> None:
    seen: list[tuple[str, int]] = []
    options: dict[str, Any] = {"max_retry": 3, "retention": 60, "task_id": "the-batch"}
    batches = Batches(queue="elsewhere", **options)

    async def handler(task: Task) -> None:
        seen.append((current().task_id, current().max_retry))

    group = GroupConfig(batches.aggregate, grace_period=1)
    async with working(handler, group=group) as work:
        await enqueue_parts(work, "a")
        await until(lambda: seen == [("the-batch", 3)])
        await until(lambda: work.redis.zcard(keys.completed(work.queue)))
        assert set((await work.snapshot())["completed"]) == {"the-batch"}


async def test_the_locks_of_the_parts_are_released(working: Working) -> None:
    batches = Batches()
    async with working(batches.handle, group=GroupConfig(batches.aggregate, grace_period=1)) as w:
        (part,) = await enqueue_parts(w, "a", unique=3600)
        await w.gone(part)
        (again,) = await enqueue_parts(w, "a", unique=3600)
        assert again.id != part.id
        await w.gone(again)


async def test_a_part_with_a_future_time_joins_its_group_then(working: Working) -> None:
    batches = Batches()
    async with working(batches.handle, group=GroupConfig(batches.aggregate, grace_period=1)) as w:
        parts = await enqueue_parts(w, "later", process_in=0.1)
        assert str(parts[0].state) == "scheduled"
        await until(lambda: batches.handled == ["later"])
        assert batches.groups == [("g", ["later"])]


async def step(work: Work) -> None:
    """One look of the aggregator at all groups, and what it begins."""
    aggregator = the_aggregator(work)
    await aggregator.step()
    await aggregator.settled()


def the_aggregator(work: Work) -> Aggregator:
    assert work.server._parts is not None
    assert work.server._parts.aggregator is not None
    return work.server._parts.aggregator


async def reclaim(work: Work) -> None:
    """Let the time of all aggregation sets run out."""
    assert work.server._parts is not None
    sets: Any = keys.aggregation_sets(work.queue)
    overdue = dict.fromkeys(await work.redis.zrange(sets, 0, -1), 1)
    assert overdue
    raw: Any = work.redis
    await raw.zadd(sets, overdue)
    await work.server._parts.recoverer.sweep()


def _raise(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    "failure",
    [
        lambda: _raise(ValueError("no")),
        lambda: _raise(SystemExit(1)),
        lambda: _raise(asyncio.CancelledError()),
        lambda: _raise(SkipRetry("no")),
        lambda: "not a task",
        lambda: None,
        lambda: Task("t", task_id="taken"),
    ],
    ids=["raises", "exits", "cancels", "skips", "a str", "None", "conflict"],
)
@pytest.mark.parametrize("form", ["plain", "async"])
async def test_an_aggregator_that_fails_loses_no_part_and_is_tried_again(
    working: Working, failure: Any, form: str
) -> None:
    batches = Batches()
    failed = threading.Event()

    def plain(group: str, tasks: list[Task]) -> Task:
        if not failed.is_set():
            failed.set()
            made: Task = failure()
            return made
        return batches.aggregate(group, tasks)

    async def asynchronous(group: str, tasks: list[Task]) -> Task:
        return plain(group, tasks)

    aggregator = plain if form == "plain" else asynchronous
    group = GroupConfig(aggregator, grace_period=3600, max_size=2)
    async with working(batches.handle, group=group) as work:
        await work.enqueue(task_id="taken", process_in=3600)
        parts = await enqueue_parts(work, "a", "b")
        await step(work)
        assert failed.is_set()
        await reclaim(work)
        await step(work)
        await until(lambda: batches.handled)
        for part in parts:
            await work.gone(part)
    assert [sorted(payloads) for _, payloads in batches.groups] == [["a", "b"]]


async def hanging(group: str, tasks: list[Task]) -> Task:
    await asyncio.Event().wait()
    raise AssertionError("nobody woke it")


async def passing(task: Task) -> None:
    """Succeeds, every time."""


async def test_an_aggregator_that_hangs_is_given_up(working: Working) -> None:
    group = GroupConfig(hanging, grace_period=3600, max_size=1)
    async with working(passing, group=group, timing=fast(set_deadline=2)) as work:
        (part,) = await enqueue_parts(work, "a")
        await soon(step(work))
        await reclaim(work)
        assert await work.state(part) == "aggregating"
        assert set((await work.snapshot())["g:g"]) == {part.id}


async def test_an_aggregator_that_hangs_does_not_hold_up_a_shutdown(working: Working) -> None:
    group = GroupConfig(hanging, grace_period=1)
    settings: dict[str, Any] = {"group": group, "shutdown_timeout": 0}
    async with working(passing, timing=fast(set_deadline=600), **settings) as work:
        await enqueue_parts(work, "a")
        await until(lambda: work.redis.zcard(keys.aggregation_sets(work.queue)))
        await soon(work.server.shutdown())
        assert work.server.state == "closed"


async def test_a_part_that_cannot_be_read_is_set_aside_and_the_others_are_aggregated(
    working: Working, redis: Redis, queue: str
) -> None:
    batches = Batches()
    group = GroupConfig(batches.aggregate, grace_period=3600, max_size=2)
    async with working(batches.handle, group=group) as w:
        bad, good = await enqueue_parts(w, "bad", "good")
        await redis.hset(keys.task(queue, bad.id), "msg", b"\xff")
        await step(w)
        await until(lambda: batches.handled == ["good"])
        await w.gone(good)
        assert await w.state(bad) == "archived"
        assert set((await w.snapshot())["archived"]) == {bad.id}


async def test_a_group_of_which_nothing_can_be_read_is_no_business_of_the_aggregator(
    working: Working, redis: Redis, queue: str
) -> None:
    batches = Batches()
    group = GroupConfig(batches.aggregate, grace_period=3600, max_size=2)
    async with working(batches.handle, group=group) as w:
        bad, gone = await enqueue_parts(w, "bad", "gone")
        await redis.hset(keys.task(queue, bad.id), "msg", b"\xff")
        await redis.delete(keys.task(queue, gone.id))
        await step(w)
        await until(lambda: w.redis.zcard(keys.archived(queue)))
        assert batches.groups == []
        left = set(await w.snapshot())
        assert left == {"archived", f"t:{bad.id}"}


async def test_a_group_of_a_go_client_is_aggregated(
    working: Working, redis: Redis, queue: str
) -> None:
    batches = Batches()
    async with working(batches.handle, group=GroupConfig(batches.aggregate, grace_period=1)):
        message = a_message(queue, "go", group_key="users", payload=b"from go")
        fields: dict[Any, Any] = {
            "msg": encode_task(message),
            "state": "aggregating",
            "group": "users",
        }
        await redis.hset(keys.task(queue, "go"), mapping=fields)
        await redis.zadd(keys.group(queue, "users"), {"go": 1})
        await redis.sadd(keys.groups(queue), "users")
        await until(lambda: batches.handled == ["from go"])
    assert batches.groups == [("users", ["from go"])]


async def test_many_groups_are_aggregated_each_once(working: Working) -> None:
    batches = Batches()
    group = GroupConfig(batches.aggregate_later, grace_period=3600, max_size=3)
    async with working(batches.handle, group=group) as work, working(batches.handle, group=group):
        names = [f"user-{n}" for n in range(20)]
        for name in names:
            await enqueue_parts(work, name, name, name, group=name)
        await step(work)
        await until(lambda: len(batches.handled) == 20)
    assert sorted(name for name, _ in batches.groups) == sorted(names)
    assert sorted(batches.handled) == sorted(f"{name}+{name}+{name}" for name in names)


async def test_a_group_that_is_always_full_does_not_keep_others_from_their_turn(
    working: Working,
) -> None:
    groups: list[str] = []
    others = ["b", "c", "d", "e"]

    async def aggregate(group: str, tasks: list[Task]) -> Task:
        groups.append(group)
        if group not in others and not set(others) <= set(groups):
            await enqueue_parts(work, "more", group=group)
        return Task("batch")

    group = GroupConfig(aggregate, grace_period=3600, max_size=1)
    async with working(passing, group=group) as work:
        # As many full ones as there are places.
        for name in ("a", "a2", "a3", *others):
            await enqueue_parts(work, "part", group=name)
        await soon(step(work))
    assert set(others) <= set(groups)


async def test_a_slow_aggregator_does_not_keep_other_groups_from_being_looked_at(
    working: Working,
) -> None:
    release, begun = asyncio.Event(), asyncio.Event()
    batches = Batches()

    async def aggregate(group: str, tasks: list[Task]) -> Task:
        if group == "slow":
            begun.set()
            await release.wait()
        return batches.aggregate(group, tasks)

    group = GroupConfig(aggregate, grace_period=3600, max_size=1)
    async with working(batches.handle, group=group, timing=fast(set_deadline=600)) as work:
        await enqueue_parts(work, "1", group="slow")
        await soon(the_aggregator(work).step())
        await soon(begun.wait())
        await enqueue_parts(work, "2", group="quick")
        await soon(the_aggregator(work).step())
        await until(lambda: batches.handled == ["2"])
        release.set()
        await until(lambda: batches.handled == ["2", "1"])


async def test_a_shutdown_lets_an_aggregation_end_that_has_begun(working: Working) -> None:
    release, begun = asyncio.Event(), asyncio.Event()

    async def aggregate(group: str, tasks: list[Task]) -> Task:
        begun.set()
        await release.wait()
        return Task("batch")

    group = GroupConfig(aggregate, grace_period=3600, max_size=1)
    async with working(passing, group=group, shutdown_timeout=60) as work:
        (part,) = await enqueue_parts(work, "a")
        await the_aggregator(work).step()
        await soon(begun.wait())
        leaving = asyncio.create_task(work.server.shutdown())
        await until(lambda: work.server.state == "stopped")
        release.set()
        await soon(leaving)
        await work.gone(part)
        assert await work.redis.llen(keys.pending(work.queue)) == 1


async def test_a_queue_whose_groups_cannot_be_listed_does_not_hold_up_another(
    working: Working, redis: Redis, queue: str
) -> None:
    bad = f"{queue}-bad"
    raw: Any = redis
    await raw.set(keys.groups(bad), "no set")
    batches = Batches()
    group = GroupConfig(batches.aggregate, grace_period=1)
    async with working(batches.handle, group=group, queues={bad: 1, queue: 1}) as work:
        await enqueue_parts(work, "a")
        await until(lambda: batches.handled == ["a"])


async def test_without_a_group_config_groups_are_left_to_others(
    working: Working, redis: Redis, queue: str
) -> None:
    batches = Batches()
    async with working(batches.handle) as work:
        (part,) = await enqueue_parts(work, "a")
        await redis.zadd(keys.group(queue, "g"), {part.id: 1})
        await work.gone(await work.enqueue())
        assert await work.state(part) == "aggregating"
