"""finish_set.lua, drop_set.lua and reclaim_sets.lua: the ways an aggregation set ends."""

from __future__ import annotations

from typing import Any, cast

import pytest
from redis.asyncio import Redis
from stored import a_lock, a_message, moment, new, now_us, snapshot

from asyncq._broker import keys, scripts
from asyncq._broker.aggregation import Aggregation, AggregationSet
from asyncq._broker.broker import Broker, Enqueued
from asyncq._broker.connection import Call, Connection
from asyncq._clock import Clock
from asyncq.errors import DuplicateTaskError, RedisReplyError, TaskIdConflictError
from asyncq.task import TaskState

pytestmark = pytest.mark.every_redis

GROUPS = pytest.mark.parametrize("group", ["g", "user:1:email", "g:", ":", "a b"])


async def take_set(
    broker: Broker, aggregation: Aggregation, queue: str, *ids: str, group: str = "g", **part: Any
) -> AggregationSet:
    """A set of new tasks."""
    unique_s = 60 if "unique_key" in part else 0
    parts = [a_message(queue, task_id, group_key=group, **part) for task_id in ids]
    await broker.enqueue([new(message, unique_s=unique_s) for message in parts])
    return await take_again(aggregation, queue, group, len(ids))


async def take_again(aggregation: Aggregation, queue: str, group: str, size: int) -> AggregationSet:
    taken = await aggregation.take_set(queue, group, grace_s=10**6, max_delay_s=None, max_size=size)
    assert taken is not None
    return taken


def aggregated(queue: str, **changes: Any) -> Any:
    return a_message(queue, "result", **changes)


async def test_the_parts_become_one_task_in_one_step(
    redis: Redis, queue: str, broker: Broker, aggregation: Aggregation
) -> None:
    taken = await take_set(broker, aggregation, queue, "a", "b")
    async with moment(redis) as then:
        result = await aggregation.finish(taken, new(aggregated(queue)))
    assert result == Enqueued(TaskState.PENDING, 0)
    assert await snapshot(redis, queue) == {
        "pending": ["result"],
        "t:result": {"msg": aggregated(queue), "state": "pending", "pending_since": then.ns()},
    }


@pytest.mark.parametrize(
    ("changes", "how", "state"),
    [
        ({}, {"process_in_ms": 3_600_000}, TaskState.SCHEDULED),
        ({"group_key": "of results"}, {}, TaskState.AGGREGATING),
    ],
)
async def test_the_new_task_may_wait_or_join_a_group(
    redis: Redis,
    queue: str,
    broker: Broker,
    aggregation: Aggregation,
    changes: dict[str, str],
    how: dict[str, int],
    state: TaskState,
) -> None:
    taken = await take_set(broker, aggregation, queue, "a")
    result = await aggregation.finish(taken, new(aggregated(queue, **changes), **how))
    assert isinstance(result, Enqueued)
    assert result.state == state
    left = await snapshot(redis, queue)
    assert left["t:result"]["state"] == state
    assert not {"t:a", "aggregation_sets"} & set(left)


async def test_locks_of_the_parts_are_given_up_where_the_part_holds_them(
    redis: Redis, queue: str, broker: Broker, aggregation: Aggregation
) -> None:
    lock = a_lock(queue)
    taken = await take_set(broker, aggregation, queue, "a", unique_key=lock)
    assert await redis.get(lock) == b"a"
    await aggregation.finish(taken, new(aggregated(queue)))
    assert await redis.exists(lock) == 0


async def test_a_lock_that_somebody_else_holds_by_now_stays(
    redis: Redis, queue: str, broker: Broker, aggregation: Aggregation
) -> None:
    lock = a_lock(queue)
    taken = await take_set(broker, aggregation, queue, "a", unique_key=lock)
    await redis.set(lock, "somebody else")
    await aggregation.finish(taken, new(aggregated(queue)))
    assert await redis.get(lock) == b"somebody else"


async def test_the_new_task_may_take_a_lock_of_its_own(
    redis: Redis, queue: str, broker: Broker, aggregation: Aggregation
) -> None:
    taken = await take_set(broker, aggregation, queue, "a")
    lock = a_lock(queue)
    await aggregation.finish(taken, new(aggregated(queue, unique_key=lock), unique_s=60))
    assert await redis.get(lock) == b"result"


