"""list_expired.lua and list_orphans.lua: what nobody holds any more, and what only looks so."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis
from stored import a_message, moment, now_us, put_active, snapshot, take

from asyncq._broker import keys
from asyncq._broker.broker import Broker
from asyncq._broker.maintenance import Expired, Maintenance
from asyncq._broker.message import Leased, Unreadable
from asyncq._clock import Clock

pytestmark = pytest.mark.every_redis


async def expired_ids(maintenance: Maintenance, queue: str) -> list[str]:
    found, _ = await maintenance.list_expired(queue)
    return [e.held.message.id if isinstance(e.held, Leased) else e.held.id for e in found]


async def test_a_task_whose_lease_ran_out_is_listed_with_all_it_takes_to_recover_it(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    task = a_message(queue)
    await put_active(redis, task, 1, claim="claim")
    await redis.hset(keys.task(queue, "a"), "asyncq_recovered", 3)
    stored = await snapshot(redis, queue)
    assert await maintenance.list_expired(queue) == (
        [Expired(Leased(task, "claim", 0.0), times_recovered=3)],
        None,
    )
    assert await snapshot(redis, queue) == stored


@pytest.mark.parametrize(
    ("claim", "over_s", "listed"),
    [
        ("claim", -30, False),
        ("claim", 3, True),
        (None, 3, False),
        (None, 15, False),
        (None, 31, True),
    ],
)
async def test_leases_with_a_claim_have_a_shorter_grace_than_those_of_go(
    redis: Redis, queue: str, maintenance: Maintenance, claim: str | None, over_s: int, listed: bool
) -> None:
    await put_active(redis, a_message(queue), await now_us(redis) // 10**6 - over_s, claim=claim)
    assert await expired_ids(maintenance, queue) == (["a"] if listed else [])


async def test_the_graces_can_be_set(redis: Redis, queue: str, maintenance: Maintenance) -> None:
    soon = Maintenance(maintenance._connection, Clock(), claimed_grace_s=90, unclaimed_grace_s=50)
    now_s = await now_us(redis) // 10**6
    await put_active(redis, a_message(queue, "ours"), now_s - 95, claim="claim")
    await put_active(redis, a_message(queue, "ours, grace"), now_s - 60, claim="claim")
    await put_active(redis, a_message(queue, "go"), now_s - 55)
    await put_active(redis, a_message(queue, "go, grace"), now_s - 10)
    assert await expired_ids(soon, queue) == ["ours", "go"]


async def test_what_runs_is_not_listed_and_the_next_time_is_told(
    redis: Redis, queue: str, broker: Broker, maintenance: Maintenance
) -> None:
    await take(broker, a_message(queue, "1"), a_message(queue, "2"))
    lease_end_s = int((await snapshot(redis, queue))["lease"]["1"])
    async with moment(redis) as then:
        found, next_in_s = await maintenance.list_expired(queue)
    assert found == []
    assert next_in_s is not None
    over_ms = (lease_end_s + 2) * 1000
    assert over_ms - then.end_us / 1000 <= next_in_s * 1000 <= over_ms - then.start_us / 1000 + 1


async def test_a_hundred_are_listed_at_a_time_the_longest_over_first(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    for n in range(110):
        await put_active(redis, a_message(queue, f"{n:03}"), n + 1)
    assert await expired_ids(maintenance, queue) == [f"{n:03}" for n in range(100)]


async def test_leases_that_nobody_may_recover_yet_do_not_hide_the_others(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    over_s = await now_us(redis) // 10**6 - 10
    for n in range(150):
        await put_active(redis, a_message(queue, f"go {n}"), over_s)
        await put_active(redis, a_message(queue, f"stuck {n}"), 1)
        await redis.hset(keys.task(queue, f"stuck {n}"), "state", "pending")
        await redis.zadd(keys.lease(queue), {f"ghost {n}": 2})
    await put_active(redis, a_message(queue, "ours"), over_s + 1, claim="claim")
    assert await expired_ids(maintenance, queue) == ["ours"]


async def test_ghosts_are_cleared_however_many_and_hide_nothing(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    await redis.zadd(keys.lease(queue), {f"ghost {n}": 1 for n in range(150)})
    await put_active(redis, a_message(queue), 2)
    assert await expired_ids(maintenance, queue) == ["a"]
    assert await redis.zcard(keys.lease(queue)) == 1


async def test_an_undecodable_message_is_listed_as_such_among_the_others(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    await put_active(redis, a_message(queue, "1"), 1)
    await put_active(redis, a_message(queue, "bad"), 2, claim="claim")
    await put_active(redis, a_message(queue, "3"), 3)
    await redis.hset(keys.task(queue, "bad"), "msg", b"\xff")
    found, _ = await maintenance.list_expired(queue)
    assert [type(expired.held) for expired in found] == [Leased, Unreadable, Leased]
    bad = found[1].held
    assert isinstance(bad, Unreadable)
    assert (bad.id, bad.claim, bad.queue) == ("bad", "claim", queue)
    assert "not a TaskMessage" in bad.reason


@pytest.mark.parametrize("stub", [None, {"state": "active"}, {"result": "late"}])
async def test_a_ghost_without_a_message_is_removed(
    redis: Redis, queue: str, maintenance: Maintenance, stub: dict[Any, Any] | None
) -> None:
    await redis.lpush(keys.active(queue), "ghost")
    await redis.zadd(keys.lease(queue), {"ghost": 1})
    if stub:
        await redis.hset(keys.task(queue, "ghost"), mapping=stub)
    assert await maintenance.list_expired(queue) == ([], None)
    assert await snapshot(redis, queue) == {}


async def test_a_task_key_that_is_no_hash_is_set_aside(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    await put_active(redis, a_message(queue, "1"), 1)
    await redis.set(keys.task(queue, "bad"), "?")
    await redis.lpush(keys.active(queue), "bad")
    await redis.zadd(keys.lease(queue), {"bad": 1})
    assert await expired_ids(maintenance, queue) == ["1"]
    left = await snapshot(redis, queue)
    assert (left["active"], list(left["lease"])) == (["1"], ["1"])
    assert "WRONGTYPE" in left["asyncq:parked"]["bad"]


@pytest.mark.parametrize("state", ["retry", "archived", "completed", "scheduled"])
async def test_a_lease_of_a_task_that_stands_elsewhere_is_removed(
    redis: Redis, queue: str, maintenance: Maintenance, state: str
) -> None:
    task = a_message(queue)
    await put_active(redis, task, 1)
    await redis.hset(keys.task(queue, "a"), "state", state)
    await redis.zadd(keys.queue_prefix(queue) + state, {"a": 9e9})
    assert await maintenance.list_expired(queue) == ([], None)
    assert await snapshot(redis, queue) == {state: {"a": 9e9}, "t:a": {"msg": task, "state": state}}


@pytest.mark.parametrize("state", ["retry", "pending", "aggregating", "nonsense"])
async def test_a_lease_of_a_task_that_stands_nowhere_else_is_left_for_a_person(
    redis: Redis, queue: str, maintenance: Maintenance, state: str
) -> None:
    await put_active(redis, a_message(queue), 1)
    await redis.hset(keys.task(queue, "a"), "state", state)
    stored = await snapshot(redis, queue)
    assert await maintenance.list_expired(queue) == ([], None)
    assert await snapshot(redis, queue) == stored


async def test_expiry_goes_by_redis_clock(
    queue: str, broker: Broker, maintenance: Maintenance, clock: Clock
) -> None:
    await take(broker, a_message(queue))
    clock.skew += 25
    assert await expired_ids(maintenance, queue) == []
    clock.skew += 10
    assert await expired_ids(maintenance, queue) == ["a"]


# Ids in `active` without a lease.


async def test_active_ids_without_a_lease_are_orphans(
    redis: Redis, queue: str, broker: Broker, maintenance: Maintenance
) -> None:
    await take(broker, a_message(queue, "runs"))
    await redis.lpush(keys.active(queue), "b", "a")
    stored = await snapshot(redis, queue)
    assert await maintenance.list_orphans(queue, []) == ["a", "b"]
    assert await snapshot(redis, queue) == stored


async def test_orphans_seen_long_enough_get_a_lease_that_is_over(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    for task_id in ("young", "ripe"):
        await put_active(redis, a_message(queue, task_id), 1)
    await redis.delete(keys.lease(queue))
    assert await maintenance.list_orphans(queue, ["ripe", "gone"]) == ["young"]
    assert (await snapshot(redis, queue))["lease"] == {"ripe": 0}
    assert await expired_ids(maintenance, queue) == ["ripe"]


async def test_an_orphan_that_has_a_lease_by_now_keeps_it(
    redis: Redis, queue: str, broker: Broker, maintenance: Maintenance
) -> None:
    await take(broker, a_message(queue))
    stored = await snapshot(redis, queue)
    assert await maintenance.list_orphans(queue, ["a"]) == []
    assert await snapshot(redis, queue) == stored


async def test_orphans_without_a_task_are_removed_like_other_ghosts(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    await redis.lpush(keys.active(queue), "ghost", "ghost")
    await maintenance.list_orphans(queue, ["ghost"])
    assert await maintenance.list_expired(queue) == ([], None)
    assert await snapshot(redis, queue) == {}
