"""dequeue.lua: pending to active, in batches, whatever stands in `pending`."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from redis.asyncio import Redis
from stored import Moment, a_lock, a_message, moment, new, put_active, snapshot, take

from asyncq._broker import keys
from asyncq._broker.broker import Broker, Fetched
from asyncq._broker.codec import encode_task
from asyncq._broker.connection import Connection
from asyncq._broker.message import Leased, Unreadable
from asyncq._clock import Clock
from asyncq.errors import RedisReplyError

pytestmark = pytest.mark.every_redis


async def fetch(broker: Broker, queue: str, limit: int, claim: str = "c", **how: int) -> Fetched:
    (fetched,) = await broker.dequeue([(queue, limit)], claim, **how)
    assert isinstance(fetched, Fetched), fetched
    return fetched


def ids(fetched: Fetched) -> list[str]:
    return [task.message.id if isinstance(task, Leased) else task.id for task in fetched.tasks]


async def add(broker: Broker, queue: str, *task_ids: str) -> None:
    await broker.enqueue([new(a_message(queue, task_id)) for task_id in task_ids])


def active(task: Any, claim: str = "c", **more: str) -> dict[str, Any]:
    return {"msg": task, "state": "active", "asyncq_claim": claim, **more}


async def test_a_task_taken_is_active_with_a_lease_and_the_claim(
    redis: Redis, queue: str, broker: Broker
) -> None:
    task = a_message(queue)
    await broker.enqueue([new(task)])
    before = time.monotonic()
    async with moment(redis) as then:
        fetched = await fetch(broker, queue, 1)
    (leased,) = fetched.tasks
    assert isinstance(leased, Leased)
    assert (leased.message, leased.claim) == (task, "c")
    assert before + 29 <= leased.lease_until <= time.monotonic() + 29
    assert (fetched.queue, fetched.paused, fetched.dropped, fetched.left) == (queue, False, [], 0)
    assert await snapshot(redis, queue) == {
        "active": ["a"],
        "lease": {"a": then.s(30)},
        "t:a": active(task),
    }


async def test_an_empty_queue_gives_nothing_and_writes_nothing(
    redis: Redis, queue: str, broker: Broker
) -> None:
    assert await fetch(broker, queue, 5) == Fetched(queue, False, [], [], 0)
    assert await snapshot(redis, queue) == {}


async def test_a_paused_queue_gives_nothing_and_says_so(
    redis: Redis, queue: str, broker: Broker
) -> None:
    await add(broker, queue, "1", "2")
    await redis.set(keys.paused(queue), 1700000000)
    stored = await snapshot(redis, queue)
    assert await fetch(broker, queue, 5) == Fetched(queue, True, [], [], 2)
    assert await snapshot(redis, queue) == stored


@pytest.mark.parametrize(
    ("limit", "taken", "left"), [(1, "1", 4), (3, "123", 2), (5, "12345", 0), (9, "12345", 0)]
)
async def test_the_oldest_are_taken_first_up_to_the_limit(
    redis: Redis, queue: str, broker: Broker, limit: int, taken: str, left: int
) -> None:
    await add(broker, queue, *"12345")
    fetched = await fetch(broker, queue, limit)
    assert ids(fetched) == list(taken)
    assert fetched.left == left
    assert await redis.lrange(keys.active(queue), 0, -1) == [i.encode() for i in reversed(taken)]
    assert await redis.llen(keys.pending(queue)) == left


async def test_newer_running_tasks_stand_to_the_left_of_older_ones(
    redis: Redis, queue: str, broker: Broker
) -> None:
    await add(broker, queue, *"1234")
    await fetch(broker, queue, 2)
    await fetch(broker, queue, 2)
    assert await redis.lrange(keys.active(queue), 0, -1) == [b"4", b"3", b"2", b"1"]


async def test_no_call_takes_more_than_a_thousand(redis: Redis, queue: str, broker: Broker) -> None:
    await add(broker, queue, *(f"{n:04}" for n in range(1001)))
    fetched = await fetch(broker, queue, 5000)
    assert ids(fetched) == [f"{n:04}" for n in range(1000)]
    assert fetched.left == 1
    assert await redis.zcard(keys.lease(queue)) == 1000


async def test_no_task_is_given_to_two_workers(queue: str, broker: Broker) -> None:
    await add(broker, queue, *(str(n) for n in range(100)))
    workers = [fetch(broker, queue, 7, f"worker {n}") for n in range(20)]
    taken = [task_id for fetched in await asyncio.gather(*workers) for task_id in ids(fetched)]
    assert sorted(taken) == sorted(str(n) for n in range(100))


async def test_several_queues_answer_in_one_round_trip_each_for_itself(
    redis: Redis, queue: str, broker: Broker
) -> None:
    broken, other = queue + "-broken", queue + "-other"
    await redis.set(keys.pending(broken), "no list")
    await add(broker, queue, "1")
    await add(broker, other, "2", "3")
    calls: list[int] = []
    broker.connection.on_call = lambda sent, seconds, error: calls.append(len(sent))
    first, second, third = await broker.dequeue([(queue, 1), (broken, 1), (other, 1)], "c")
    assert calls == [3]
    assert isinstance(first, Fetched)
    assert isinstance(second, RedisReplyError)
    assert second.code == "WRONGTYPE"
    assert isinstance(third, Fetched)
    assert (ids(first), ids(third)) == (["1"], ["2"])


async def test_fields_that_belong_to_waiting_are_removed_and_all_others_kept(
    redis: Redis, queue: str, broker: Broker
) -> None:
    lock = a_lock(queue)
    task = a_message(queue, unique_key=lock)
    fields = {
        "msg": encode_task(task),
        "state": "pending",
        "pending_since": "1",
        "group": "g",
        "unique_key": lock,
        "result": "old",
        "asyncq_group": "g",
        "somebodys_own": "kept",
    }
    await redis.hset(keys.task(queue, "a"), mapping=fields)  # type: ignore[arg-type]  # invariant
    await redis.lpush(keys.pending(queue), "a")
    await fetch(broker, queue, 1)
    assert (await snapshot(redis, queue))["t:a"] == active(
        task, group="g", unique_key=lock, result="old", somebodys_own="kept"
    )


async def test_a_lease_lasts_as_long_as_the_broker_says_by_redis_clock(
    redis: Redis, queue: str, broker: Broker, clock: Clock
) -> None:
    clock.skew = 5_000.0
    short = Broker(broker.connection, clock, lease_s=7)
    await add(broker, queue, "a")
    async with moment(redis, clock) as then:
        await fetch(short, queue, 1)
    assert await redis.zscore(keys.lease(queue), "a") == then.s(7)


# Sent again after a lost reply.


async def test_a_dequeue_sent_again_returns_what_the_first_took_with_new_leases(
    redis: Redis, queue: str, broker: Broker, clock: Clock
) -> None:
    await add(broker, queue, *"12345")
    await fetch(broker, queue, 2, "mine")
    await fetch(broker, queue, 1, "theirs")
    clock.skew += 10
    async with moment(redis, clock) as then:
        fetched = await fetch(broker, queue, 3, "mine", again=1)
    assert ids(fetched) == ["1", "2", "4"]
    assert fetched.left == 1
    leases = (await snapshot(redis, queue))["lease"]
    assert leases.pop("3") < then.s(30).low
    assert leases == {"1": then.s(30), "2": then.s(30), "4": then.s(30)}


@pytest.mark.parametrize("paused", [True, False])
async def test_what_the_first_call_took_comes_back_and_no_more_than_the_limit(
    redis: Redis, queue: str, broker: Broker, paused: bool
) -> None:
    await add(broker, queue, *"123")
    await fetch(broker, queue, 2)
    if paused:
        await redis.set(keys.paused(queue), 1)
    fetched = await fetch(broker, queue, 2, again=1)
    assert ids(fetched) == ["1", "2"]
    assert fetched.left == 1


async def test_a_dequeue_sent_again_that_never_arrived_takes_as_the_first_would(
    queue: str, broker: Broker
) -> None:
    await add(broker, queue, *"123")
    assert ids(await fetch(broker, queue, 2, again=1)) == ["1", "2"]


async def test_a_sending_that_arrives_after_a_later_one_takes_nothing(
    redis: Redis, queue: str, broker: Broker
) -> None:
    await add(broker, queue, *"12345")
    assert ids(await fetch(broker, queue, 2, again=2)) == ["1", "2"]
    before = await snapshot(redis, queue)
    for late in (0, 1):
        fetched = await fetch(broker, queue, 2, again=late)
        assert (ids(fetched), fetched.left) == ([], 3)
    assert await snapshot(redis, queue) == before
    # Another call is not concerned, and neither is the next sending of the same.
    assert ids(await fetch(broker, queue, 1, "another")) == ["3"]
    assert ids(await fetch(broker, queue, 3, again=3)) == ["1", "2", "4"]


async def test_what_is_kept_of_a_call_sent_again_expires(
    redis: Redis, queue: str, broker: Broker
) -> None:
    await fetch(broker, queue, 1, "once")
    assert not await redis.exists(keys.fetch(queue, "once"))
    await fetch(broker, queue, 1, "again", again=1)
    assert 0 < await redis.ttl(keys.fetch(queue, "again")) <= 3600


# What else may stand in `pending`.


async def test_an_id_without_a_task_is_dropped(redis: Redis, queue: str, broker: Broker) -> None:
    await add(broker, queue, "1")
    await redis.lpush(keys.pending(queue), "ghost")
    await add(broker, queue, "2")
    fetched = await fetch(broker, queue, 3)
    assert ids(fetched) == ["1", "2"]
    assert fetched.dropped == [("ghost", "it has no message")]
    left = await snapshot(redis, queue)
    assert set(left) == {"active", "lease", "t:1", "t:2"}
    assert left["active"] == ["2", "1"]


async def test_what_is_left_of_a_hash_without_a_message_is_deleted(
    redis: Redis, queue: str, broker: Broker
) -> None:
    await redis.hset(keys.task(queue, "stub"), "state", "pending")
    await redis.lpush(keys.pending(queue), "stub")
    assert (await fetch(broker, queue, 1)).dropped == [("stub", "it has no message")]
    assert await snapshot(redis, queue) == {}


@pytest.mark.parametrize("where", ["running", "same batch"])
async def test_a_second_entry_of_a_running_task_is_dropped(
    redis: Redis, queue: str, broker: Broker, where: str
) -> None:
    if where == "running":
        await take(broker, a_message(queue))
        stored = await snapshot(redis, queue)
        await redis.lpush(keys.pending(queue), "a")
        fetched = await fetch(broker, queue, 2, "another")
        assert ids(fetched) == []
        assert await snapshot(redis, queue) == stored
    else:
        await add(broker, queue, "a")
        await redis.lpush(keys.pending(queue), "a")
        fetched = await fetch(broker, queue, 2)
        assert ids(fetched) == ["a"]
        assert await redis.lrange(keys.active(queue), 0, -1) == [b"a"]
    assert fetched.dropped == [("a", "it is running already")]


async def test_a_task_left_active_without_lease_or_list_is_taken(
    redis: Redis, queue: str, broker: Broker
) -> None:
    task = a_message(queue)
    await put_active(redis, task, 0, claim="of old")
    await redis.delete(keys.active(queue), keys.lease(queue))
    await redis.lpush(keys.pending(queue), "a")
    async with moment(redis) as then:
        assert ids(await fetch(broker, queue, 1)) == ["a"]
    assert await snapshot(redis, queue) == {
        "active": ["a"],
        "lease": {"a": then.s(30)},
        "t:a": active(task),
    }


async def test_a_task_key_that_is_no_hash_is_set_aside_and_does_not_stop_the_others(
    redis: Redis, queue: str, broker: Broker
) -> None:
    await add(broker, queue, "1")
    await redis.set(keys.task(queue, "bad"), "somebody's")
    await redis.lpush(keys.pending(queue), "bad")
    await add(broker, queue, "2")
    fetched = await fetch(broker, queue, 3)
    assert ids(fetched) == ["1", "2"]
    ((dropped, why),) = fetched.dropped
    assert (dropped, "WRONGTYPE" in why) == ("bad", True)
    left = await snapshot(redis, queue)
    assert left["asyncq:parked"] == {"bad": why}
    assert left["t:bad"] == "somebody's"
    assert "pending" not in left


def unreadable_messages(queue: str) -> dict[str, bytes]:
    return {
        "no protobuf": b"\xff\xff",
        "another id": encode_task(a_message(queue, "b")),
        "another queue": encode_task(a_message(queue + "-other", "a")),
    }


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("no protobuf", "not a TaskMessage"),
        ("another id", "task 'b' of queue"),
        ("another queue", "-other"),
    ],
)
async def test_a_message_that_cannot_be_run_comes_back_unreadable_but_held(
    redis: Redis, queue: str, broker: Broker, kind: str, reason: str
) -> None:
    data = unreadable_messages(queue)[kind]
    await redis.hset(keys.task(queue, "a"), mapping={"msg": data, "state": "pending"})
    await redis.lpush(keys.pending(queue), "a")
    async with moment(redis) as then:
        fetched = await fetch(broker, queue, 1)
    (task,) = fetched.tasks
    assert isinstance(task, Unreadable)
    assert (task.queue, task.id, task.claim) == (queue, "a", "c")
    assert reason in task.reason
    assert_held(await snapshot(redis, queue), then)


def assert_held(left: dict[str, Any], then: Moment) -> None:
    assert left["active"] == ["a"]
    assert left["lease"] == {"a": then.s(30)}
    assert (left["t:a"]["state"], left["t:a"]["asyncq_claim"]) == ("active", "c")


async def test_a_task_whose_taking_failed_half_way_is_taken_by_the_next(
    redis: Redis, queue: str, broker: Broker
) -> None:
    await add(broker, queue, "1")
    await redis.set(keys.active(queue), "no list")
    (result,) = await broker.dequeue([(queue, 1)], "c")
    assert isinstance(result, RedisReplyError)
    await redis.delete(keys.active(queue))
    assert ids(await fetch(broker, queue, 1, "another")) == ["1"]


async def test_how_long_tasks_were_pending_is_told_of_some_if_asked_for(
    redis: Redis, queue: str, connection: Connection, clock: Clock
) -> None:
    broker = Broker(connection, clock, asks_waits=2)
    await add(broker, queue, "a", "b", "c", "d")
    since_ns = int(await redis.hget(keys.task(queue, "a"), "pending_since") or 0)
    await redis.hset(keys.task(queue, "a"), "pending_since", since_ns - 3 * 10**9)
    fetched = await fetch(broker, queue, 4)
    assert ids(fetched) == ["a", "b", "c", "d"]
    first, third = fetched.waited
    assert (first[0], third[0]) == (0, 2)
    assert first[1] >= 3_000_000
    assert third[1] >= 0
    # What has been taken before is pending no more.
    again = await fetch(broker, queue, 4, again=1)
    assert (ids(again), again.waited) == (["a", "b", "c", "d"], ())
    late = await fetch(broker, queue, 4)
    assert (ids(late), late.waited) == ([], ())


async def test_a_task_that_does_not_say_since_when_it_is_pending_is_left_out(
    redis: Redis, queue: str, connection: Connection, clock: Clock
) -> None:
    broker = Broker(connection, clock, asks_waits=10)
    await add(broker, queue, "a", "b", "c")
    await redis.hdel(keys.task(queue, "a"), "pending_since")
    await redis.hset(keys.task(queue, "b"), "pending_since", "yesterday")
    fetched = await fetch(broker, queue, 3)
    assert ids(fetched) == ["a", "b", "c"]
    assert [index for index, _ in fetched.waited] == [2]