@pytest.mark.parametrize(
    ("error", "changes", "own_id"),
    [
        (DuplicateTaskError, {"unique": True}, True),
        (TaskIdConflictError, {}, False),
        (RedisReplyError, {"broken": True}, True),
    ],
)
async def test_where_the_new_task_is_refused_nothing_happens(
    redis: Redis,
    queue: str,
    broker: Broker,
    aggregation: Aggregation,
    error: type[Exception],
    changes: dict[str, bool],
    own_id: bool,
) -> None:
    taken = await take_set(broker, aggregation, queue, "a", "b")
    message = aggregated(queue)
    if "unique" in changes:
        message = aggregated(queue, unique_key=a_lock(queue))
        await redis.set(a_lock(queue), "somebody")
    elif "broken" in changes:
        await redis.set(keys.pending(queue), "?")
    else:
        await redis.hset(keys.task(queue, "result"), mapping={"msg": "m", "state": "pending"})
    stored = await snapshot(redis, queue)
    result = await aggregation.finish(taken, new(message, own_id=own_id, unique_s=60))
    assert isinstance(result, error)
    assert await snapshot(redis, queue) == stored


async def test_a_set_finished_again_is_gone_and_nothing_is_enqueued_twice(
    redis: Redis, queue: str, broker: Broker, aggregation: Aggregation
) -> None:
    taken = await take_set(broker, aggregation, queue, "a")
    await aggregation.finish(taken, new(aggregated(queue)))
    await broker.dequeue([(queue, 1)], "claim")
    stored = await snapshot(redis, queue)
    assert await aggregation.finish(taken, new(aggregated(queue))) is None
    assert await snapshot(redis, queue) == stored


async def test_a_set_that_was_reclaimed_is_not_finished(
    redis: Redis, queue: str, broker: Broker, aggregation: Aggregation, clock: Clock
) -> None:
    taken = await take_set(broker, aggregation, queue, "a", "b")
    clock.skew += 121
    assert await aggregation.reclaim(queue) == 1
    stored = await snapshot(redis, queue)
    assert await aggregation.finish(taken, new(aggregated(queue))) is None
    assert await snapshot(redis, queue) == stored


async def test_parts_that_could_not_be_read_are_set_aside_and_ghosts_dropped(
    redis: Redis, queue: str, broker: Broker, aggregation: Aggregation
) -> None:
    parts = [new(a_message(queue, i, group_key="g")) for i in ("a", "bytes", "gone", "stub")]
    await broker.enqueue(parts)
    await redis.hset(keys.task(queue, "bytes"), "msg", b"\xff")
    await redis.delete(keys.task(queue, "gone"))
    await redis.hdel(keys.task(queue, "stub"), "msg")
    taken = await take_again(aggregation, queue, "g", 4)
    async with moment(redis) as then:
        await aggregation.finish(taken, new(aggregated(queue)))
    left = await snapshot(redis, queue)
    assert set(left) == {"pending", "t:result", "archived", "t:bytes"}
    assert left["archived"] == {"bytes": then.s()}
    assert left["t:bytes"] == {
        "msg": b"\xff",
        "state": "archived",
        "group": "g",
        "asyncq_parked": "the message could not be read when its group was aggregated",
    }


async def test_a_part_whose_id_is_no_text_is_set_aside_too(
    redis: Redis, queue: str, broker: Broker, aggregation: Aggregation
) -> None:
    odd, key = b"\xff\xfe", keys.task_prefix(queue).encode() + b"\xff\xfe"
    await broker.enqueue([new(a_message(queue, "a", group_key="g"))])
    await redis.hset(cast(Any, key), mapping={"msg": b"\xff", "state": "aggregating"})
    await redis.zadd(keys.group(queue, "g"), {cast(Any, odd): 1})
    taken = await take_again(aggregation, queue, "g", 2)
    await aggregation.finish(taken, new(aggregated(queue)))
    assert await redis.zrange(keys.archived(queue), 0, -1) == [odd]
    assert await redis.hget(cast(Any, key), "msg") == b"\xff"


