"""Schedulers on a real Redis, with clocks that tests move."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from redis.asyncio import Redis
from redis_servers import RedisServer, connect
from redis_topologies import redis_cluster
from stored import now_us
from waiting import soon, until

from asyncq import (
    Client,
    DuplicateTaskError,
    Inspector,
    RedisUnavailableError,
    Scheduler,
    Server,
    ServerConfig,
    ServerStateError,
    Task,
    TaskIdConflictError,
    TaskInfo,
)
from asyncq._broker import keys
from asyncq._broker.codec import decode_task
from asyncq._broker.message import TaskMessage
from asyncq._clock import Clock
from asyncq._entry import Entry

HOUR = timedelta(hours=1)


class Told:
    """A post_enqueue hook that remembers."""

    def __init__(self) -> None:
        self.infos: list[TaskInfo] = []
        self.errors: list[Exception] = []

    def __call__(self, info: TaskInfo | None, error: Exception | None) -> None:
        if info is not None:
            self.infos.append(info)
        if error is not None:
            self.errors.append(error)

    async def tasks(self, count: int) -> list[TaskInfo]:
        await until(lambda: len(self.infos) >= count, f"{count} tasks enqueued")
        return self.infos


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def make(redis_url: str, clock: Clock, told: Told) -> AsyncIterator[Callable[..., Scheduler]]:
    """Schedulers that are shut down with the test."""
    async with AsyncExitStack() as stack:

        def make(**settings: Any) -> Scheduler:
            defaults: dict[str, Any] = {"post_enqueue": told, "_clock": clock}
            scheduler = Scheduler(redis_url, **(defaults | settings))
            stack.push_async_callback(scheduler.shutdown)
            return scheduler

        yield make


def look(*schedulers: Scheduler) -> None:
    """Tell schedulers that the time has changed, which no clock does by itself."""
    for scheduler in schedulers:
        scheduler._changed.set()


async def travel(redis: Redis, clock: Clock, to: datetime, *schedulers: Scheduler) -> None:
    clock.skew = to.timestamp() - await now_us(redis) / 1e6
    look(*schedulers)


async def messages(redis: Redis, queue: str) -> list[TaskMessage]:
    """Of the pending tasks, the oldest first."""
    ids: list[Any] = await redis.lrange(keys.pending(queue), 0, -1)
    found = [await redis.hget(keys.task(queue, id_.decode()), "msg") for id_ in reversed(ids)]
    return [decode_task(data) for data in found]  # type: ignore[arg-type]  # redis-py says str


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]  # year, month, day, ...


NOON = utc(2040, 6, 1, 12)


# Once


async def test_many_schedulers_enqueue_each_due_time_once(
    redis: Redis, queue: str, told: Told, make: Callable[..., Scheduler]
) -> None:
    schedulers = [make() for _ in range(5)]
    for scheduler in schedulers:
        scheduler.register("@every 1s", Task("t"), queue=queue)
        await scheduler.start()
    first_s, before = await due_and_count(redis, queue)
    await told.tasks(3)
    for scheduler in schedulers:
        await scheduler.shutdown()
    last_s, count = await due_and_count(redis, queue)
    assert count == len(told.infos)
    assert last_s - first_s == count - before


async def due_and_count(redis: Redis, queue: str) -> tuple[float, int]:
    """The last due time that is done, of the one entry there is, and how many tasks there are."""
    (entry,) = await redis.keys(keys.cron(queue, "*"))
    pipe: Any = redis.pipeline(transaction=True)
    due_ms, count = await pipe.hget(entry, "due").llen(keys.pending(queue)).execute()
    return int(due_ms) / 1000, count


async def test_a_scheduler_that_comes_later_goes_on_where_others_are(
    redis: Redis, queue: str, told: Told, clock: Clock, make: Callable[..., Scheduler]
) -> None:
    first, second = make(), make()
    await travel(redis, clock, NOON)
    for scheduler in (first, second):
        scheduler.register("@every 1h", Task("t"), queue=queue)
    await first.start()
    base = first.entries[0].next
    assert base is not None
    await travel(redis, clock, NOON + HOUR * 0.7, first)
    await second.start()
    assert second.entries[0].next == base == first.entries[0].next


async def test_an_entry_that_was_there_before_is_due_when_it_would_have_been(
    redis: Redis, queue: str, told: Told, clock: Clock, make: Callable[..., Scheduler]
) -> None:
    await travel(redis, clock, NOON)
    first = make()
    first.register("30 12 * * *", Task("t"), queue=queue)
    async with first:
        pass
    await travel(redis, clock, NOON + timedelta(minutes=30, seconds=40))  # a slow restart
    second = make()
    second.register("30 12 * * *", Task("t"), queue=queue)
    await second.start()
    await told.tasks(1)
    assert second.entries[0].prev == NOON + HOUR / 2


async def test_the_clock_of_the_machine_does_not_count(
    redis: Redis, queue: str, told: Told, make: Callable[..., Scheduler]
) -> None:
    class Ahead(Clock):
        def now(self) -> float:
            return super().now() + 3600

    scheduler = make(_clock=Ahead())
    scheduler.register("@every 1s", Task("t"), queue=queue)
    await scheduler.start()
    due = scheduler.entries[0].next
    (info, *_) = await told.tasks(1)
    assert due is not None
    assert info.next_process_at is not None
    assert due <= info.next_process_at


async def test_a_lost_answer_is_asked_for_again(
    redis: Redis,
    queue: str,
    told: Told,
    clock: Clock,
    make: Callable[..., Scheduler],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scheduler = make()
    entry_id = scheduler.register("@every 1h", Task("t"), queue=queue)
    await scheduler.start()
    real = scheduler._scheduling.enqueue_due
    lost = asyncio.Event()

    async def lose_the_first(*arguments: Any) -> Any:
        answer = await real(*arguments)
        if not lost.is_set():
            lost.set()
            raise RedisUnavailableError("here", "cut", sent=True)
        return answer

    monkeypatch.setattr(scheduler._scheduling, "enqueue_due", lose_the_first)
    clock.skew = 3600
    look(scheduler)
    (info,) = await told.tasks(1)
    assert lost.is_set()
    assert [message.id for message in await messages(redis, queue)] == [info.id]
    assert scheduler.entries[0].id == entry_id


async def test_entries_of_many_queues_are_enqueued_in_a_cluster(queue: str, told: Told) -> None:
    with redis_cluster() as cluster:
        async with (
            Scheduler(cluster.url, post_enqueue=told) as one,
            Scheduler(cluster.url, post_enqueue=told) as other,
            Inspector(cluster.url) as inspector,
        ):
            for number in range(5):
                for scheduler in (one, other):
                    scheduler.register("@every 1s", Task("t"), queue=f"{queue}:{number}")
            await until(lambda: len({info.queue for info in told.infos}) == 5, "all queues")
            await one._beat()
            ids = {entry.id for entry in await inspector.scheduler_entries()}
            assert {entry.id for entry in one.entries} <= ids
        for number in range(5):
            name = f"{queue}:{number}"
            enqueued = [info for info in told.infos if info.queue == name]
            async with Inspector(cluster.url) as inspector:
                assert (await inspector.queue_info(name)).pending == len(enqueued)
    assert told.errors == []


# What is enqueued


async def test_the_task_has_its_payload_headers_and_options(
    redis: Redis, queue: str, told: Told, clock: Clock, make: Callable[..., Scheduler]
) -> None:
    scheduler = make(location="America/New_York")
    await travel(redis, clock, NOON)
    task = Task("report", {"a": 1}, headers={"k": "v"}, max_retry=7, timeout=60)
    scheduler.register("0 9 * * *", task, queue=queue, max_retry=3)
    await scheduler.start()
    assert scheduler.entries[0].next == NOON + HOUR  # nine o'clock there, in summer
    await travel(redis, clock, NOON + HOUR, scheduler)
    (info,) = await told.tasks(1)
    (message,) = await messages(redis, queue)
    assert message.id == info.id
    assert (message.type, message.payload, message.headers) == ("report", b'{"a":1}', {"k": "v"})
    assert (message.retry, message.timeout) == (3, 60)


async def test_each_due_time_makes_a_task_of_its_own(
    redis: Redis, queue: str, told: Told, clock: Clock, make: Callable[..., Scheduler]
) -> None:
    scheduler = make()
    await travel(redis, clock, NOON)
    scheduler.register("0 * * * *", Task("t"), queue=queue)
    await scheduler.start()
    for hours in (1, 2, 3):
        await travel(redis, clock, NOON + hours * HOUR, scheduler)
        await told.tasks(hours)
    assert len({message.id for message in await messages(redis, queue)}) == 3
    assert scheduler.entries[0].prev == NOON + 3 * HOUR
    assert scheduler.entries[0].next == NOON + 4 * HOUR


# What was missed


async def outage(
    redis: Redis, clock: Clock, queue: str, make: Callable[..., Scheduler], missed: str
) -> Scheduler:
    """From noon to a quarter past three nobody is there; due on the hour."""
    await travel(redis, clock, NOON)
    before = make()
    before.register("0 * * * *", Task("t"), queue=queue)
    async with before:
        pass
    await travel(redis, clock, NOON + 3.25 * HOUR)
    after = make(missed=missed)
    after.register("0 * * * *", Task("t"), queue=queue)
    await after.start()
    return after


@pytest.mark.parametrize(("missed", "count"), [("skip", 0), ("once", 1), ("all", 3)])
async def test_missed_due_times_are_skipped_or_made_up_for(
    redis: Redis,
    queue: str,
    told: Told,
    clock: Clock,
    make: Callable[..., Scheduler],
    missed: str,
    count: int,
) -> None:
    scheduler = await outage(redis, clock, queue, make, missed)
    await until(lambda: scheduler.entries[0].next == NOON + 4 * HOUR, "caught up")
    await told.tasks(count)
    await travel(redis, clock, NOON + 4 * HOUR, scheduler)
    await told.tasks(count + 1)
    assert await redis.llen(keys.pending(queue)) == count + 1


async def test_what_is_skipped_is_logged(
    redis: Redis,
    queue: str,
    clock: Clock,
    make: Callable[..., Scheduler],
    caplog: pytest.LogCaptureFixture,
) -> None:
    scheduler = await outage(redis, clock, queue, make, "skip")
    await until(lambda: scheduler.entries[0].next == NOON + 4 * HOUR, "caught up")
    (line,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "'t' (0 * * * *) missed its due times" in line
    assert "from 2040-06-01 13:00:00 UTC to 2040-06-01 15:00:00 UTC" in line


async def test_a_name_with_a_new_spec_has_missed_nothing(
    redis: Redis, queue: str, told: Told, clock: Clock, make: Callable[..., Scheduler]
) -> None:
    await travel(redis, clock, NOON)
    before = make()
    before.register("0 0 * * *", Task("t"), name="nightly", queue=queue)
    async with before:
        pass
    await travel(redis, clock, NOON + 12.5 * HOUR)
    after = make(missed="all")
    after.register("0 13 * * *", Task("t"), name="nightly", queue=queue)
    await after.start()
    assert after.entries[0].next == NOON + 25 * HOUR


async def test_a_name_with_a_new_period_counts_anew_and_everyone_agrees(
    redis: Redis, queue: str, told: Told, clock: Clock, make: Callable[..., Scheduler]
) -> None:
    await travel(redis, clock, NOON)
    before = make()
    before.register("@every 1h", Task("t"), name="n", queue=queue)
    async with before:
        pass
    after = [make(missed="all") for _ in range(2)]
    for minutes, scheduler in zip((100, 101), after, strict=True):
        await travel(redis, clock, NOON + timedelta(minutes=minutes), *after)
        scheduler.register("@every 10m", Task("t"), name="n", queue=queue)
        await scheduler.start()
    first, second = (scheduler.entries[0].next for scheduler in after)
    assert first == second
    assert first is not None
    assert first >= NOON + timedelta(minutes=110)


async def test_what_redis_does_not_answer_in_time_is_made_up_for_within_a_minute(
    redis: Redis,
    queue: str,
    told: Told,
    clock: Clock,
    make: Callable[..., Scheduler],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scheduler = make()
    scheduler.register("@every 1h", Task("t"), queue=queue)
    await scheduler.start()
    real, failed = scheduler._scheduling.enqueue_due, asyncio.Event()

    async def unreachable(*arguments: Any) -> Any:
        if not failed.is_set():
            failed.set()
            clock.skew += 50
            raise RedisUnavailableError("here", "down", sent=False)
        return await real(*arguments)

    monkeypatch.setattr(scheduler._scheduling, "enqueue_due", unreachable)
    clock.skew = 3600
    look(scheduler)
    await told.tasks(1)


# Registering


async def test_entries_come_and_go_while_it_runs(
    redis: Redis, queue: str, told: Told, clock: Clock, make: Callable[..., Scheduler]
) -> None:
    scheduler = make()
    await scheduler.start()
    stays = scheduler.register("@every 1h", Task("stays"), queue=queue)
    goes = scheduler.register("@every 1h", Task("goes"), queue=queue)
    await until(lambda: all(entry.next for entry in scheduler.entries), "known to Redis")
    scheduler.unregister(goes)
    assert [entry.id for entry in scheduler.entries] == [stays]
    clock.skew = 3600
    look(scheduler)
    await told.tasks(1)
    assert [message.type for message in await messages(redis, queue)] == ["stays"]
    with pytest.raises(ValueError, match="there is no entry"):
        scheduler.unregister(goes)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({}, {}, "give one of them a name="),
        ({"name": "n"}, {"name": "n", "spec": "@every 2h"}, "an entry named 'n' is registered"),
    ],
)
async def test_the_same_entry_twice_is_refused(
    queue: str, make: Callable[..., Scheduler], first: Any, second: Any, message: str
) -> None:
    scheduler = make()
    arguments: Any = {"spec": "@every 1h", "task": Task("t"), "queue": queue}
    scheduler.register(**(arguments | first))
    with pytest.raises(ValueError, match=message):
        scheduler.register(**(arguments | second))
    scheduler.register(**(arguments | {"name": "another"}))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"spec": "* * * *"}, ValueError, "it has 4 fields"),
        ({"task": "t"}, TypeError, "a Task is what is registered"),
        ({"max_retyr": 1}, TypeError, "did you mean 'max_retry'"),
        ({"timeout": 0}, ValueError, "timeout="),
        ({"name": " "}, ValueError, "name="),
    ],
)
async def test_mistakes_are_found_when_registering(
    make: Callable[..., Scheduler], wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments: Any = {"spec": "@daily", "task": Task("t")}
    with pytest.raises(error, match=message):
        make().register(**(arguments | wrong))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"location": "Europe/Berln"}, ValueError, "did you mean Europe/Berlin"),
        ({"location": 1}, TypeError, "location= takes the name of a time zone"),
        ({"heartbeat_interval": 0}, ValueError, "heartbeat_interval= must be more than 0"),
        ({"missed": "some"}, ValueError, "missed= takes one of skip, once, all"),
        ({"pre_enqueue": 1}, TypeError, r"pre_enqueue= takes a function pre_enqueue\(task, op"),
    ],
)
async def test_impossible_settings_are_refused(
    redis_url: str, settings: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Scheduler(redis_url, **settings)


def entry(**changes: Any) -> Entry:
    arguments: dict[str, Any] = {
        "spec": "@every 1h",
        "task": Task("t", "p", headers={"a": "b"}, max_retry=1),
        "options": {"retention": 5},
        "name": None,
        "zone": UTC,
        "clock": Clock(),
    }
    return Entry(**(arguments | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": "@every 2h"},
        {"zone": ZoneInfo("Asia/Tokyo")},
        {"task": Task("u", "p", headers={"a": "b"}, max_retry=1)},
        {"task": Task("t", "q", headers={"a": "b"}, max_retry=1)},
        {"task": Task("t", "p", headers={"a": "c"}, max_retry=1)},
        {"task": Task("t", "p", headers={"a": "b"}, max_retry=2)},
        {"options": {"retention": 6}},
        {"options": {"retention": 5, "queue": "other"}},
        {"name": "n"},
    ],
)
def test_entries_without_a_name_are_the_same_if_all_of_them_is(changes: dict[str, Any]) -> None:
    assert entry().place.key == entry().place.key
    assert entry(**changes).place.key != entry().place.key


def test_the_same_options_make_the_same_entry_wherever_they_are_given() -> None:
    one = entry(task=Task("t", "p", headers={"a": "b"}, max_retry=1, retention=5), options={})
    assert one.place.key == entry().place.key


def test_an_absent_payload_is_not_an_empty_one() -> None:
    assert entry(task=Task("t")).place.key != entry(task=Task("t", b"")).place.key


def test_entries_of_the_same_name_are_the_same_whatever_they_do() -> None:
    one, other = entry(name="n"), entry(name="n", spec="@daily", task=Task("x"))
    assert one.place.key == other.place.key
    assert one.fingerprint != other.fingerprint


async def test_a_spec_that_never_fires_waits_for_nothing(
    queue: str, make: Callable[..., Scheduler]
) -> None:
    scheduler = make()
    scheduler.register("0 0 30 2 *", Task("t"), queue=queue)
    async with scheduler:
        assert scheduler.entries[0].next is None
        assert await scheduler._step() is None


# Hooks


async def test_hooks_are_told_before_and_after(
    queue: str, told: Told, clock: Clock, make: Callable[..., Scheduler]
) -> None:
    before: list[Any] = []

    async def pre_enqueue(task: Task, options: Any) -> None:
        before.append((task.type, options))
        raise RuntimeError("which is only logged")

    scheduler = make(pre_enqueue=pre_enqueue)
    scheduler.register("@every 1h", Task("t", max_retry=1), queue=queue)
    await scheduler.start()
    clock.skew = 3600
    look(scheduler)
    (info,) = await told.tasks(1)
    assert before == [("t", {"queue": queue})]
    assert (info.type, info.queue, info.max_retry) == ("t", queue, 1)


def fails(*_: object) -> Any:
    raise RuntimeError("which is only logged")


@pytest.mark.parametrize("trace", [fails, lambda task, _: (task, fails)], ids=["begin", "end"])
async def test_trace_that_fails_holds_up_nothing(
    trace: Any,
    queue: str,
    told: Told,
    clock: Clock,
    make: Callable[..., Scheduler],
    inspector: Inspector,
    caplog: pytest.LogCaptureFixture,
) -> None:
    scheduler = make(trace=trace)
    entry = scheduler.register("@every 1h", Task("t"), queue=queue, task_id=queue)
    await scheduler.start()
    clock.skew = 3600
    look(scheduler)
    await told.tasks(1)
    clock.skew = 7200
    look(scheduler)
    await until(lambda: told.errors, "a conflict")
    await until(lambda: inspector.enqueue_events(entry), "its history")
    assert caplog.text.count("the hook trace of the scheduler failed") == 2


async def test_conflicts_are_told_and_do_not_hold_up_what_follows(
    redis: Redis, queue: str, told: Told, clock: Clock, make: Callable[..., Scheduler]
) -> None:
    scheduler = make()
    scheduler.register("@every 1h", Task("unique"), queue=queue, unique=86400)
    scheduler.register("@every 1h", Task("own"), queue=queue, task_id="own")
    await scheduler.start()
    clock.skew = 3600
    look(scheduler)
    await told.tasks(2)
    clock.skew = 7200
    look(scheduler)
    await until(lambda: len(told.errors) == 2, "two conflicts")
    assert {type(error) for error in told.errors} == {DuplicateTaskError, TaskIdConflictError}
    assert await redis.llen(keys.pending(queue)) == 2
    for known in scheduler.entries:
        assert known.prev is not None
        assert known.next == known.prev + HOUR


# What others see


async def test_entries_and_their_history_are_shown_and_taken_away(
    redis: Redis, redis_url: str, queue: str, told: Told, clock: Clock, make: Callable[..., Any]
) -> None:
    scheduler = make()
    first = scheduler.register("@every 1h", Task("one", b"p"), name="n", queue=queue, max_retry=3)
    second = scheduler.register("0 0 30 2 *", Task("two"), queue=queue)
    async with Inspector(redis_url, _clock=clock) as inspector:
        await scheduler.start()
        key = keys.scheduler_entries(scheduler.id)
        assert 0 < await redis.ttl(key) <= 20
        clock.skew = 3600
        look(scheduler)
        (info,) = await told.tasks(1)
        await until(lambda: redis.exists(keys.scheduler_history(first)), "recorded")
        await scheduler._beat()

        mine = [e for e in await inspector.scheduler_entries() if e.id in (first, second)]
        one, two = mine
        assert (one.id, one.name, one.spec) == (first, "n", "@every 1h")
        assert (one.task.type, one.task.payload) == ("one", b"p")
        assert one.options == {"queue": queue, "max_retry": 3}
        assert one.prev is not None
        assert one.next == one.prev + HOUR
        assert (two.id, two.name, two.next, two.prev) == (second, "", None, None)

        (event,) = await inspector.enqueue_events(first)
        assert event.task_id == info.id
        assert event.enqueued_at == info.next_process_at
        assert await inspector.enqueue_events(first, page=2) == []
        assert await inspector.enqueue_events(second) == []

        await scheduler.shutdown()
        assert await redis.exists(key, keys.scheduler_history(first)) == 0
        assert await redis.zscore(keys.SCHEDULERS, key) is None
        assert [e for e in await inspector.scheduler_entries() if e.id in (first, second)] == []


async def test_pages_of_a_history_begin_with_one(redis_url: str) -> None:
    async with Inspector(redis_url) as inspector:
        with pytest.raises(ValueError, match="start at 1"):
            await inspector.enqueue_events("id", page=0)


# Its life


async def test_it_starts_once_and_tells_what_it_is(make: Callable[..., Scheduler]) -> None:
    scheduler = make()
    with pytest.raises(ServerStateError, match="cannot wait: the scheduler is new"):
        await scheduler.wait()
    await scheduler.shutdown()  # nothing to end
    assert scheduler.state == "new"
    async with scheduler:
        assert scheduler.state == "active"
        assert scheduler.id in repr(scheduler)
        with pytest.raises(ServerStateError, match="cannot start: the scheduler is active"):
            await scheduler.start()
    assert scheduler.state == "closed"


async def test_without_redis_it_does_not_start(tmp_path: Any) -> None:
    scheduler = Scheduler(f"unix://{tmp_path}/nobody")
    with pytest.raises(RedisUnavailableError):
        await scheduler.start()
    assert scheduler.state == "closed"


async def test_redis_that_refuses_writes_for_a_while_does_not_keep_it_from_starting(
    start_redis: Callable[..., RedisServer], queue: str, told: Told
) -> None:
    server = start_redis()
    async with connect(server.url) as redis:
        await redis.config_set("maxmemory", "1")
        scheduler = Scheduler(server.url, post_enqueue=told, heartbeat_interval=0.2)
        scheduler.register("@every 1s", Task("tick", queue=queue))
        async with scheduler:
            await redis.config_set("maxmemory", "0")
            await told.tasks(1)


async def test_a_server_carries_a_scheduler(redis_url: str, queue: str, clock: Clock) -> None:
    ran = asyncio.Event()

    async def handler(task: Task) -> None:
        ran.set()

    async with Client(redis_url) as client:
        scheduler = Scheduler(client)
        scheduler.register("@every 1s", Task("t"), queue=queue)
        async with Server(
            client, handler, ServerConfig(queues={queue: 1}), scheduler=scheduler
        ) as server:
            assert server.scheduler is scheduler
            assert scheduler.state == "active"
            await soon(ran.wait())
        assert scheduler.state == "closed"
        await client.ping()


async def test_a_server_carries_nothing_else(redis_url: str) -> None:
    async def handler(task: Task) -> None: ...

    wrong: Any = object()
    with pytest.raises(TypeError, match="scheduler= takes a Scheduler"):
        Server(redis_url, handler, scheduler=wrong)


def test_an_answer_that_took_long_does_not_spoil_what_is_known_of_the_clock() -> None:
    one, now = entry(), 1_000_000_000_000
    asked_s = one.local_s()
    one.hear(now, asked_s)
    before = one.now_ms()
    one.hear(now, asked_s - 5)  # that it was asked long before it showed the same says nothing new
    assert before <= one.now_ms() < before + 1000
    one.hear(now + 3000, one.local_s())  # it was set
    assert one.now_ms() >= now + 3000
