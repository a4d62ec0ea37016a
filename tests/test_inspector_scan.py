"""Going through all tasks of a state while others work on it, against a model."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from placed import put
from redis.asyncio import Redis
from stored import a_message

from asyncq import Client, Inspector, ScanPage, Task, TaskFilter, TaskState
from asyncq._broker import keys
from asyncq._broker.codec import encode_task
from asyncq._broker.task_lists import SLICE, Cursor, Place

pytestmark = pytest.mark.every_redis

ON_REDIS = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Others:
    """Workers, producers and people on one queue, and who left `pending` at all."""

    def __init__(self, redis: Any, queue: str) -> None:
        self.redis = redis
        self.queue = queue
        self.made = 0
        self.left: set[str] = set()

    async def pending(self) -> list[str]:
        ids = await self.redis.lrange(keys.pending(self.queue), 0, -1)
        return [task_id.decode() for task_id in reversed(ids)]

    async def add(self, count: int) -> None:
        for _ in range(count):
            task_id = f"{self.made}"
            self.made += 1
            await self.redis.hset(
                keys.task(self.queue, task_id),
                mapping={
                    "msg": encode_task(a_message(self.queue, task_id)),
                    "state": "pending",
                    "pending_since": time.time_ns(),
                },
            )
            await self.redis.lpush(keys.pending(self.queue), task_id)

    async def take(self, count: int) -> None:
        for _ in range(count):
            task_id = await self.redis.rpoplpush(keys.pending(self.queue), keys.active(self.queue))
            if task_id is not None:
                self.left.add(task_id.decode())
                key = keys.task(self.queue, task_id.decode())
                await self.redis.hset(key, "state", "active")
                await self.redis.hdel(key, "pending_since")

    async def requeue(self, count: int) -> None:
        """Back to the head, as Go does when it stops."""
        for _ in range(count):
            if task_id := await self._finish():
                await self.redis.rpush(keys.pending(self.queue), task_id)

    async def retry(self, count: int) -> None:
        """Back to the other end, as a retried task comes back."""
        for _ in range(count):
            if task_id := await self._finish():
                key = keys.task(self.queue, task_id)
                await self.redis.hset(key, "pending_since", time.time_ns())
                await self.redis.lpush(keys.pending(self.queue), task_id)

    async def _finish(self) -> str:
        task_id = await self.redis.rpop(keys.active(self.queue))
        if task_id is None:
            return ""
        await self.redis.hset(keys.task(self.queue, task_id.decode()), "state", "pending")
        name: str = task_id.decode()
        return name

    async def delete(self, nth: int) -> None:
        ids = await self.pending()
        if ids:
            task_id = ids[nth % len(ids)]
            self.left.add(task_id)
            await self.redis.lrem(keys.pending(self.queue), 1, task_id)
            await self.redis.delete(keys.task(self.queue, task_id))


MOVES = st.tuples(
    st.sampled_from(["add", "take", "requeue", "retry", "delete", "delete"]), st.integers(1, 7)
)


@ON_REDIS
@given(
    count=st.integers(0, 25),
    steps=st.lists(st.tuples(st.integers(1, 5), st.lists(MOVES, max_size=4)), max_size=15),
)
async def test_whoever_stays_pending_is_met_exactly_once(
    redis: Redis, inspector: Inspector, count: int, steps: list[tuple[int, list[tuple[str, int]]]]
) -> None:
    others = Others(redis, uuid4().hex)
    await others.add(count)
    there = set(await others.pending())
    met: Counter[str] = Counter()
    page: ScanPage | None = None
    for budget, moves in [*steps, *[(5, [])] * 40]:
        cursor = page.cursor if page else None
        page = await inspector.scan(others.queue, "pending", None, cursor, budget)
        assert len(page.tasks) <= budget
        met.update(task.id for task in page.tasks)
        if page.cursor is None:
            break
        for name, much in moves:
            await getattr(others, name)(much)
    else:
        raise AssertionError("never came to the end")
    assert {task_id: met[task_id] for task_id in there - others.left} == dict.fromkeys(
        there - others.left, 1
    )
    for task_id in met.keys() - others.left:
        assert met[task_id] == 1, "added, stayed, and met twice"


IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3)
SCORES = st.sampled_from([1, 1, 2, 3.5, 1e15, 1767225600])
CHANGES = st.one_of(
    st.tuples(st.just("add"), IDS, SCORES),
    st.tuples(st.just("remove"), IDS, st.just(0)),
    st.tuples(st.just("last"), st.just(""), st.just(0)),
)


@ON_REDIS
@given(
    scores=st.dictionaries(IDS, SCORES, max_size=25),
    steps=st.lists(st.tuples(st.integers(1, 5), st.lists(CHANGES, max_size=4)), max_size=15),
)
async def test_whoever_stays_in_a_sorted_set_is_met_exactly_once_and_in_order(
    redis: Redis,
    inspector: Inspector,
    scores: dict[str, float],
    steps: list[tuple[int, list[tuple[str, str, float]]]],
) -> None:
    queue = uuid4().hex
    zset = keys.archived(queue)
    any_redis: Any = redis

    async def add(task_id: str, score: float) -> None:
        await any_redis.hset(
            keys.task(queue, task_id),
            mapping={"msg": encode_task(a_message(queue, task_id)), "state": "archived"},
        )
        await any_redis.zadd(zset, {task_id: score})

    for task_id, score in scores.items():
        await add(task_id, score)
    moved: set[str] = set()
    met: list[str] = []
    page: ScanPage | None = None
    for budget, changes in [*steps, *[(5, [])] * 40]:
        cursor = page.cursor if page else None
        page = await inspector.scan(queue, "archived", None, cursor, budget)
        met += [task.id for task in page.tasks]
        if page.cursor is None:
            break
        for kind, task_id, score in changes:
            if kind == "last":  # the one under the cursor
                task_id = met[-1] if met else "?"
            moved.add(task_id)
            if kind == "add":
                await add(task_id, score)
            else:
                await any_redis.zrem(zset, task_id)
                await any_redis.delete(keys.task(queue, task_id))
    else:
        raise AssertionError("never came to the end")
    order = sorted(scores.items(), key=lambda item: (item[1], item[0].encode()))
    assert [i for i in met if i not in moved] == [i for i, _ in order if i not in moved]


async def test_a_slice_whose_every_task_is_deleted_does_not_lose_the_place(
    inspector: Inspector, client: Client, queue: str
) -> None:
    """What users write: look at all, and delete some."""
    await client.enqueue_many([Task("t", str(n)) for n in range(3 * SLICE)], queue=queue)
    met: list[bytes] = []
    async for task in inspector.iter_tasks(queue, "pending"):
        met.append(task.payload)
        n = int(task.payload)
        if n % 25 or n >= SLICE:
            await inspector.delete_task(queue, task.id)
    assert met == [b"%d" % n for n in range(3 * SLICE)]
    left = [task.payload async for task in inspector.iter_tasks(queue, "pending")]
    assert left == [b"0", b"25", b"50", b"75"]


async def test_a_place_is_found_again_when_workers_took_thousands(
    inspector: Inspector, redis: Any, queue: str
) -> None:
    await put(redis, queue, "pending", [f"{n}" for n in range(16_000)])
    page = await inspector.scan(queue, "pending", budget=7000)
    page = await inspector.scan(queue, "pending", None, page.cursor, 7000)
    cursor = page.cursor
    assert page.tasks[-1].id == "13999"
    await redis.ltrim(keys.pending(queue), 0, -13_501)  # 13 500 are taken
    page = await inspector.scan(queue, "pending", None, cursor, 1)
    assert [task.id for task in page.tasks] == ["14000"]
    await redis.ltrim(keys.pending(queue), 0, -501)  # and those looked at last
    page = await inspector.scan(queue, "pending", None, cursor, 1)
    assert [task.id for task in page.tasks] == ["14000"]


async def test_equal_scores_over_several_slices(
    inspector: Inspector, redis: Redis, queue: str
) -> None:
    ids = {f"{n:04}": 5.0 for n in range(3 * SLICE + 7)}
    await put(redis, queue, "scheduled", ids)
    assert [task.id async for task in inspector.iter_tasks(queue, "scheduled")] == sorted(ids)


async def test_long_messages_come_in_smaller_parts_and_none_is_lost(
    inspector: Inspector, client: Client, queue: str
) -> None:
    await client.enqueue_many([Task("t", b"x" * 300_000) for _ in range(20)], queue=queue)
    page = await inspector.scan(queue, "pending", budget=20)
    assert (len(page.tasks), page.cursor) == (20, None)
    place = Place(queue, TaskState.PENDING)
    part = await inspector._tasks.scan(place, Cursor(), 20)  # what one call of Redis brings
    assert len(part.tasks) == 4


async def test_ids_without_a_task_are_passed_over(
    inspector: Inspector, redis: Any, queue: str
) -> None:
    await put(redis, queue, "pending", ["a", "ghost", "b"])
    await redis.delete(keys.task(queue, "ghost"))
    assert [t.id async for t in inspector.iter_tasks(queue, "pending")] == ["a", "b"]
    page = await inspector.scan(queue, "pending", budget=2)
    assert [task.id for task in page.tasks] == ["a"]
    page = await inspector.scan(queue, "pending", None, page.cursor, 2)
    assert [task.id for task in page.tasks] == ["b"]


async def test_a_filter_is_applied_to_what_the_budget_looked_at(
    inspector: Inspector, client: Client, queue: str
) -> None:
    await client.enqueue_many([Task(f"t{n % 3}") for n in range(9)], queue=queue)
    page = await inspector.scan(queue, "pending", TaskFilter(type="t1"), budget=5)
    assert [task.type for task in page.tasks] == ["t1", "t1"]
    page = await inspector.scan(queue, "pending", TaskFilter(type="t1"), page.cursor, 5)
    assert ([task.type for task in page.tasks], page.cursor) == (["t1"], None)


@pytest.mark.parametrize("budget", [0, -1])
async def test_a_budget_below_one_is_refused(inspector: Inspector, budget: int) -> None:
    with pytest.raises(ValueError, match="budget= must be at least 1"):
        await inspector.scan("q", "pending", budget=budget)


async def test_an_unknown_queue_has_nothing_to_scan(inspector: Inspector, queue: str) -> None:
    page = await inspector.scan(queue, "retry")
    assert (page.tasks, page.cursor) == ([], None)
