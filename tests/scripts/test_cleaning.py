"""delete_expired.lua and trim_archive.lua: what is deleted for its age or its number."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from redis.asyncio import Redis
from stored import a_lock, a_message, now_us, snapshot, take

from asyncq._broker import keys
from asyncq._broker.broker import Broker
from asyncq._broker.maintenance import Maintenance
from asyncq._broker.outcome import Completed
from asyncq._clock import Clock

pytestmark = pytest.mark.every_redis

DAYS_90 = 90 * 24 * 3600


async def put(redis: Redis, queue: str, state: str, scores: Mapping[str, float]) -> None:
    """Tasks as they stand in `completed` or `archived`."""
    async with redis.pipeline(transaction=False) as pipeline:
        for task_id in scores:
            await pipeline.hset(keys.task(queue, task_id), mapping={"msg": "m", "state": state})
        await pipeline.zadd(keys.queue_prefix(queue) + state, dict(scores))
        await pipeline.execute()


async def ids(redis: Redis, queue: str, state: str) -> list[str]:
    """The members of `state`, every one with its hash, and no hash without."""
    left = await snapshot(redis, queue)
    members: list[str] = list(left.get(state, {}))
    assert {name for name in left if name.startswith("t:")} == {f"t:{name}" for name in members}
    return members


async def trim(
    maintenance: Maintenance,
    queue: str,
    *,
    max_age_s: float = DAYS_90,
    max_size: int = 1000,
    limit: int = 100,
) -> tuple[int, int]:
    return await maintenance.trim_archive(
        queue, max_age_s=max_age_s, max_size=max_size, limit=limit
    )


async def test_completed_tasks_are_deleted_once_their_retention_is_over(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    now_s = await now_us(redis) // 10**6
    await put(redis, queue, "completed", {"old": 1, "now": now_s, "kept": now_s + 1000})
    assert await maintenance.delete_expired(queue, 100) == 2
    assert await ids(redis, queue, "completed") == ["kept"]
    assert await maintenance.delete_expired(queue, 100) == 0


async def test_retention_counts_from_the_end_of_the_attempt(
    redis: Redis, queue: str, broker: Broker, maintenance: Maintenance, clock: Clock
) -> None:
    (leased,) = await take(broker, a_message(queue, retention=3600))
    await broker.settle([Completed.at(leased, b"RES", clock.now())])
    clock.skew += 3500
    assert await maintenance.delete_expired(queue, 100) == 0
    clock.skew += 101
    assert await maintenance.delete_expired(queue, 100) == 1
    assert set(await snapshot(redis, queue)) == {"processed", "processed:<day>"}


async def test_the_first_to_expire_go_first_in_batches(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    await put(redis, queue, "completed", {f"{n:02}": n for n in range(25)})
    assert await maintenance.delete_expired(queue, 10) == 10
    assert await ids(redis, queue, "completed") == [f"{n:02}" for n in range(10, 25)]
    assert [await maintenance.delete_expired(queue, 10) for _ in range(3)] == [10, 5, 0]
    assert await snapshot(redis, queue) == {}


@pytest.mark.parametrize("over_s", [0, 100])
async def test_archived_tasks_are_deleted_at_their_largest_age_with_their_hashes(
    redis: Redis, queue: str, maintenance: Maintenance, over_s: int
) -> None:
    now_s = await now_us(redis) // 10**6
    scores = {"old": now_s - DAYS_90 - over_s, "young": now_s - DAYS_90 + 1000}
    await put(redis, queue, "archived", scores)
    assert await trim(maintenance, queue) == (1, 0)
    assert await ids(redis, queue, "archived") == ["young"]


@pytest.mark.parametrize(("size", "deleted"), [(9, 0), (10, 0), (11, 1), (15, 5)])
async def test_the_archive_keeps_exactly_its_largest_number_the_newest(
    redis: Redis, queue: str, maintenance: Maintenance, size: int, deleted: int
) -> None:
    now_s = await now_us(redis) // 10**6
    await put(redis, queue, "archived", {f"{n:02}": now_s + n for n in range(size)})
    assert await trim(maintenance, queue, max_size=10) == (0, deleted)
    assert await ids(redis, queue, "archived") == [f"{n:02}" for n in range(deleted, size)]


async def test_age_and_number_share_the_limit_of_a_batch(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    now_s = await now_us(redis) // 10**6
    await put(redis, queue, "archived", {f"a{n}": n for n in range(7)})
    await put(redis, queue, "archived", {f"b{n}": now_s + n for n in range(7)})
    batches = [await trim(maintenance, queue, max_size=2, limit=5) for _ in range(4)]
    assert batches == [(5, 0), (2, 3), (0, 2), (0, 0)]
    assert await ids(redis, queue, "archived") == ["b5", "b6"]


async def test_an_archive_of_many_thousands_is_trimmed_in_slices(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    """asynq's script fails for good at 8 000 old members."""
    now_s = await now_us(redis) // 10**6
    await put(redis, queue, "archived", {f"old {n}": n for n in range(9000)})
    await put(redis, queue, "archived", {f"new {n}": now_s + n for n in range(3000)})
    old = many = 0
    while (deleted := await trim(maintenance, queue, max_size=10, limit=1000)) != (0, 0):
        assert sum(deleted) <= 1000
        old, many = old + deleted[0], many + deleted[1]
    assert (old, many) == (9000, 2990)
    assert await ids(redis, queue, "archived") == [f"new {n}" for n in range(2990, 3000)]


