"""What schedulers say to Redis: each due time is done once, by Redis's clock."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.asyncio import Redis
from redis_servers import RedisServer
from stored import a_lock, a_message, new, now_us, snapshot

from asyncq import Inspector
from asyncq._broker import keys
from asyncq._broker.broker import Broker, Enqueued
from asyncq._broker.connection import Connection
from asyncq._broker.scheduling import REMEMBERED_MS, CronPlace, DueAnswer, Mark, Scheduling
from asyncq._clock import Clock
from asyncq.errors import DuplicateTaskError, RedisReplyError, TaskIdConflictError
from asyncq.task import TaskState

pytestmark = pytest.mark.every_redis

PENDING = Enqueued(TaskState.PENDING, 0)


@pytest.fixture
def scheduling(connection: Connection, clock: Clock) -> Scheduling:
    return Scheduling(connection, clock)


@pytest.fixture
def place(queue: str) -> CronPlace:
    return CronPlace(queue, "it", "@every 1s")


class Firing:
    """Attempts at due times `ms` from now, each with a task and a token of its own."""

    def __init__(self, scheduling: Scheduling, place: CronPlace, now_ms: int) -> None:
        self.now_ms = now_ms
        self._scheduling = scheduling
        self._place = place

    async def __call__(
        self, ms: int, token: str = "token", late_ms: int | None = None, **message: Any
    ) -> DueAnswer:
        how = {name: message.pop(name) for name in ("own_id", "unique_s") if name in message}
        task = new(a_message(self._place.queue, **message), **how)
        return await self._scheduling.enqueue_due(
            self._place, task, self.now_ms + ms, token, late_ms
        )


@pytest.fixture
async def fire(redis: Redis, scheduling: Scheduling, place: CronPlace) -> Firing:
    return Firing(scheduling, place, await now_us(redis) // 1000)


async def mark_of(scheduling: Scheduling, place: CronPlace) -> Mark:
    (mark,) = await scheduling.marks([(place, False)])
    assert isinstance(mark, Mark)
    return mark


async def test_a_new_entry_counts_from_now_in_whole_seconds_and_everyone_agrees(
    redis: Redis, scheduling: Scheduling, place: CronPlace
) -> None:
    before = await now_us(redis) // 1000
    first = await mark_of(scheduling, place)
    assert before // 1000 * 1000 <= first.due_ms <= first.now_ms
    assert first.due_ms % 1000 == 0
    assert (first.enqueued, first.spec) == (False, place.spec)
    again = await mark_of(scheduling, place)
    assert again.due_ms == first.due_ms
    assert REMEMBERED_MS - 60_000 < await redis.pttl(place.key) <= REMEMBERED_MS


async def test_an_entry_whose_queue_was_deleted_begins_anew(
    redis: Redis, redis_url: str, scheduling: Scheduling, place: CronPlace, fire: Firing
) -> None:
    assert (await fire(-60_000)).verdict == "enqueued"
    async with Inspector(redis_url) as inspector:
        await inspector.delete_queue(place.queue, force=True)
    before = await now_us(redis) // 1000
    mark = await mark_of(scheduling, place)
    assert mark.due_ms >= before // 1000 * 1000
    assert not mark.enqueued
    assert (await fire(-60_000, token="of another scheduler")).verdict == "taken"


async def test_a_due_time_is_enqueued_and_noted(
    redis: Redis, queue: str, scheduling: Scheduling, place: CronPlace, fire: Firing
) -> None:
    answer = await fire(-10)
    assert (answer.verdict, answer.result) == ("enqueued", PENDING)
    assert answer.last_due_ms == fire.now_ms - 10
    stored = await snapshot(redis, queue)
    assert stored["pending"] == ["a"]
    assert queue.encode() in await redis.smembers(keys.QUEUES)
    mark = await mark_of(scheduling, place)
    assert (mark.due_ms, mark.enqueued) == (fire.now_ms - 10, True)
    assert REMEMBERED_MS - 60_000 < await redis.pttl(place.key) <= REMEMBERED_MS


@pytest.mark.parametrize("again_ms", [-10, -11, -100_000])
async def test_a_due_time_that_is_done_is_taken(
    redis: Redis, queue: str, fire: Firing, again_ms: int
) -> None:
    await fire(-10)
    stored = await snapshot(redis, queue)
    answer = await fire(again_ms, "another", task_id="b")
    assert (answer.verdict, answer.result) == ("taken", None)
    assert answer.last_due_ms == fire.now_ms - 10
    assert await snapshot(redis, queue) == stored


async def test_a_due_time_in_the_future_is_early_by_the_clock_of_redis(
    redis: Redis, queue: str, fire: Firing, clock: Clock
) -> None:
    answer = await fire(60_000)
    assert answer.verdict == "early"
    assert fire.now_ms <= answer.now_ms < fire.now_ms + 60_000
    assert await snapshot(redis, queue) == {}
    clock.skew = 60
    assert (await fire(60_000)).verdict == "enqueued"


async def test_an_attempt_sent_again_gets_the_same_answer(
    redis: Redis, queue: str, fire: Firing
) -> None:
    await fire(-10)
    await redis.delete(keys.task(queue, "a"), keys.pending(queue))  # done and gone meanwhile
    answer = await fire(-10, late_ms=1)
    assert (answer.verdict, answer.result) == ("enqueued", PENDING)
    assert not await redis.exists(keys.task(queue, "a"))


async def test_a_due_time_may_be_too_late_and_stays_open(
    redis: Redis, queue: str, fire: Firing
) -> None:
    assert (await fire(-5000, late_ms=1000)).verdict == "late"
    assert await snapshot(redis, queue) == {}
    assert (await fire(-5000)).verdict == "enqueued"


async def test_a_conflict_is_told_and_the_due_time_is_done(
    redis: Redis, queue: str, broker: Broker, scheduling: Scheduling, place: CronPlace, fire: Firing
) -> None:
    lock = a_lock(queue)
    await broker.enqueue([new(a_message(queue, "1", unique_key=lock), unique_s=60)])
    unique = await fire(-20, "first", task_id="2", unique_key=lock, unique_s=60)
    assert isinstance(unique.result, DuplicateTaskError)
    taken_id = await fire(-10, "second", task_id="1", own_id=False)
    assert isinstance(taken_id.result, TaskIdConflictError)
    assert isinstance(
        (await fire(-10, "second", task_id="1", own_id=False)).result, TaskIdConflictError
    )
    assert (await mark_of(scheduling, place)).due_ms == fire.now_ms - 10
    assert await redis.lrange(keys.pending(queue), 0, -1) == [b"1"]


async def test_a_due_time_that_redis_does_not_take_stays_open(
    start_redis: Callable[..., RedisServer], queue: str, clock: Clock
) -> None:
    async with AsyncExitStack() as stack:
        server = start_redis()
        connection = Connection.open(server.url)
        stack.push_async_callback(connection.aclose)
        redis = await stack.enter_async_context(server.client())
        scheduling, place = Scheduling(connection, clock), CronPlace(queue, "it", "@every 1s")
        fire = Firing(scheduling, place, await now_us(redis) // 1000)
        await redis.config_set("maxmemory", 1)
        with pytest.raises(RedisReplyError) as caught:
            await fire(-10)
        assert caught.value.passing
        await redis.config_set("maxmemory", 0)
        assert await snapshot(redis, queue) == {}
        assert (await fire(-10)).result == PENDING


async def test_what_is_remembered_of_a_future_that_never_came_is_forgotten(
    redis: Redis, clock: Clock, scheduling: Scheduling, place: CronPlace, fire: Firing
) -> None:
    clock.skew = 86400
    assert (await fire(86_000_000)).verdict == "enqueued"
    clock.skew = 0  # the clock of Redis was wrong, and is set back
    mark = await mark_of(scheduling, place)
    assert mark.due_ms <= mark.now_ms
    assert not mark.enqueued


async def test_an_entry_whose_key_is_something_else_does_not_hinder_others(
    redis: Redis, scheduling: Scheduling, place: CronPlace
) -> None:
    await redis.set(place.key, "not a hash")
    other = CronPlace(place.queue, "other", place.spec)
    wrong, right = await scheduling.marks([(place, False), (other, False)])
    assert isinstance(wrong, RedisReplyError)
    assert isinstance(right, Mark)


async def test_a_history_keeps_the_newest_thousand_events(
    redis: Redis, queue: str, scheduling: Scheduling
) -> None:
    key = keys.scheduler_history(queue)
    await redis.zadd(key, {b"%d" % number: number for number in range(1000)})
    await scheduling.record(queue, "tid", 1_700_000_000_001)
    assert await redis.zcard(key) == 1000
    assert await redis.zrange(key, 0, 0) == [b"1"]
    (newest,) = await redis.zrange(key, -1, -1, withscores=True)
    assert newest == (bytes.fromhex("0a03746964120a0880e2cfaa0610c0843d"), 1_700_000_000)
