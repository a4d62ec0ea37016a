"""A reply that is lost costs nothing: whatever was asked is asked again and recognises itself.

Each campaign cuts the reply of one operation a hundred times, each time a hundredth further on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from proxy import CutReply, CutRequest, HoldBack, Notice, Proxy, runs
from redis.asyncio import Redis
from redis_servers import RedisServer
from standing import Handled, at_rest, gave_tasks, nothing_left, pending_ids, standing, until
from waiting import soon

from asyncq import Client, Server, ServerConfig, Task
from asyncq._broker import scripts

CUTS = 100
Summary = Callable[[str, object], None]


@pytest.fixture
async def proxy(redis_server: RedisServer) -> AsyncIterator[Proxy]:
    async with Proxy(redis_server.socket) as proxy:
        yield proxy


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    """A producer that no fault touches."""
    async with Client(redis_url) as client:
        yield client


async def test_fetch_whose_reply_is_cut_gets_its_tasks_at_once(
    proxy: Proxy, client: Client, redis: Redis, queue: str, record_property: Summary
) -> None:
    handled, per_cut = Handled(), 3
    config = ServerConfig(queues={queue: 1}, concurrency=10)
    async with Server(proxy.url, handled, config):
        for n in range(CUTS):
            cut = proxy.plan(CutReply(runs(scripts.DEQUEUE), n / CUTS, when=gave_tasks))
            await client.enqueue_many([Task("t", queue=queue)] * per_cut)
            await soon(cut.happened.wait())
            await handled.reaches(per_cut * (n + 1))
        tasks = CUTS * per_cut
        assert await at_rest(redis, queue) == nothing_left(processed=tasks)
    assert handled.each_once(tasks)
    assert handled.retries == 0
    record_property(
        "summary", f"fetch replies cut: {CUTS}; tasks: {tasks}, each handled once, 0 recovered"
    )


async def test_settle_whose_reply_is_cut_counts_once(
    proxy: Proxy, client: Client, redis: Redis, queue: str, record_property: Summary
) -> None:
    handled, per_cut = Handled(), 3
    config = ServerConfig(queues={queue: 1}, concurrency=10)
    async with Server(proxy.url, handled, config):
        for n in range(CUTS):
            cut = proxy.plan(CutReply(runs(scripts.SETTLE), n / CUTS))
            sent_again = proxy.plan(Notice(runs(scripts.SETTLE)))
            await client.enqueue_many([Task("t", queue=queue)] * per_cut)
            await soon(cut.happened.wait())
            await soon(sent_again.happened.wait())
            await at_rest(redis, queue)
        tasks = CUTS * per_cut
        assert await standing(redis, queue) == nothing_left(processed=tasks)
    assert handled.each_once(tasks)
    assert handled.retries == 0
    record_property(
        "summary", f"settle replies cut: {CUTS}; tasks: {tasks}, each acknowledged once"
    )


async def test_failed_and_completed_attempts_are_written_once_however_often_their_reply_is_cut(
    proxy: Proxy, client: Client, redis: Redis, queue: str
) -> None:
    async def handler(task: Task) -> bytes:
        if task.type == "fails":
            raise ValueError("no")
        return b"result"

    config = ServerConfig(queues={queue: 1}, retry_delay=lambda *_: timedelta(hours=1))
    rounds = 20
    async with Server(proxy.url, handler, config):
        for n in range(rounds):
            cut = proxy.plan(CutReply(runs(scripts.SETTLE), n / rounds))
            sent_again = proxy.plan(Notice(runs(scripts.SETTLE)))
            await client.enqueue(Task("fails", queue=queue))
            await client.enqueue(Task("fails", queue=queue, max_retry=0))
            await client.enqueue(Task("works", queue=queue, retention=3600))
            await soon(cut.happened.wait())
            await soon(sent_again.happened.wait())
            await _are_finished(redis, queue, 3 * (n + 1))
    assert await standing(redis, queue) == nothing_left(
        processed=3 * rounds, failed=2 * rounds, retry=rounds, archived=rounds, completed=rounds
    )


async def _are_finished(redis: Redis, queue: str, tasks: int) -> None:
    async def finished() -> bool:
        now = await standing(redis, queue)
        return now.retry + now.archived + now.completed == tasks and not now.lease

    await until(finished)


async def test_commands_cut_on_their_way_are_executed_once(
    proxy: Proxy, client: Client, redis: Redis, queue: str
) -> None:
    handled, rounds = Handled(), 30
    config = ServerConfig(queues={queue: 1}, concurrency=10)
    async with Server(proxy.url, handled, config):
        for n in range(rounds):
            script = (scripts.DEQUEUE, scripts.SETTLE)[n % 2]
            cut = proxy.plan(CutRequest(runs(script), n / rounds))
            await client.enqueue(Task("t", queue=queue))
            await soon(cut.happened.wait())
            await handled.reaches(n + 1)
        assert await at_rest(redis, queue) == nothing_left(processed=rounds)
    assert handled.each_once(rounds)


async def test_enqueue_whose_reply_is_cut_is_no_conflict_with_itself(
    proxy: Proxy, redis: Redis, queue: str, record_property: Summary
) -> None:
    kinds: list[dict[str, object]] = [
        {},
        {"task_id": "own"},
        {"unique": 600},
        {"task_id": "own", "unique": 600},
        {"process_in": 3600},
    ]
    ids: list[str] = []
    async with Client(proxy.url) as client:
        for n in range(CUTS):
            options = dict(kinds[n % len(kinds)])
            if "task_id" in options:
                options["task_id"] = f"own-{n}"
            cut = proxy.plan(CutReply(runs(scripts.ENQUEUE), n / CUTS))
            # Payloads differ, or uniqueness would rightly refuse.
            info = await client.enqueue(Task("t", str(n), queue=queue), **options)  # type: ignore[arg-type]  # of mixed kinds
            assert cut.happened.is_set()
            ids.append(info.id)
    now = await standing(redis, queue)
    scheduled = CUTS // len(kinds)
    assert (now.pending, now.scheduled) == (CUTS - scheduled, scheduled)
    assert len(set(ids)) == CUTS
    assert await pending_ids(redis, queue) == [ids[n] for n in range(CUTS) if n % len(kinds) != 4]

    handled = Handled()
    async with Server(proxy.url, handled, ServerConfig(queues={queue: 1})):
        await until(lambda: handled.each_once(CUTS - scheduled))
    record_property(
        "summary", f"enqueue replies cut: {CUTS}; conflicts: 0, each of {CUTS} tasks stored once"
    )


async def test_batch_whose_reply_is_cut_is_stored_once(
    proxy: Proxy, redis: Redis, queue: str
) -> None:
    rounds = 20
    async with Client(proxy.url) as client:
        for n in range(rounds):
            cut = proxy.plan(CutReply(runs(scripts.ENQUEUE), n / rounds))
            tasks = [Task("t", queue=queue), Task("t", queue=queue, task_id=f"own-{n}")]
            infos = await client.enqueue_many(tasks)
            assert cut.happened.is_set()
            assert (await pending_ids(redis, queue))[2 * n :] == [info.id for info in infos]


async def test_fetch_executed_after_it_was_sent_again_takes_nothing(
    proxy: Proxy, client: Client, redis: Redis, queue: str, record_property: Summary
) -> None:
    slots, rounds = 5, 10
    for n in range(rounds):
        handled, gate = Handled(), asyncio.Event()

        async def handler(
            task: Task, handled: Handled = handled, gate: asyncio.Event = gate
        ) -> None:
            await handled(task)
            await gate.wait()

        infos = await client.enqueue_many([Task("t", queue=queue)] * 2 * slots)
        late = proxy.plan(HoldBack(runs(scripts.DEQUEUE)))
        sent_again = proxy.plan(Notice(runs(scripts.DEQUEUE), when=gave_tasks))
        async with Server(proxy.url, handler, ServerConfig(queues={queue: 1}, concurrency=slots)):
            await soon(late.happened.wait())
            await soon(sent_again.happened.wait())
            late.release.set()
            await soon(late.executed.wait())
            # All slots are taken: for what the late call took there would be none.
            assert await standing(redis, queue) == nothing_left(
                processed=2 * slots * n, pending=slots, active=slots, lease=slots
            )
            assert await pending_ids(redis, queue) == [info.id for info in infos[slots:]]
            gate.set()
            await at_rest(redis, queue)
        assert handled.each_once(2 * slots)
        assert handled.retries == 0
    assert await standing(redis, queue) == nothing_left(processed=2 * slots * rounds)
    record_property(
        "summary",
        f"fetches executed late, after they were sent again: {rounds}; tasks they took: 0 of"
        f" {slots * rounds}, each handled once, 0 recovered",
    )
