"""A worker told to stop in the middle of a fetch gives everything back, in its old order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from proxy import CutReply, HoldReply, HoldRequest, Proxy, runs
from redis.asyncio import Redis
from redis_servers import RedisServer
from standing import Handled, gave_tasks, nothing_left, pending_ids, standing, until
from waiting import soon
from worker_processes import Workers

from asyncq import Client, Server, ServerConfig, Task
from asyncq._broker import scripts

IN_PROCESS, PROCESSES, TASKS = 90, 10, 5
Fault = HoldRequest | HoldReply | CutReply


@pytest.fixture
async def proxy(redis_server: RedisServer) -> AsyncIterator[Proxy]:
    async with Proxy(redis_server.socket) as proxy:
        yield proxy


def plan_fault(proxy: Proxy, n: int) -> Fault:
    """Where the stop finds the fetch: before Redis has it, after, or with its reply lost."""
    dequeues = runs(scripts.DEQUEUE)
    faults: list[Fault] = [
        HoldRequest(dequeues),
        HoldReply(dequeues, when=gave_tasks),
        CutReply(dequeues, n / (IN_PROCESS + PROCESSES), when=gave_tasks),
    ]
    return proxy.plan(faults[n % len(faults)])


async def holds(proxy: Proxy, fault: Fault) -> asyncio.Event:
    """Return when the fetch has come that far and stands still; the event lets it go on."""
    await soon(fault.happened.wait())
    if isinstance(fault, CutReply):
        fault = proxy.plan(HoldRequest(runs(scripts.DEQUEUE)))  # when it is sent again
        await soon(fault.happened.wait())
    assert not isinstance(fault, CutReply)
    return fault.release


async def enqueue(url: str, queue: str) -> list[str]:
    async with Client(url) as client:
        infos = await client.enqueue_many([Task("quick", queue=queue)] * TASKS)
    return [info.id for info in infos]


async def nothing_has_happened(redis: Redis, queue: str, ids: list[str]) -> None:
    assert await standing(redis, queue) == nothing_left(processed=0, pending=TASKS)
    assert await pending_ids(redis, queue) == ids


async def takes_nothing_more(server: Server) -> None:
    parts = server._parts
    assert parts is not None
    await until(parts.processor._stop.is_set)


async def handle_the_rest(url: str, redis: Redis, queue: str) -> None:
    handled = Handled()
    async with Server(url, handled, ServerConfig(queues={queue: 1})):
        await handled.reaches(TASKS)
    assert handled.each_once(TASKS)
    assert handled.retries == 0
    assert await standing(redis, queue) == nothing_left(processed=TASKS)


async def test_server_shut_down_in_the_middle_of_a_fetch_gives_its_tasks_back(
    proxy: Proxy,
    redis_url: str,
    redis: Redis,
    queue: str,
    record_property: Callable[[str, object], None],
) -> None:
    ids, handled = await enqueue(redis_url, queue), Handled()
    for n in range(IN_PROCESS):
        fault = plan_fault(proxy, n)
        server = Server(proxy.url, handled, ServerConfig(queues={queue: 1}))
        await server.start()
        let_go = await holds(proxy, fault)
        stopping = asyncio.create_task(server.shutdown())
        await takes_nothing_more(server)
        let_go.set()
        await stopping
        await server.wait()
        await nothing_has_happened(redis, queue, ids)
    assert not handled.times
    await handle_the_rest(redis_url, redis, queue)
    record_property(
        "summary",
        f"servers shut down in mid-fetch: {IN_PROCESS}; tasks back in order at once every time,"
        " each handled once in the end, 0 recovered, 0 failures",
    )


async def test_process_terminated_in_the_middle_of_a_fetch_gives_its_tasks_back(
    proxy: Proxy,
    redis_url: str,
    redis: Redis,
    queue: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    ids = await enqueue(redis_url, queue)
    async with Workers(proxy.url, tmp_path, config={"queues": {queue: 1}}) as workers:
        for n in range(PROCESSES):
            fault = plan_fault(proxy, n)
            worker = await workers.start()
            let_go = await holds(proxy, fault)
            worker.send_signal(signal.SIGTERM)
            await worker.says("SIGTERM: shutting down")
            let_go.set()
            assert await worker.wait() == 0, worker.log
            await nothing_has_happened(redis, queue, ids)
        assert not workers.notes()
    await handle_the_rest(redis_url, redis, queue)
    record_property(
        "summary",
        f"processes terminated in mid-fetch: {PROCESSES}; exit status 0, tasks back in order",
    )
