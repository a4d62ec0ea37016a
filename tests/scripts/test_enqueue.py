"""enqueue.lua: where a new task goes, and what a refused one leaves behind (nothing)."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis
from stored import Moment, a_lock, a_message, expiry, moment, new, now_us, snapshot, travel_to

from asyncq._broker import keys
from asyncq._broker.broker import Broker, Enqueued
from asyncq._clock import Clock
from asyncq.errors import DuplicateTaskError, RedisReplyError, TaskIdConflictError
from asyncq.task import TaskState

pytestmark = pytest.mark.every_redis

PENDING = Enqueued(TaskState.PENDING, 0)
AGGREGATING = Enqueued(TaskState.AGGREGATING, 0)


def pending(task: Any, then: Moment, **more: Any) -> dict[str, Any]:
    return {"msg": task, "state": "pending", "pending_since": then.ns(), **more}


async def test_a_task_for_now_is_pending(redis: Redis, queue: str, broker: Broker) -> None:
    task = a_message(queue)
    async with moment(redis) as then:
        assert await broker.enqueue([new(task)]) == [PENDING]
    assert await snapshot(redis, queue) == {"pending": ["a"], "t:a": pending(task, then)}
    assert await redis.sismember("asynq:queues", queue)


async def test_the_oldest_pending_task_stands_on_the_right(
    redis: Redis, queue: str, broker: Broker
) -> None:
    await broker.enqueue([new(a_message(queue, "1")), new(a_message(queue, "2"))])
    await broker.enqueue([new(a_message(queue, "3"))])
    assert await redis.lrange(keys.pending(queue), 0, -1) == [b"3", b"2", b"1"]


async def test_a_unique_task_takes_its_lock_for_its_time(
    redis: Redis, queue: str, broker: Broker
) -> None:
    lock = a_lock(queue)
    task = a_message(queue, unique_key=lock)
    async with moment(redis) as then:
        assert await broker.enqueue([new(task, unique_s=60)]) == [PENDING]
    assert await snapshot(redis, queue) == {
        "pending": ["a"],
        "t:a": pending(task, then, unique_key=lock),
        lock.removeprefix(keys.queue_prefix(queue)): "a",
    }
    assert (await expiry(redis, lock)).meets(then, later_s=60)


async def test_a_task_for_later_is_scheduled_in_whole_seconds_rounded_up(
    redis: Redis, queue: str, broker: Broker
) -> None:
    task = a_message(queue)
    async with moment(redis) as then:
        (result,) = await broker.enqueue([new(task, process_in_ms=90_500)])
    assert result == Enqueued(TaskState.SCHEDULED, then.ms(90_500))  # type: ignore[arg-type]
    assert await snapshot(redis, queue) == {
        "scheduled": {"a": then.s_up(90_500)},
        "t:a": {"msg": task, "state": "scheduled"},
    }


async def test_a_task_within_a_minute_also_stands_in_due_to_the_millisecond(
    redis: Redis, queue: str, broker: Broker
) -> None:
    task = a_message(queue)
    at = await now_us(redis) // 10**6 * 1000 + 30_001
    (result,) = await broker.enqueue([new(task, process_at_ms=at)])
    assert result == Enqueued(TaskState.SCHEDULED, at)
    assert await snapshot(redis, queue) == {
        "scheduled": {"a": at // 1000 + 1},
        "asyncq:due": {"a": at},
        "t:a": {"msg": task, "state": "scheduled"},
    }


async def test_a_time_on_a_whole_second_is_its_own_score(
    redis: Redis, queue: str, broker: Broker
) -> None:
    at_s = await now_us(redis) // 10**6 + 3600
    await broker.enqueue([new(a_message(queue), process_at_ms=at_s * 1000)])
    assert await redis.zscore(keys.scheduled(queue), "a") == at_s


@pytest.mark.parametrize("wait", [{"process_in_ms": 0}, {"process_at_ms": 1}, {"process_at_ms": 0}])
async def test_a_time_that_has_passed_means_now(
    redis: Redis, queue: str, broker: Broker, wait: dict[str, int]
) -> None:
    assert await broker.enqueue([new(a_message(queue), **wait)]) == [PENDING]
    assert await redis.exists(keys.scheduled(queue)) == 0


async def test_a_scheduled_unique_task_holds_its_lock_for_the_waiting_time_on_top(
    redis: Redis, queue: str, broker: Broker
) -> None:
    lock = a_lock(queue)
    task = a_message(queue, unique_key=lock)
    async with moment(redis) as then:
        await broker.enqueue([new(task, unique_s=60, process_in_ms=3_600_000)])
    assert await snapshot(redis, queue) == {
        "scheduled": {"a": then.s_up(3_600_000)},
        "t:a": {"msg": task, "state": "scheduled", "unique_key": lock},
        lock.removeprefix(keys.queue_prefix(queue)): "a",
    }
    assert (await expiry(redis, lock)).meets(then, later_s=3660)


async def test_a_task_with_a_group_joins_it(redis: Redis, queue: str, broker: Broker) -> None:
    task = a_message(queue, group_key="g")
    async with moment(redis) as then:
        assert await broker.enqueue([new(task)]) == [AGGREGATING]
    assert await snapshot(redis, queue) == {
        "groups": {"g"},
        "g:g": {"a": then.s()},
        "t:a": {"msg": task, "state": "aggregating", "group": "g"},
    }


async def test_a_grouped_unique_task_records_its_lock(
    redis: Redis, queue: str, broker: Broker
) -> None:
    lock = a_lock(queue)
    task = a_message(queue, group_key="g", unique_key=lock)
    async with moment(redis) as then:
        assert await broker.enqueue([new(task, unique_s=60)]) == [AGGREGATING]
    assert await snapshot(redis, queue) == {
        "groups": {"g"},
        "g:g": {"a": then.s()},
        "t:a": {"msg": task, "state": "aggregating", "group": "g", "unique_key": lock},
        lock.removeprefix(keys.queue_prefix(queue)): "a",
    }


async def test_a_group_with_a_future_time_waits_in_a_field_of_ours(
    redis: Redis, queue: str, broker: Broker
) -> None:
    task = a_message(queue, group_key="g")
    async with moment(redis) as then:
        await broker.enqueue([new(task, process_in_ms=120_000)])
    assert await snapshot(redis, queue) == {
        "scheduled": {"a": then.s_up(120_000)},
        "t:a": {"msg": task, "state": "scheduled", "asyncq_group": "g"},
    }


@pytest.mark.parametrize("state", ["pending", "active", "archived"])
async def test_an_id_that_exists_is_refused_whatever_its_state_and_nothing_changes(
    redis: Redis, queue: str, broker: Broker, state: str
) -> None:
    await redis.hset(keys.task(queue, "a"), mapping={"msg": b"theirs", "state": state})
    before = await snapshot(redis, queue)
    task = a_message(queue, unique_key=a_lock(queue))
    (result,) = await broker.enqueue([new(task, own_id=False, unique_s=60)])
    assert isinstance(result, TaskIdConflictError)
    assert (result.task_id, result.queue) == ("a", queue)
    assert await snapshot(redis, queue) == before  # no lock either


@pytest.mark.parametrize("how", [{}, {"process_in_ms": 10_000}, {"process_in_ms": 10**9}])
@pytest.mark.parametrize("group", ["", "g"])
async def test_a_held_lock_refuses_another_task_and_nothing_changes(
    redis: Redis, queue: str, broker: Broker, group: str, how: dict[str, int]
) -> None:
    lock = a_lock(queue)
    await redis.set(lock, "somebody")
    task = a_message(queue, unique_key=lock, group_key=group)
    (result,) = await broker.enqueue([new(task, unique_s=60, **how)])
    assert isinstance(result, DuplicateTaskError)
    assert (result.task_type, result.queue) == ("t", queue)
    assert await snapshot(redis, queue) == {lock.removeprefix(keys.queue_prefix(queue)): "somebody"}


@pytest.mark.parametrize(
    ("broken", "group", "how"),
    [
        ("pending", "", {}),
        ("scheduled", "", {"process_in_ms": 10_000}),
        ("groups", "g", {}),
        ("g:g", "g", {}),
    ],
)
async def test_a_refused_task_leaves_nothing_and_keeps_nothing_locked(
    redis: Redis, queue: str, broker: Broker, broken: str, group: str, how: dict[str, int]
) -> None:
    await redis.set(keys.queue_prefix(queue) + broken, "?")
    task = a_message(queue, unique_key=a_lock(queue), group_key=group)
    (result,) = await broker.enqueue([new(task, unique_s=60, **how)])
    assert isinstance(result, RedisReplyError)
    assert result.code == "WRONGTYPE"
    assert await snapshot(redis, queue) == {broken: "?"}


async def test_task_goes_by_its_score_where_something_else_stands_in_due(
    redis: Redis, queue: str, broker: Broker
) -> None:
    await redis.set(keys.due(queue), "?")
    async with moment(redis) as then:
        await broker.enqueue([new(a_message(queue), process_in_ms=10_000)])
    there = await snapshot(redis, queue)
    assert (there["scheduled"], there["asyncq:due"]) == ({"a": then.s_up(10_000)}, "?")


async def test_refused_plain_tasks_leave_nothing(redis: Redis, queue: str, broker: Broker) -> None:
    await redis.set(keys.pending(queue), "?")
    results = await broker.enqueue([new(a_message(queue, task_id)) for task_id in "abc"])
    for result in results:
        assert isinstance(result, RedisReplyError)
        assert result.code == "WRONGTYPE"
    assert await snapshot(redis, queue) == {"pending": "?"}


async def test_plain_task_named_twice_is_stored_once(
    redis: Redis, queue: str, broker: Broker
) -> None:
    results = await broker.enqueue([new(a_message(queue, task_id)) for task_id in "aba"])
    assert results == [PENDING] * 3
    assert await redis.lrange(keys.pending(queue), 0, -1) == [b"b", b"a"]


async def test_refused_items_do_not_touch_the_others_and_results_keep_their_places(
    redis: Redis, queue: str, broker: Broker
) -> None:
    await redis.set(keys.task(queue, "bad"), "no hash")
    await redis.hset(keys.task(queue, "taken"), "state", "archived")
    await redis.set(a_lock(queue), "somebody")
    other_queue = queue + "-other"
    results = await broker.enqueue(
        [
            new(a_message(queue, "1")),
            new(a_message(queue, "bad")),
            new(a_message(other_queue, "2", group_key="g")),
            new(a_message(queue, "taken"), own_id=False),
            new(a_message(queue, "3", unique_key=a_lock(queue)), unique_s=9),
            new(a_message(queue, "4"), own_id=False),
        ]
    )
    assert [type(result) for result in results] == [
        Enqueued,
        RedisReplyError,
        Enqueued,
        TaskIdConflictError,
        DuplicateTaskError,
        Enqueued,
    ]
    assert await redis.lrange(keys.pending(queue), 0, -1) == [b"4", b"1"]
    assert await redis.zrange(keys.group(other_queue, "g"), 0, -1) == [b"2"]


async def test_hundreds_of_tasks_of_several_queues_keep_their_order(
    redis: Redis, queue: str, broker: Broker
) -> None:
    queues = [f"{queue}-{n}" for n in range(3)]
    items = [new(a_message(queues[n % 3], f"{n:03}")) for n in range(750)]
    assert await broker.enqueue(items) == [PENDING] * 750
    for n, name in enumerate(queues):
        stored = [int(task_id) for task_id in await redis.lrange(keys.pending(name), 0, -1)]
        assert stored[::-1] == list(range(n, 750, 3))
        assert await redis.sismember("asynq:queues", name)


async def test_a_deleted_queue_is_announced_again_after_a_while(
    redis: Redis, queue: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await broker.enqueue([new(a_message(queue, "1"))])
    await redis.srem("asynq:queues", queue)
    monkeypatch.setattr(broker, "_announced", {queue: 0.0})
    await broker.enqueue([new(a_message(queue, "2"))])
    assert await redis.sismember("asynq:queues", queue)


async def test_waiting_times_count_from_redis_clock_not_the_callers(
    redis: Redis, queue: str, broker: Broker, clock: Clock
) -> None:
    await travel_to(redis, clock, 2_000_000_000_000)
    async with moment(redis, clock) as then:
        await broker.enqueue([new(a_message(queue), process_in_ms=100_000)])
    assert await redis.zscore(keys.scheduled(queue), "a") == then.s_up(100_000)


async def test_every_new_first_entry_of_due_is_announced_and_no_other(
    redis: Redis, queue: str, broker: Broker
) -> None:
    async with redis.pubsub(ignore_subscribe_messages=True) as listening:
        await listening.subscribe(keys.due_channel(queue), "end")
        at = await now_us(redis) // 10**6 * 1000 + 30_000
        for task_id, wait in {"1": 20_000, "2": 25_000, "3": 15_000, "far": 90_000}.items():
            await broker.enqueue([new(a_message(queue, task_id), process_at_ms=at + wait)])
        await redis.publish("end", "")
        heard: list[Any] = []
        while not heard or heard[-1]:
            message = await listening.get_message(timeout=None)
            heard += [message["data"]] if message else []
    assert heard == [b"%d" % (at + 20_000), b"%d" % (at + 15_000), b""]


async def test_due_does_not_grow_where_nobody_forwards(
    redis: Redis, queue: str, broker: Broker, clock: Clock
) -> None:
    await broker.enqueue([new(a_message(queue, "1"), process_in_ms=1_000)])
    assert 0 < await redis.pttl(keys.due(queue)) <= 180_000
    clock.skew += 122
    await broker.enqueue([new(a_message(queue, "2"), process_in_ms=1_000)])
    assert await redis.zrange(keys.due(queue), 0, -1) == [b"2"]
    assert await redis.zrange(keys.scheduled(queue), 0, -1) == [b"1", b"2"]