async def test_one_slice_may_hold_ten_thousand(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    await put(redis, queue, "archived", {f"{n}": n for n in range(10_001)})
    assert await trim(maintenance, queue, limit=10_000) == (10_000, 0)
    assert await ids(redis, queue, "archived") == ["10000"]


@pytest.mark.parametrize(("holder", "left"), [("a", None), ("somebody else", b"somebody else")])
async def test_a_trimmed_task_gives_up_its_own_lock(
    redis: Redis, queue: str, maintenance: Maintenance, holder: str, left: bytes | None
) -> None:
    await put(redis, queue, "archived", {"a": 1})
    await redis.hset(keys.task(queue, "a"), "unique_key", a_lock(queue))
    await redis.set(a_lock(queue), holder)
    assert await trim(maintenance, queue) == (1, 0)
    assert await redis.get(a_lock(queue)) == left


@pytest.mark.parametrize("state", ["completed", "archived"])
async def test_tasks_without_a_hash_and_keys_that_are_none_go_too(
    redis: Redis, queue: str, maintenance: Maintenance, state: str
) -> None:
    await put(redis, queue, state, {"a": 1})
    await redis.zadd(keys.queue_prefix(queue) + state, {"gone": 1, "bad": 1})
    await redis.set(keys.task(queue, "bad"), "?")
    if state == "completed":
        assert await maintenance.delete_expired(queue, 100) == 3
    else:
        assert await trim(maintenance, queue) == (3, 0)
    assert await snapshot(redis, queue) == {}


@pytest.mark.parametrize("place", ["completed", "archived"])
async def test_task_that_was_left_half_moved_and_lives_elsewhere_is_only_taken_out(
    redis: Redis, maintenance: Maintenance, queue: str, place: str
) -> None:
    states = {"waits": "pending", "runs": "active", "left by Go": "active"}
    for task_id, state in states.items():
        await redis.hset(keys.task(queue, task_id), mapping={"msg": "m", "state": state})
        await redis.zadd(keys.queue_prefix(queue) + place, {task_id: 1})
    await redis.hset(keys.task(queue, "runs"), "asyncq_claim", "claim")
    if place == "completed":
        assert await maintenance.delete_expired(queue, 10) == 3
    else:
        assert await trim(maintenance, queue) == (3, 0)
    assert set(await snapshot(redis, queue)) == {"t:waits", "t:runs"}
