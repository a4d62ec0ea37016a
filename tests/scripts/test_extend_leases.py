"""extend_leases.lua and write_result.lua: what only the holder of the claim may do."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis
from stored import a_message, moment, put_active, snapshot, take

from asyncq._broker import keys
from asyncq._broker.broker import Broker
from asyncq._broker.outcome import Done, Requeued
from asyncq._clock import Clock
from asyncq.errors import RedisReplyError

pytestmark = pytest.mark.every_redis


async def test_leases_of_ours_are_renewed_for_their_whole_time(
    redis: Redis, queue: str, broker: Broker, clock: Clock
) -> None:
    await take(broker, a_message(queue, "1"), a_message(queue, "2"))
    clock.skew += 20
    async with moment(redis, clock) as then:
        assert await broker.extend_leases(queue, [("1", "claim"), ("2", "claim")]) == [True, True]
    assert (await snapshot(redis, queue))["lease"] == {"1": then.s(30), "2": then.s(30)}


async def test_a_lease_that_ran_out_but_was_not_recovered_is_renewed(
    redis: Redis, queue: str, broker: Broker, clock: Clock
) -> None:
    await take(broker, a_message(queue))
    clock.skew += 100
    async with moment(redis, clock) as then:
        assert await broker.extend_leases(queue, [("a", "claim")]) == [True]
    assert await redis.zscore(keys.lease(queue), "a") == then.s(30)


async def test_what_is_no_longer_ours_is_told_and_left_alone(
    redis: Redis, queue: str, broker: Broker, clock: Clock
) -> None:
    requeued, done, _ = await take(
        broker, a_message(queue, "requeued"), a_message(queue, "done"), a_message(queue, "ours")
    )
    await put_active(redis, a_message(queue, "theirs"), 1, claim="another")
    await put_active(redis, a_message(queue, "go"), 1)
    await redis.set(keys.task(queue, "no hash"), "?")
    await broker.settle([Requeued(requeued), Done(done)])
    stored = await snapshot(redis, queue)
    names = ["requeued", "done", "ours", "theirs", "go", "no hash", "unknown"]
    clock.skew += 10
    async with moment(redis, clock) as then:
        renewed = await broker.extend_leases(queue, [(name, "claim") for name in names])
    assert renewed == [name == "ours" for name in names]
    stored["lease"]["ours"] = then.s(30)
    assert await snapshot(redis, queue) == stored


async def test_more_leases_than_one_script_takes_are_renewed_in_several(
    redis: Redis, queue: str, broker: Broker, clock: Clock
) -> None:
    messages = [a_message(queue, str(n)) for n in range(1000)]
    await take(broker, *messages)
    held = [(message.id, "claim") for message in messages] + [("gone", "claim")] * 100
    clock.skew += 10
    async with moment(redis, clock) as then:
        assert await broker.extend_leases(queue, held) == [True] * 1000 + [False] * 100
    assert await redis.zcount(keys.lease(queue), then.s(30).low, then.s(30).high) == 1000
    assert await redis.zcard(keys.lease(queue)) == 1000


async def test_no_leases_need_no_call(queue: str, broker: Broker) -> None:
    assert await broker.extend_leases(queue, []) == []


async def test_a_result_is_stored_beside_the_task(redis: Redis, queue: str, broker: Broker) -> None:
    (leased,) = await take(broker, a_message(queue))
    stored = await snapshot(redis, queue)
    assert await broker.write_result(leased, b"RES")
    assert await redis.hget(keys.task(queue, "a"), "result") == b"RES"
    stored["t:a"]["result"] = "RES"
    assert await snapshot(redis, queue) == stored


async def test_a_result_that_comes_late_does_not_revive_a_deleted_task(
    redis: Redis, queue: str, broker: Broker
) -> None:
    (leased,) = await take(broker, a_message(queue))
    await broker.settle([Done(leased)])
    assert not await broker.write_result(leased, b"late")
    assert await redis.exists(keys.task(queue, "a")) == 0


async def test_a_result_of_an_attempt_that_lost_its_claim_is_refused(
    redis: Redis, queue: str, broker: Broker
) -> None:
    (leased,) = await take(broker, a_message(queue))
    await broker.settle([Requeued(leased)])
    assert not await broker.write_result(leased, b"while pending")
    await broker.dequeue([(queue, 1)], "another")
    assert not await broker.write_result(leased, b"while theirs")
    assert await redis.hexists(keys.task(queue, "a"), "result") is False


async def test_a_result_that_redis_refuses_is_an_error(
    redis: Redis, queue: str, broker: Broker
) -> None:
    (leased,) = await take(broker, a_message(queue))
    await redis.set(keys.task(queue, "a"), "no hash")
    with pytest.raises(RedisReplyError, match="WRONGTYPE"):
        await broker.write_result(leased, b"RES")
