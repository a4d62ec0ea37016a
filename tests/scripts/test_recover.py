"""recover.lua: a task whose lease ran out moves once, and only if it is still out."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from redis.asyncio import Redis
from stored import Moment, a_lock, a_message, moment, new, now_us, put_active, snapshot, take

from asyncq._broker import keys
from asyncq._broker.broker import Broker
from asyncq._broker.maintenance import Maintenance, Recovery
from asyncq._broker.message import TaskMessage
from asyncq._broker.outcome import Done
from asyncq._clock import Clock
from asyncq.errors import RedisReplyError

pytestmark = pytest.mark.every_redis

FAILED = {"processed": "1", "processed:<day>": "1", "failed": "1", "failed:<day>": "1"}


def failed(task: TaskMessage) -> TaskMessage:
    return task._replace(retried=1, error_msg="asynq: task lease expired", last_failed_at=7)


def recovery(kind: Any, task: TaskMessage, claim: str = "claim", **how: Any) -> Recovery:
    message = None if kind == "park" else failed(task)
    return Recovery(kind, task.queue, task.id, claim, message, **how)


def pending_since(then: Moment) -> Any:
    return Moment(then.start_us // 1000 * 1000, then.end_us).ns()


@pytest.mark.parametrize("claim", ["claim", ""])
async def test_a_restarted_task_is_next_and_counts_as_failed(
    redis: Redis, queue: str, broker: Broker, maintenance: Maintenance, claim: str
) -> None:
    task = a_message(queue)
    await put_active(redis, task, 1, claim=claim or None)
    await broker.enqueue([new(a_message(queue, "waiting"))])
    async with moment(redis) as then:
        assert await maintenance.recover(queue, [recovery("restart", task, claim)]) == [True]
    left = await snapshot(redis, queue)
    assert left.pop("t:waiting")
    assert left == FAILED | {
        "pending": ["waiting", "a"],
        "t:a": {
            "msg": failed(task),
            "state": "pending",
            "pending_since": pending_since(then),
            "asyncq_recovered": "1",
        },
    }


async def test_a_retried_task_waits(redis: Redis, queue: str, maintenance: Maintenance) -> None:
    task = a_message(queue)
    await put_active(redis, task, 1, claim="claim")
    await redis.hset(keys.task(queue, "a"), "asyncq_recovered", 1)
    async with moment(redis) as then:
        retry = recovery("retry", task, delay_s=90.5)
        assert await maintenance.recover(queue, [retry]) == [True]
    assert await snapshot(redis, queue) == FAILED | {
        "retry": {"a": then.s_up(90_500)},
        "t:a": {"msg": failed(task), "state": "retry", "asyncq_recovered": "2"},
    }


async def test_an_exhausted_task_is_archived_and_keeps_its_lock(
    redis: Redis, queue: str, broker: Broker, maintenance: Maintenance, clock: Clock
) -> None:
    lock = a_lock(queue)
    task = a_message(queue, unique_key=lock)
    await take(broker, task)
    clock.skew += 40
    async with moment(redis, clock) as then:
        assert await maintenance.recover(queue, [recovery("archive", task)]) == [True]
    assert await snapshot(redis, queue) == FAILED | {
        "archived": {"a": then.s()},
        "t:a": {
            "msg": failed(task),
            "state": "archived",
            "unique_key": lock,
            "asyncq_recovered": "1",
        },
        lock.removeprefix(keys.queue_prefix(queue)): "a",
    }


async def test_an_unreadable_task_is_set_aside_as_it_is_and_not_counted(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    await put_active(redis, a_message(queue), 1)
    await redis.hset(keys.task(queue, "a"), "msg", b"\xff")
    parked = recovery("park", a_message(queue), "", reason="cannot be read \udcff")
    async with moment(redis) as then:
        assert await maintenance.recover(queue, [parked]) == [True]
    assert await snapshot(redis, queue) == {
        "archived": {"a": then.s()},
        "t:a": {
            "msg": b"\xff",
            "state": "archived",
            "asyncq_parked": "cannot be read \ufffd",
            "asyncq_recovered": "1",
        },
    }


@pytest.mark.parametrize("kind", ["restart", "retry"])
async def test_an_attempt_that_is_no_failure_counts_nothing(
    redis: Redis, queue: str, maintenance: Maintenance, kind: str
) -> None:
    task = a_message(queue)
    await put_active(redis, task, 1, claim="claim")
    item = recovery(kind, task, delay_s=90, is_failure=False)
    assert await maintenance.recover(queue, [item]) == [True]
    assert FAILED.keys().isdisjoint(await snapshot(redis, queue))


EVERY_KIND = pytest.mark.parametrize("kind", ["restart", "retry", "archive", "park"])


@EVERY_KIND
@pytest.mark.parametrize(
    ("claim", "over_s"), [("claim", -30), ("claim", 30), (None, 0), (None, 15)]
)
async def test_a_lease_that_was_renewed_or_is_in_its_grace_is_kept(
    redis: Redis,
    queue: str,
    maintenance: Maintenance,
    kind: str,
    claim: str | None,
    over_s: int,
) -> None:
    await put_active(redis, a_message(queue), await now_us(redis) // 10**6 - over_s, claim=claim)
    stored = await snapshot(redis, queue)
    item = recovery(kind, a_message(queue), claim or "")
    # Two seconds, as by default, may pass between these lines.
    patient = Maintenance(maintenance._connection, Clock(), claimed_grace_s=90)
    assert await patient.recover(queue, [item]) == [False]
    assert await snapshot(redis, queue) == stored


@EVERY_KIND
@pytest.mark.parametrize("seen", ["", "older claim"])
async def test_a_task_under_another_claim_by_now_is_kept(
    redis: Redis, queue: str, maintenance: Maintenance, kind: str, seen: str
) -> None:
    await put_active(redis, a_message(queue), 1, claim="claim")
    stored = await snapshot(redis, queue)
    assert await maintenance.recover(queue, [recovery(kind, a_message(queue), seen)]) == [False]
    assert await snapshot(redis, queue) == stored


@EVERY_KIND
async def test_a_task_without_a_lease_is_not_recovered(
    redis: Redis, queue: str, maintenance: Maintenance, kind: str
) -> None:
    await put_active(redis, a_message(queue), 1, claim="claim")
    await redis.delete(keys.lease(queue))
    stored = await snapshot(redis, queue)
    assert await maintenance.recover(queue, [recovery(kind, a_message(queue))]) == [False]
    assert await snapshot(redis, queue) == stored


async def test_of_many_servers_that_recover_the_same_task_one_succeeds(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    task = a_message(queue)
    await put_active(redis, task, 1, claim="claim")
    servers = [maintenance.recover(queue, [recovery("restart", task)]) for _ in range(10)]
    answers = await asyncio.gather(*servers)
    assert sorted(answers) == [[False]] * 9 + [[True]]
    assert await redis.lrange(keys.pending(queue), 0, -1) == [b"a"]
    assert await redis.get(keys.failed(queue)) == b"1"


async def test_the_vanished_worker_can_no_longer_write_its_outcome(
    redis: Redis, queue: str, broker: Broker, maintenance: Maintenance, clock: Clock
) -> None:
    (leased,) = await take(broker, a_message(queue))
    clock.skew += 40
    assert await maintenance.recover(queue, [recovery("restart", leased.message)]) == [True]
    stored = await snapshot(redis, queue)
    assert await broker.settle([Done(leased)]) == [False]
    assert await broker.extend_leases(queue, [("a", "claim")]) == [False]
    assert await snapshot(redis, queue) == stored


async def test_a_batch_answers_item_by_item(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    for task_id in "1234":
        await put_active(redis, a_message(queue, task_id), 1, claim="claim")
    await redis.set(keys.task(queue, "3"), "no hash")
    items = [recovery("restart", a_message(queue, task_id)) for task_id in "1x34"]
    first, gone, broken, last = await maintenance.recover(queue, items)
    assert (first, gone, last) == (True, False, True)
    assert isinstance(broken, RedisReplyError)
    assert broken.code == "WRONGTYPE"
    left = await snapshot(redis, queue)
    assert left["pending"] == ["1", "4"]
    assert left["active"] == ["3", "2"]
    assert left["failed"] == "2"


@pytest.mark.parametrize(
    ("kind", "broken"),
    [("restart", "pending"), ("retry", "retry"), ("archive", "archived"), ("park", "archived")],
)
async def test_a_recovery_that_redis_refuses_leaves_the_task_as_it_was(
    redis: Redis, queue: str, maintenance: Maintenance, kind: str, broken: str
) -> None:
    await put_active(redis, a_message(queue), 1, claim="claim")
    await redis.set(keys.queue_prefix(queue) + broken, "?")
    stored = await snapshot(redis, queue)
    item = recovery(kind, a_message(queue), delay_s=90)
    (answer,) = await maintenance.recover(queue, [item])
    assert isinstance(answer, RedisReplyError)
    assert await snapshot(redis, queue) == stored


async def test_counters_that_cannot_be_written_are_logged_and_cost_no_task(
    redis: Redis, queue: str, maintenance: Maintenance, caplog: pytest.LogCaptureFixture
) -> None:
    await put_active(redis, a_message(queue), 1, claim="claim")
    await redis.lpush(keys.processed(queue), "no number")
    with caplog.at_level(logging.ERROR, "asyncq"):
        item = recovery("restart", a_message(queue))
        assert await maintenance.recover(queue, [item]) == [True]
    assert f"counters of queue {queue!r}" in caplog.text
    assert await redis.lrange(keys.pending(queue), 0, -1) == [b"a"]
