"""settle.lua: the ends of attempts, each written only under its claim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from stored import Moment, a_lock, a_message, moment, new, now_us, put_active, snapshot, take

from asyncq._broker import keys
from asyncq._broker.broker import Broker, Fetched
from asyncq._broker.message import Leased, TaskMessage, Unreadable
from asyncq._broker.outcome import (
    Archived,
    Completed,
    Done,
    Outcome,
    Parked,
    Requeued,
    Retried,
)
from asyncq._clock import Clock
from asyncq.errors import RedisReplyError

pytestmark = pytest.mark.every_redis

NOW = 1_700_000_000.9
SUCCEEDED = {"processed": "1", "processed:<day>": "1"}
FAILED = SUCCEEDED | {"failed": "1", "failed:<day>": "1"}


def retried(leased: Leased, delay_s: float = 90.5, *, is_failure: bool = True) -> Retried:
    return Retried.after(leased, "boom", NOW, delay_s, is_failure=is_failure)


def failed(task: TaskMessage, retries: int) -> TaskMessage:
    return a_message(
        task.queue,
        task.id,
        retried=retries,
        error_msg="boom",
        last_failed_at=1_700_000_000,
        unique_key=task.unique_key,
    )


async def one(broker: Broker, message: TaskMessage) -> Leased:
    (leased,) = await take(broker, message)
    return leased


async def test_a_task_done_leaves_nothing_but_counts(
    redis: Redis, queue: str, broker: Broker
) -> None:
    leased = await one(broker, a_message(queue))
    assert await broker.settle([Done(leased)]) == [True]
    assert await snapshot(redis, queue) == SUCCEEDED


@pytest.mark.parametrize("result", [b"", b"RES"])
async def test_a_task_with_retention_is_kept_until_it_ends(
    redis: Redis, queue: str, broker: Broker, result: bytes
) -> None:
    leased = await one(broker, a_message(queue, retention=3600))
    async with moment(redis) as then:
        assert await broker.settle([Completed.at(leased, result, NOW)]) == [True]
    task = a_message(queue, retention=3600, completed_at=1_700_000_000)
    kept = {"result": "RES"} if result else {}
    assert await snapshot(redis, queue) == SUCCEEDED | {
        "completed": {"a": then.s(3600)},
        "t:a": {"msg": task, "state": "completed", **kept},
    }


async def test_a_result_written_while_it_ran_is_kept_if_the_end_brings_none(
    redis: Redis, queue: str, broker: Broker
) -> None:
    leased = await one(broker, a_message(queue, retention=60))
    await broker.write_result(leased, b"early")
    await broker.settle([Completed.at(leased, b"", NOW)])
    assert await redis.hget(keys.task(queue, "a"), "result") == b"early"


async def test_a_failure_waits_for_its_retry_rounded_up(
    redis: Redis, queue: str, broker: Broker
) -> None:
    task = a_message(queue)
    leased = await one(broker, task)
    async with moment(redis) as then:
        assert await broker.settle([retried(leased, 90.5)]) == [True]
    assert await snapshot(redis, queue) == FAILED | {
        "retry": {"a": then.s_up(90_500)},
        "t:a": {"msg": failed(task, 1), "state": "retry"},
    }


async def test_a_retry_that_is_no_failure_counts_nothing(
    redis: Redis, queue: str, broker: Broker
) -> None:
    task = a_message(queue)
    leased = await one(broker, task)
    async with moment(redis) as then:
        assert await broker.settle([retried(leased, is_failure=False)]) == [True]
    assert await snapshot(redis, queue) == {
        "retry": {"a": then.s_up(90_500)},
        "t:a": {"msg": failed(task, 0), "state": "retry"},
    }


async def test_a_retry_within_a_minute_also_stands_in_due(
    redis: Redis, queue: str, broker: Broker
) -> None:
    leased = await one(broker, a_message(queue))
    async with redis.pubsub(ignore_subscribe_messages=True) as listening:
        await listening.subscribe(keys.due_channel(queue))
        async with moment(redis) as then:
            await broker.settle([retried(leased, 1.2345)])
        message: Any = None
        while message is None:
            message = await listening.get_message(timeout=None)
    left = await snapshot(redis, queue)
    assert left["retry"] == {"a": then.s_up(1234)}
    assert left["asyncq:due"] == {"a": then.ms(1234)}
    assert int(message["data"]) == left["asyncq:due"]["a"]


async def test_an_archived_task_keeps_its_error_and_its_number_of_retries(
    redis: Redis, queue: str, broker: Broker
) -> None:
    task = a_message(queue)
    leased = await one(broker, task)
    async with moment(redis) as then:
        assert await broker.settle([Archived.because(leased, "boom", NOW)]) == [True]
    assert await snapshot(redis, queue) == FAILED | {
        "archived": {"a": then.s()},
        "t:a": {"msg": failed(task, 0), "state": "archived"},
    }


async def test_a_task_given_back_is_next_and_counts_nothing(
    redis: Redis, queue: str, broker: Broker
) -> None:
    task = a_message(queue)
    leased = await one(broker, task)
    await broker.enqueue([new(a_message(queue, "waiting"))])
    async with moment(redis) as then:
        assert await broker.settle([Requeued(leased)]) == [True]
    left = await snapshot(redis, queue)
    assert left.pop("t:waiting")
    assert left == {
        "pending": ["waiting", "a"],
        "t:a": {"msg": task, "state": "pending", "pending_since": _to_the_ms(then)},
    }


def _to_the_ms(then: Moment) -> Any:
    return Moment(then.start_us // 1000 * 1000, then.end_us).ns()


async def test_an_unreadable_task_is_set_aside_as_it_is_with_the_reason(
    redis: Redis, queue: str, broker: Broker
) -> None:
    await redis.hset(keys.task(queue, "a"), mapping={"msg": b"\xff", "state": "pending"})
    await redis.lpush(keys.pending(queue), "a")
    (fetched,) = await broker.dequeue([(queue, 1)], "claim")
    assert isinstance(fetched, Fetched)
    (unreadable,) = fetched.tasks
    assert isinstance(unreadable, Unreadable)
    async with moment(redis) as then:
        assert await broker.settle([Parked(unreadable)]) == [True]
    assert await snapshot(redis, queue) == {
        "archived": {"a": then.s()},
        "t:a": {"msg": b"\xff", "state": "archived", "asyncq_parked": unreadable.reason},
    }


ENDS: dict[str, Callable[[Leased], Outcome]] = {
    "done": Done,
    "complete": lambda leased: Completed.at(leased, b"", NOW),
    "retry": retried,
    "archive": lambda leased: Archived.because(leased, "boom", NOW),
    "requeue": Requeued,
    "park": lambda leased: Parked(
        Unreadable(leased.message.queue, leased.message.id, leased.claim, "why")
    ),
}
every_end = pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)


@every_end
async def test_what_is_settled_again_is_gone_and_changes_nothing(
    redis: Redis, queue: str, broker: Broker, end: Callable[[Leased], Outcome]
) -> None:
    leased = await one(broker, a_message(queue))
    outcome = end(leased)
    assert await broker.settle([outcome]) == [True]
    stored = await snapshot(redis, queue)
    assert await broker.settle([outcome, outcome]) == [False, False]
    assert await snapshot(redis, queue) == stored


@every_end
@pytest.mark.parametrize("claim", ["another", None])
async def test_a_task_under_another_claim_is_not_ours_to_settle(
    redis: Redis, queue: str, broker: Broker, end: Callable[[Leased], Outcome], claim: str | None
) -> None:
    task = a_message(queue)
    await put_active(redis, task, 1, claim=claim)
    stored = await snapshot(redis, queue)
    assert await broker.settle([end(Leased(task, "claim", 0.0))]) == [False]
    assert await snapshot(redis, queue) == stored


@pytest.mark.parametrize(
    ("name", "holds"),
    [("done", False), ("complete", False), ("retry", True), ("archive", True), ("requeue", True)],
)
async def test_only_success_gives_up_the_lock(
    redis: Redis, queue: str, broker: Broker, name: str, holds: bool
) -> None:
    leased = await one(broker, a_message(queue, unique_key=a_lock(queue)))
    await broker.settle([ENDS[name](leased)])
    assert await redis.exists(a_lock(queue)) == holds
    if await redis.exists(keys.task(queue, "a")):
        assert await redis.hget(keys.task(queue, "a"), "unique_key") == a_lock(queue).encode()


@pytest.mark.parametrize("value", ["somebody else", None])
@pytest.mark.parametrize("name", ["done", "complete"])
async def test_a_lock_that_somebody_else_holds_by_now_stays(
    redis: Redis, queue: str, broker: Broker, name: str, value: str | None
) -> None:
    leased = await one(broker, a_message(queue, unique_key=a_lock(queue)))
    await redis.delete(a_lock(queue))
    if value:
        await redis.set(a_lock(queue), value)
    assert await broker.settle([ENDS[name](leased)]) == [True]
    assert await redis.get(a_lock(queue)) == (value.encode() if value else None)


async def test_fields_of_others_survive_every_end_that_keeps_the_task(
    redis: Redis, queue: str, broker: Broker
) -> None:
    leased = await one(broker, a_message(queue))
    await redis.hset(keys.task(queue, "a"), mapping={"group": "g", "somebodys_own": "kept"})
    await broker.settle([retried(leased)])
    fields = (await snapshot(redis, queue))["t:a"]
    assert (fields["group"], fields["somebodys_own"]) == ("g", "kept")


async def test_a_batch_of_all_ends_and_several_queues_answers_in_the_order_asked(
    redis: Redis, queue: str, broker: Broker
) -> None:
    other = queue + "-other"
    here = await take(broker, *(a_message(queue, str(n)) for n in range(120)))
    there = await take(broker, *(a_message(other, str(n)) for n in range(120)))
    stale = Leased(a_message(queue, "stale"), "claim", 0.0)
    outcomes: list[Outcome] = [
        Done(leased) for pair in zip(here, there, strict=True) for leased in pair
    ]
    outcomes.insert(7, Done(stale))
    assert await broker.settle(outcomes) == [n != 7 for n in range(241)]
    for name in (queue, other):
        assert await snapshot(redis, name) == {"processed": "120", "processed:<day>": "120"}


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("complete", "completed"),
        ("retry", "retry"),
        ("archive", "archived"),
        ("requeue", "pending"),
    ],
)
async def test_an_end_that_redis_refuses_leaves_the_task_as_it_was_and_the_others_go_on(
    redis: Redis, queue: str, broker: Broker, name: str, broken: str
) -> None:
    first, refused, last = await take(broker, *(a_message(queue, i) for i in "123"))
    stored = await snapshot(redis, queue)
    await redis.set(keys.queue_prefix(queue) + broken, "?")
    results = await broker.settle([Done(first), ENDS[name](refused), Done(last)])
    assert results[::2] == [True, True]
    assert isinstance(results[1], RedisReplyError)
    assert results[1].code == "WRONGTYPE"
    assert await snapshot(redis, queue) == {
        "active": ["2"],
        "lease": {"2": stored["lease"]["2"]},
        "t:2": stored["t:2"],
        broken: "?",
        "processed": "2",
        "processed:<day>": "2",
    }


async def test_a_task_key_that_is_no_hash_fails_alone(
    redis: Redis, queue: str, broker: Broker
) -> None:
    first, broken, last = await take(broker, *(a_message(queue, i) for i in "123"))
    await redis.set(keys.task(queue, "2"), "?")
    results = await broker.settle([Done(first), Done(broken), Done(last)])
    assert results[::2] == [True, True]
    assert isinstance(results[1], RedisReplyError)


@pytest.mark.parametrize("name", ["done", "complete"])
async def test_a_lock_that_is_no_string_does_not_stop_a_success(
    redis: Redis, queue: str, broker: Broker, name: str
) -> None:
    leased = await one(broker, a_message(queue, unique_key=a_lock(queue)))
    await redis.delete(a_lock(queue))
    await redis.lpush(a_lock(queue), "?")
    assert await broker.settle([ENDS[name](leased)]) == [True]
    assert await redis.get(keys.processed(queue)) == b"1"


async def test_times_of_outcomes_are_counted_by_redis_clock(
    redis: Redis, queue: str, broker: Broker, clock: Clock
) -> None:
    first, second = await take(broker, a_message(queue, "1", retention=60), a_message(queue, "2"))
    clock.skew = 1e6
    async with moment(redis, clock) as then:
        await broker.settle([Completed.at(first, b"", NOW), retried(second, 100)])
    left = await snapshot(redis, queue)
    assert left["completed"] == {"1": then.s(60)}
    assert left["retry"] == {"2": then.s_up(100_000)}
    assert await now_us(redis) < then.start_us


@pytest.mark.parametrize(
    ("name", "told"),
    [("complete", True), ("archive", True), ("retry", False), ("requeue", False)],
)
async def test_a_client_that_waits_for_the_end_is_told_when_it_comes(
    redis: Redis, queue: str, broker: Broker, name: str, told: bool
) -> None:
    waited, unnoticed = await take(broker, a_message(queue, "waited"), a_message(queue, "other"))
    await redis.hset(keys.task(queue, "waited"), "asyncq_waited", 1)
    async with redis.pubsub(ignore_subscribe_messages=True) as listening:
        await listening.subscribe(keys.DONE_CHANNEL, queue)
        await broker.settle([ENDS[name](unnoticed), ENDS[name](waited)])
        await redis.publish(queue, "end")
        heard: list[Any] = []
        while b"end" not in heard:
            message: Any = await listening.get_message(timeout=None)
            heard += [message["data"]] if message else []
    ours = [key for key in heard if queue.encode() in key]
    assert ours == ([keys.task(queue, "waited").encode()] if told else [])


async def test_nothing_to_settle_needs_no_call(broker: Broker) -> None:
    assert await broker.settle([]) == []
