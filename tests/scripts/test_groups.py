"""check_group.lua and read_set.lua: when a group becomes a set, and which of its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from redis.asyncio import Redis
from stored import a_message, moment, new, now_us, snapshot

from asyncq._broker import keys
from asyncq._broker.aggregation import Aggregation, AggregationSet
from asyncq._broker.broker import Broker
from asyncq._broker.codec import encode_task
from asyncq._clock import Clock
from asyncq.errors import RedisReplyError

pytestmark = pytest.mark.every_redis

NEVER: dict[str, Any] = {"grace_s": 10**6, "max_delay_s": None, "max_size": None}


async def put_group(redis: Redis, queue: str, group: str, scores: Mapping[str, float]) -> None:
    """Tasks as asynq puts them into a group."""
    async with redis.pipeline(transaction=False) as pipeline:
        for task_id in scores:
            message = encode_task(a_message(queue, task_id, group_key=group))
            fields: dict[Any, Any] = {"msg": message, "state": "aggregating", "group": group}
            await pipeline.hset(keys.task(queue, task_id), mapping=fields)
        await pipeline.zadd(keys.group(queue, group), dict(scores))
        await pipeline.sadd(keys.groups(queue), group)
        await pipeline.execute()


async def take_set(
    aggregation: Aggregation, queue: str, group: str = "g", **when: Any
) -> AggregationSet | None:
    return await aggregation.take_set(queue, group, **(NEVER | when))


async def take_ids(aggregation: Aggregation, queue: str, **when: Any) -> list[str] | None:
    taken = await take_set(aggregation, queue, **when)
    return [message.id for message in taken.messages] if taken else None


async def ages(redis: Redis, **seconds_ago: int) -> dict[str, float]:
    now_s = await now_us(redis) // 10**6
    return {task_id: now_s - ago for task_id, ago in seconds_ago.items()}


async def test_a_group_without_a_largest_size_becomes_sets_of_some_thousands(
    redis: Redis, queue: str, aggregation: Aggregation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncq._broker.aggregation.MOST_IN_SET", 2)
    await put_group(redis, queue, "g", await ages(redis, a=50, b=40, c=30))
    assert await take_ids(aggregation, queue, grace_s=10) == ["a", "b"]
    assert await take_ids(aggregation, queue, grace_s=10) == ["c"]
    assert await aggregation.groups(queue) == []


async def test_a_set_holds_the_tasks_with_their_scores_until_its_deadline(
    redis: Redis, queue: str, aggregation: Aggregation
) -> None:
    scores = await ages(redis, a=50, b=40)
    await put_group(redis, queue, "g", scores)
    before = await snapshot(redis, queue)
    async with moment(redis) as then:
        taken = await take_set(aggregation, queue, max_size=2)
    assert taken is not None
    assert (taken.queue, taken.group, taken.unreadable) == (queue, "g", [])
    assert taken.messages == [before["t:a"]["msg"], before["t:b"]["msg"]]
    set_name = taken.key.removeprefix(keys.queue_prefix(queue))
    assert set_name.startswith("g:g:")
    assert len(set_name) == len("g:g:") + 36
    assert await snapshot(redis, queue) == {
        set_name: scores,
        "aggregation_sets": {taken.key: then.s(120)},
        "t:a": before["t:a"],
        "t:b": before["t:b"],
    }


async def test_a_group_that_need_not_be_aggregated_yet_is_left_alone(
    redis: Redis, queue: str, aggregation: Aggregation
) -> None:
    await put_group(redis, queue, "g", await ages(redis, a=50, b=40))
    before = await snapshot(redis, queue)
    assert await take_set(aggregation, queue, max_size=3, max_delay_s=1000) is None
    assert await snapshot(redis, queue) == before


async def test_the_name_of_an_empty_group_is_removed(
    redis: Redis, queue: str, aggregation: Aggregation
) -> None:
    await redis.sadd(keys.groups(queue), "g", "other")
    assert await take_set(aggregation, queue, max_size=1) is None
    assert await snapshot(redis, queue) == {"groups": {"other"}}


@pytest.mark.parametrize(
    ("max_size", "taken", "left"),
    [(2, "ab", "c"), (3, "abc", ""), (4, None, "abc"), (1, "a", "bc"), (None, None, "abc")],
)
async def test_a_full_group_gives_its_oldest_and_stays_known_while_some_are_left(
    redis: Redis,
    queue: str,
    aggregation: Aggregation,
    max_size: int | None,
    taken: str | None,
    left: str,
) -> None:
    await put_group(redis, queue, "g", await ages(redis, c=30, a=50, b=40))
    found = await take_ids(aggregation, queue, max_size=max_size)
    assert found == (list(taken) if taken else None)
    assert await redis.zrange(keys.group(queue, "g"), 0, -1) == [i.encode() for i in left]
    assert await redis.sismember(keys.groups(queue), "g") == bool(left)


async def test_ties_go_by_id(redis: Redis, queue: str, aggregation: Aggregation) -> None:
    await put_group(redis, queue, "g", dict.fromkeys(["c", "a", "d", "b"], 1))
    assert await take_ids(aggregation, queue, max_size=3) == ["a", "b", "c"]
    assert await redis.zrange(keys.group(queue, "g"), 0, -1) == [b"d"]


@pytest.mark.parametrize(
    ("max_delay_s", "due"), [(50, True), (49.9, True), (1000, False), (0.9, False), (None, False)]
)
async def test_a_group_whose_oldest_waited_long_enough_is_taken(
    redis: Redis, queue: str, aggregation: Aggregation, max_delay_s: float | None, due: bool
) -> None:
    await put_group(redis, queue, "g", await ages(redis, a=50, b=0))
    found = await take_ids(aggregation, queue, max_delay_s=max_delay_s)
    assert found == (["a", "b"] if due else None)
    assert await redis.exists(keys.groups(queue)) == (not due)


@pytest.mark.parametrize(("grace_s", "due"), [(40, True), (1000, False)])
async def test_a_group_is_taken_once_its_newest_is_as_old_as_the_grace(
    redis: Redis, queue: str, aggregation: Aggregation, grace_s: int, due: bool
) -> None:
    await put_group(redis, queue, "g", await ages(redis, a=5000, b=40))
    found = await take_ids(aggregation, queue, grace_s=grace_s)
    assert found == (["a", "b"] if due else None)
    assert await redis.exists(keys.groups(queue)) == (not due)


@pytest.mark.parametrize("why", [{"max_delay_s": 10}, {"grace_s": 10}])
async def test_no_set_is_larger_than_allowed_whatever_the_reason(
    redis: Redis, queue: str, aggregation: Aggregation, why: dict[str, Any]
) -> None:
    await put_group(redis, queue, "g", await ages(redis, a=50, b=40, c=30))
    assert await take_ids(aggregation, queue, max_size=2, **why) == ["a", "b"]
    assert await redis.smembers(keys.groups(queue)) == {b"g"}
    assert await take_ids(aggregation, queue, max_size=2, **why) == ["c"]
    assert await redis.exists(keys.groups(queue)) == 0


async def test_ages_go_by_redis_clock(
    queue: str, broker: Broker, aggregation: Aggregation, clock: Clock
) -> None:
    await broker.enqueue([new(a_message(queue, group_key="g"))])
    assert await take_ids(aggregation, queue, grace_s=600) is None
    clock.skew += 601
    assert await take_ids(aggregation, queue, grace_s=600) == ["a"]


async def test_many_thousands_are_taken_and_read(
    redis: Redis, queue: str, aggregation: Aggregation
) -> None:
    await put_group(redis, queue, "g", {f"{n:05}": n for n in range(12_000)})
    taken = await take_ids(aggregation, queue, max_size=10_500)
    assert taken == [f"{n:05}" for n in range(10_500)]
    assert await redis.zcard(keys.group(queue, "g")) == 1500
    assert len(await take_ids(aggregation, queue, grace_s=0) or ()) == 1500


@pytest.mark.parametrize("size", [499, 500, 501, 1000])
async def test_sets_at_the_edge_of_a_slice_are_read_whole(
    redis: Redis, queue: str, aggregation: Aggregation, size: int
) -> None:
    await put_group(redis, queue, "g", {f"{n:04}": n for n in range(size)})
    assert await take_ids(aggregation, queue, max_size=size) == [f"{n:04}" for n in range(size)]


@pytest.mark.parametrize("broken", ["aggregation_sets", "groups"])
async def test_no_task_is_lost_where_redis_refuses_a_part_of_it(
    redis: Redis, queue: str, aggregation: Aggregation, clock: Clock, broken: str
) -> None:
    await put_group(redis, queue, "g", {"a": 1})
    await redis.delete(keys.groups(queue))
    await redis.set(keys.queue_prefix(queue) + broken, "?")
    with pytest.raises(RedisReplyError, match="WRONGTYPE"):
        await take_set(aggregation, queue, max_size=1)
    await redis.delete(keys.queue_prefix(queue) + broken)
    clock.skew += 121
    await aggregation.reclaim(queue)
    assert await take_ids(aggregation, queue, max_size=1) == ["a"]


async def test_members_that_cannot_be_read_are_named(
    redis: Redis, queue: str, aggregation: Aggregation
) -> None:
    await put_group(redis, queue, "g", {"a": 1, "bytes": 2, "gone": 3, "string": 4, "b": 5})
    await redis.hset(keys.task(queue, "bytes"), "msg", b"\xff")
    await redis.delete(keys.task(queue, "gone"))
    await redis.set(keys.task(queue, "string"), "?")
    taken = await take_set(aggregation, queue, max_size=5)
    assert taken is not None
    assert [message.id for message in taken.messages] == ["a", "b"]
    assert taken.unreadable == [b"bytes", b"gone", b"string"]


async def test_names_of_groups_are_listed_and_those_nobody_can_name_left_out(
    redis: Redis, queue: str, aggregation: Aggregation
) -> None:
    assert await aggregation.groups(queue) == []
    await redis.sadd(keys.groups(queue), "b", "a:1", "caf\u00e9", b"\xff")
    assert await aggregation.groups(queue) == ["a:1", "b", "caf\u00e9"]