async def test_a_part_that_a_broken_archive_does_not_take_is_reclaimed(
    redis: Redis, queue: str, broker: Broker, aggregation: Aggregation, clock: Clock
) -> None:
    await broker.enqueue([new(a_message(queue, i, group_key="g")) for i in "ab"])
    await redis.hset(keys.task(queue, "a"), "msg", b"\xff")
    await redis.set(keys.archived(queue), "?")
    taken = await take_again(aggregation, queue, "g", 2)
    assert await aggregation.finish(taken, new(aggregated(queue))) is not None
    left = await snapshot(redis, queue)
    set_name = taken.key.removeprefix(keys.queue_prefix(queue))
    assert left[set_name].keys() == {"a"}
    assert set(left) - {set_name} == {"pending", "t:result", "archived", "t:a", "aggregation_sets"}
    clock.skew += 121
    assert await aggregation.reclaim(queue) == 1
    await redis.delete(keys.archived(queue))
    taken = await take_again(aggregation, queue, "g", 1)
    assert await aggregation.drop(taken)
    assert await redis.zrange(keys.archived(queue), 0, -1) == [b"a"]


async def test_sets_of_many_thousands_are_finished(
    redis: Redis, queue: str, broker: Broker, aggregation: Aggregation
) -> None:
    taken = await take_set(broker, aggregation, queue, *(str(n) for n in range(2500)))
    await aggregation.finish(taken, new(aggregated(queue)))
    assert set(await snapshot(redis, queue)) == {"pending", "t:result"}


# Dropped.


async def test_a_set_of_which_nothing_can_be_read_is_dropped(
    redis: Redis, queue: str, broker: Broker, aggregation: Aggregation
) -> None:
    await broker.enqueue([new(a_message(queue, i, group_key="g")) for i in ("bytes", "gone")])
    await redis.hset(keys.task(queue, "bytes"), "msg", b"\xff")
    await redis.delete(keys.task(queue, "gone"))
    taken = await take_again(aggregation, queue, "g", 2)
    async with moment(redis) as then:
        assert await aggregation.drop(taken)
    left = await snapshot(redis, queue)
    assert set(left) == {"archived", "t:bytes"}
    assert left["archived"] == {"bytes": then.s()}
    assert left["t:bytes"]["state"] == "archived"
    assert await aggregation.drop(taken) is False


async def test_a_set_with_a_part_that_can_be_read_is_not_dropped(
    redis: Redis, queue: str, broker: Broker, aggregation: Aggregation
) -> None:
    taken = await take_set(broker, aggregation, queue, "a")
    stored = await snapshot(redis, queue)
    assert await aggregation.drop(taken) is False
    assert await snapshot(redis, queue) == stored


# Reclaimed.


@GROUPS
async def test_tasks_of_an_overdue_set_return_to_their_group_and_it_is_known_again(
    redis: Redis, queue: str, broker: Broker, aggregation: Aggregation, clock: Clock, group: str
) -> None:
    messages = [a_message(queue, task_id, group_key=group) for task_id in "abc"]
    await broker.enqueue([new(message) for message in messages])
    before = await snapshot(redis, queue)
    await take_again(aggregation, queue, group, 3)
    clock.skew += 100
    assert await aggregation.reclaim(queue) == 0
    clock.skew += 21
    assert await aggregation.reclaim(queue) == 1
    assert await snapshot(redis, queue) == before


async def test_reclaimed_tasks_are_aggregated_with_those_that_came_since(
    queue: str, broker: Broker, aggregation: Aggregation, clock: Clock
) -> None:
    await take_set(broker, aggregation, queue, "a", "b")
    clock.skew += 121
    await broker.enqueue([new(a_message(queue, "c", group_key="g"))])
    await aggregation.reclaim(queue)
    taken = await take_again(aggregation, queue, "g", 3)
    assert [message.id for message in taken.messages] == ["a", "b", "c"]


async def test_the_deadline_can_be_set(
    redis: Redis, queue: str, broker: Broker, aggregation: Aggregation
) -> None:
    short = Aggregation(aggregation._connection, Clock(), deadline_s=7)
    async with moment(redis) as then:
        taken = await take_set(broker, short, queue, "a")
    assert await redis.zscore(keys.aggregation_sets(queue), taken.key) == then.s(7)


async def test_sets_of_several_groups_are_reclaimed_ten_at_a_time(
    redis: Redis, queue: str, broker: Broker, aggregation: Aggregation, clock: Clock
) -> None:
    for n in range(12):
        await take_set(broker, aggregation, queue, str(n), group=f"g{n}")
    clock.skew += 121
    assert [await aggregation.reclaim(queue) for _ in range(3)] == [10, 2, 0]
    assert await aggregation.groups(queue) == sorted(f"g{n}" for n in range(12))
    assert await redis.exists(keys.aggregation_sets(queue)) == 0


