"""What the dashboard reads from a real Redis, and what it does there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from placed import put
from redis.asyncio import Redis
from serving import Sleeper, Working
from stored import snapshot
from waiting import soon, until

from asyncq import (
    Client,
    Inspector,
    QueueNotFoundError,
    Scheduler,
    Task,
    TaskFilter,
    TaskState,
)
from asyncq._broker import keys
from asyncq.dash.actor import Actor
from asyncq.dash.keys import Place
from asyncq.dash.reader import Reader
from asyncq.dash.snapshot import Request, Scan, Snapshot
from asyncq.dash.state import Action, Ended, ManyTasks, OneTask, SetPaused, WritePayload


@pytest.fixture
def reader(inspector: Inspector) -> Reader:
    return Reader(inspector)


async def read(reader: Reader, place: Place, **what: Any) -> Snapshot:
    what.setdefault("size", 10)
    return await reader.read(Request(number=1, place=place, **what))


# Reading


async def test_queues_are_read_all(reader: Reader, redis: Redis, queue: str) -> None:
    names = [f"{queue}{n:02}" for n in range(20)]
    for name in names:
        await put(redis, name, "pending", ["a"])
    await redis.sadd(keys.QUEUES, "", " ")  # no program writes such, people can
    try:
        seen = await read(reader, Place.QUEUES)
    finally:
        await redis.srem(keys.QUEUES, "", " ")
    assert seen.queues is not None
    ours = [info for info in seen.queues if info.queue.startswith(queue)]
    assert [(info.queue, info.pending) for info in ours] == [(name, 1) for name in names]


async def test_page_of_tasks_comes_with_the_counts_of_its_queue(
    reader: Reader, redis: Redis, queue: str
) -> None:
    await put(redis, queue, "retry", [f"r{n}" for n in range(25)])
    seen = await read(reader, Place.TASKS, queue=queue, state=TaskState.RETRY, page=3)
    assert seen.tasks is not None
    assert [task.id for task in seen.tasks] == ["r20", "r21", "r22", "r23", "r24"]
    assert seen.queue is not None
    assert seen.queue.retry == 25


async def test_groups_and_the_tasks_in_one(reader: Reader, redis: Redis, queue: str) -> None:
    await put(redis, queue, "aggregating", ["g1", "g2"], group="g")
    seen = await read(reader, Place.GROUPS, queue=queue)
    assert seen.groups is not None
    assert [(group.group, group.size) for group in seen.groups] == [("g", 2)]
    seen = await read(reader, Place.TASKS, queue=queue, state=TaskState.AGGREGATING, group="g")
    assert seen.tasks is not None
    assert [task.id for task in seen.tasks] == ["g1", "g2"]


async def test_queue_that_is_gone_is_an_error(reader: Reader, queue: str) -> None:
    with pytest.raises(QueueNotFoundError):
        await read(reader, Place.TASKS, queue=queue)


async def test_task_that_is_gone_is_none(reader: Reader, redis: Redis, queue: str) -> None:
    await put(redis, queue, "pending", ["a"])
    there = await read(reader, Place.QUEUES, task=(queue, "a"))
    assert there.task is not None
    assert there.task.id == "a"
    assert (await read(reader, Place.QUEUES, task=(queue, "b"))).task is None


async def test_server_is_seen_with_what_it_runs(reader: Reader, working: Working) -> None:
    sleeper = Sleeper()
    async with working(sleeper) as work:
        info = await work.enqueue("t")
        await soon(sleeper.entered.wait())

        async def running() -> bool:
            seen = await read(reader, Place.WORKERS)
            return info.id in [w.task_id for s in seen.servers or () for w in s.active_workers]

        await until(running)
        seen = await read(reader, Place.QUEUES, task=(work.queue, info.id))
        assert seen.worker is not None
        assert seen.worker.task_id == info.id


async def test_scheduler_is_seen_with_what_it_enqueued(
    reader: Reader, redis_url: str, queue: str
) -> None:
    scheduler = Scheduler(redis_url)
    entry = scheduler.register("@every 1s", Task("t"), queue=queue)
    async with scheduler:

        async def enqueued() -> bool:
            seen = await read(reader, Place.EVENTS, entry=entry)
            assert seen.entries is not None
            return bool(seen.events) and entry in [e.id for e in seen.entries]

        await until(enqueued)


async def test_redis_says_what_it_is(reader: Reader) -> None:
    seen = await read(reader, Place.REDIS)
    assert seen.redis is not None
    assert "used_memory" in seen.redis[0].values


@pytest.mark.parametrize("wanted", [1, 3, 7, 100])
@pytest.mark.parametrize("share", [1, 2, 150])
async def test_search_finds_each_match_on_one_page(
    reader: Reader, redis: Redis, queue: str, wanted: int, share: int
) -> None:
    places = {f"p{n:03}": n for n in range(0, 450, share)}
    await put(redis, queue, "scheduled", places, payload=b"yes")
    await put(
        redis,
        queue,
        "scheduled",
        {f"p{n:03}": n for n in range(450) if n % share},
        payload=b"no",
    )
    found: list[str] = []
    scan = Scan(filter=TaskFilter(payload="yes"), start=None, wanted=wanted)
    while True:
        seen = await read(reader, Place.TASKS, queue=queue, state=TaskState.SCHEDULED, scan=scan)
        assert seen.part is not None
        assert len(seen.part.tasks) <= wanted
        found += [task.id for task in seen.part.tasks]
        if seen.part.cursor is None:
            break
        scan = Scan(filter=scan.filter, start=seen.part.cursor, wanted=wanted)
    assert found == list(places)


async def test_search_answers_in_between(reader: Reader, redis: Redis, queue: str) -> None:
    await put(redis, queue, "scheduled", [f"{n}" for n in range(5000)])
    scan = Scan(filter=TaskFilter(type="none"), start=None, wanted=5)
    looked = []
    while True:
        seen = await read(reader, Place.TASKS, queue=queue, state=TaskState.SCHEDULED, scan=scan)
        assert seen.part is not None
        looked.append(seen.part.looked)
        if seen.part.cursor is None:
            break
        scan = Scan(filter=scan.filter, start=seen.part.cursor, wanted=5)
    assert len(looked) == 3


# Acting


async def do(inspector: Inspector, action: Action) -> Ended:
    return await Actor(inspector).do(action, lambda done: None)


@pytest.mark.parametrize(
    ("verb", "state"), [("run", "pending"), ("archive", "archived"), ("delete", "")]
)
async def test_one_task_is_moved(
    inspector: Inspector, redis: Redis, queue: str, verb: Any, state: str
) -> None:
    await put(redis, queue, "scheduled", ["a", "b"])
    ended = await do(inspector, OneTask(verb, queue, "a"))
    assert (ended.error, ended.done) == ("", 1)
    there = await snapshot(redis, queue)
    assert there.get("t:a", {}).get("state", "") == state
    assert there["t:b"]["state"] == "scheduled"


async def test_running_task_is_cancelled(inspector: Inspector, working: Working) -> None:
    sleeper = Sleeper()
    async with working(sleeper) as work:
        info = await work.enqueue("t", max_retry=0)
        await soon(sleeper.entered.wait())
        assert work.server._parts is not None
        await soon(work.server._parts.subscriber.subscribed.wait())
        assert (await do(inspector, OneTask("cancel", work.queue, info.id))).error == ""
        await work.comes_to("archived", info)


async def test_all_running_tasks_are_cancelled(inspector: Inspector, working: Working) -> None:
    async with working(Sleeper()) as work:
        infos = [await work.enqueue("t", max_retry=0) for _ in range(3)]
        for info in infos:
            await work.comes_to("active", info)
        assert work.server._parts is not None
        await soon(work.server._parts.subscriber.subscribed.wait())
        ended = await do(inspector, many("cancel", work.queue, TaskState.ACTIVE))
        assert (ended.error, ended.done) == ("", 3)
        for info in infos:
            await work.comes_to("archived", info)


def many(verb: Any, queue: str, state: TaskState, **which: Any) -> ManyTasks:
    rest: dict[str, Any] = {"group": "", "filter": None, "total": 0}
    return ManyTasks(verb=verb, queue=queue, state=state, **(rest | which))


async def test_all_that_match_are_moved_with_progress(
    inspector: Inspector, redis: Redis, queue: str
) -> None:
    await put(redis, queue, "retry", [f"a{n}" for n in range(250)], payload=b"yes")
    await put(redis, queue, "retry", [f"b{n}" for n in range(5)], payload=b"no")
    told: list[int] = []
    action = many("delete", queue, TaskState.RETRY, filter=TaskFilter(payload="yes"))
    ended = await Actor(inspector).do(action, told.append)
    assert (ended.done, told[-1], ended.error) == (250, 250, "")
    assert len(told) > 1
    info = await inspector.queue_info(queue)
    assert (info.retry, info.size) == (5, 5)


async def test_group_is_moved(inspector: Inspector, redis: Redis, queue: str) -> None:
    await put(redis, queue, "aggregating", ["g1", "g2"], group="g")
    await put(redis, queue, "aggregating", ["h1"], group="h")
    ended = await do(inspector, many("archive", queue, TaskState.AGGREGATING, group="g"))
    assert ended.done == 2
    assert [group.group for group in await inspector.groups(queue)] == ["h"]


async def test_queue_is_paused_and_resumed(
    inspector: Inspector, client: Client, queue: str
) -> None:
    await client.enqueue(Task("t"), queue=queue)
    for paused in (True, False):
        assert (await do(inspector, SetPaused(queue, paused))).error == ""
        assert (await inspector.queue_info(queue)).paused is paused


async def test_payload_is_written(inspector: Inspector, client: Client, queue: str) -> None:
    info = await client.enqueue(Task("t", {"n": 1}), queue=queue)
    assert (await do(inspector, WritePayload(queue, info.id, b'{"n": 2}'))).error == ""
    assert (await inspector.task_info(queue, info.id)).payload == b'{"n": 2}'


async def test_what_cannot_be_done_is_told_not_raised(
    inspector: Inspector, redis: Redis, queue: str
) -> None:
    await put(redis, queue, "pending", ["a"])
    assert "pending already" in (await do(inspector, OneTask("run", queue, "a"))).error
    assert "gone" in (await do(inspector, OneTask("run", queue, "gone"))).error
    assert "gone" in (await do(inspector, WritePayload(queue, "gone", b""))).error
    gone = many("delete", queue + "gone", TaskState.RETRY)
    assert "does not exist" in (await do(inspector, gone)).error


async def test_work_that_is_stopped_was_told_how_far_it_came(
    inspector: Inspector, redis: Redis, queue: str
) -> None:
    await put(redis, queue, "retry", [f"{n}" for n in range(2000)])
    told: list[int] = []
    some = asyncio.Event()

    def progress(done: int) -> None:
        told.append(done)
        some.set()

    work = asyncio.create_task(
        Actor(inspector).do(many("delete", queue, TaskState.RETRY), progress)
    )
    await soon(some.wait())
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    left = (await inspector.queue_info(queue)).retry
    assert 0 < told[-1] <= 2000 - left