async def test_a_set_of_many_thousands_is_reclaimed(
    redis: Redis, queue: str, aggregation: Aggregation
) -> None:
    set_key = keys.aggregation_set(queue, "g", "an-id")
    await redis.zadd(set_key, {str(n): n for n in range(9000)})
    await redis.zadd(keys.aggregation_sets(queue), {set_key: 1})
    assert await aggregation.reclaim(queue) == 1
    assert await redis.zcard(keys.group(queue, "g")) == 9000
    assert await redis.exists(set_key) == 0


async def test_a_set_that_is_reclaimed_in_several_steps_is_gone_after_the_first(
    redis: Redis,
    queue: str,
    connection: Connection,
    broker: Broker,
    aggregation: Aggregation,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asyncq._broker.aggregation._RECLAIM_TASKS", 2)
    taken = await take_set(broker, aggregation, queue, *"abcde")
    clock.skew += 121
    steps: list[Any] = []

    run_one = connection.run_one

    async def step(call: Call) -> Any:
        answer = await run_one(call)
        if call.script is scripts.RECLAIM_SETS:
            steps.append(answer)
            assert await aggregation.finish(taken, new(aggregated(queue))) is None
        return answer

    monkeypatch.setattr(connection, "run_one", step)
    assert await aggregation.reclaim(queue) == 1
    assert steps == [[0, 1, b""], [0, 1, b""], [1, 0, b""]]
    assert await redis.zrange(keys.group(queue, "g"), 0, -1) == [b"a", b"b", b"c", b"d", b"e"]
    assert await redis.exists(keys.aggregation_sets(queue)) == 0


@pytest.mark.parametrize("name", ["nonsense", "asynq:{other}:g:g:id", ""])
async def test_names_that_are_no_sets_of_this_queue_are_dropped(
    redis: Redis, queue: str, aggregation: Aggregation, name: str
) -> None:
    now_s = await now_us(redis) // 10**6
    await redis.zadd(keys.aggregation_sets(queue), {name: 1, "not yet": now_s + 1000})
    await redis.zadd(name, {"somebody's": 1})
    assert await aggregation.reclaim(queue) == 1
    assert await redis.zrange(name, 0, -1) == [b"somebody's"]
    assert await snapshot(redis, queue) == {"aggregation_sets": {"not yet": now_s + 1000}}


@pytest.mark.parametrize("broken", ["g:bad", "g:bad:set", "groups"])
async def test_a_set_that_cannot_be_reclaimed_loses_nothing_and_does_not_stop_the_others(
    redis: Redis, queue: str, aggregation: Aggregation, broken: str
) -> None:
    prefix = keys.queue_prefix(queue)
    for n, name in enumerate(("g:bad:set", "g:good:set")):
        if name != broken:
            await redis.zadd(prefix + name, {name: 1})
        await redis.zadd(keys.aggregation_sets(queue), {prefix + name: n})
    await redis.set(prefix + broken, "?")
    if broken != "groups":
        assert await aggregation.reclaim(queue) == 1
    with pytest.raises(RedisReplyError, match="WRONGTYPE"):
        await aggregation.reclaim(queue)
    left = await snapshot(redis, queue)
    assert prefix + "g:bad:set" in left["aggregation_sets"]
    assert left["g:bad:set"] == ("?" if broken == "g:bad:set" else {"g:bad:set": 1})
    if broken != "groups":
        assert (left["g:good"], left["groups"]) == ({"g:good:set": 1}, {"good"})
        assert prefix + "g:good:set" not in left["aggregation_sets"]


async def test_a_set_that_cannot_be_reclaimed_does_not_stop_one_that_takes_several_steps(
    redis: Redis, queue: str, aggregation: Aggregation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncq._broker.aggregation._RECLAIM_TASKS", 2)
    bad, good = (keys.aggregation_set(queue, "g", name) for name in ("bad", "good"))
    await redis.set(bad, "?")
    await redis.zadd(good, dict.fromkeys("abcde", 1))
    await redis.zadd(keys.aggregation_sets(queue), {bad: 0, good: 1})
    assert await aggregation.reclaim(queue) == 1
    with pytest.raises(RedisReplyError, match="WRONGTYPE"):
        await aggregation.reclaim(queue)
    assert await redis.zrange(keys.group(queue, "g"), 0, -1) == [b"a", b"b", b"c", b"d", b"e"]
    assert await redis.zrange(keys.aggregation_sets(queue), 0, -1) == [bad.encode()]
