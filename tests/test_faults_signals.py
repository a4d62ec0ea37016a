"""What a worker process does with its running tasks when it is told to leave."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from standing import nothing_left, pending_ids, standing, until
from worker_processes import Workers

from asyncq import Client, Task

RUNNING = 20
NEVER = 3600.0


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    async with Client(redis_url) as client:
        yield client


async def enqueue(client: Client, queue: str, *types: str) -> list[str]:
    infos = await client.enqueue_many([Task(type_, queue=queue) for type_ in types])
    return [info.id for info in infos]


def config(queue: str, shutdown_timeout: float) -> dict[str, object]:
    return {"queues": {queue: 1}, "concurrency": RUNNING, "shutdown_timeout": shutdown_timeout}


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
async def test_signal_acknowledges_what_ends_in_time_and_puts_the_rest_back_in_order(
    name: str, client: Client, redis: Redis, redis_url: str, queue: str, tmp_path: Path
) -> None:
    ids = await enqueue(client, queue, *["gated", "hangs"] * (RUNNING // 2), *["quick"] * 10)
    in_time, too_long, not_taken = ids[:RUNNING:2], ids[1:RUNNING:2], ids[RUNNING:]
    async with Workers(redis_url, tmp_path, config=config(queue, 3)) as workers:
        worker = await workers.start()
        await until(lambda: workers.count("start") == RUNNING)
        worker.send_signal(signal.Signals[name])
        await worker.says(f"{name}: shutting down")
        workers.open_gate()
        assert await worker.wait() == 0, worker.log
        assert workers.times("done") == dict.fromkeys(in_time, 1)
    assert await pending_ids(redis, queue) == too_long + not_taken
    assert await standing(redis, queue) == nothing_left(
        processed=len(in_time), pending=len(too_long + not_taken)
    )


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
async def test_second_signal_puts_everything_back_and_leaves(
    name: str, client: Client, redis: Redis, redis_url: str, queue: str, tmp_path: Path
) -> None:
    # Among them what does not end when it is cancelled.
    kinds = [*["gated", "swallows", "hangs", "thread"] * (RUNNING // 4), *["quick"] * 10]
    ids = await enqueue(client, queue, *kinds)
    async with Workers(redis_url, tmp_path, config=config(queue, NEVER)) as workers:
        worker = await workers.start()
        await until(lambda: workers.count("start") == RUNNING)
        worker.send_signal(signal.Signals[name])
        await worker.says(f"{name}: shutting down")
        worker.send_signal(signal.Signals[name])
        assert await worker.wait() == 0, worker.log
        assert not workers.count("done")
    assert await standing(redis, queue) == nothing_left(processed=0, pending=len(ids))
    assert sorted(await pending_ids(redis, queue)) == sorted(ids)
    assert (await pending_ids(redis, queue))[RUNNING:] == ids[RUNNING:]


async def test_handlers_that_do_not_end_are_put_back_after_the_shutdown(
    client: Client, redis: Redis, redis_url: str, queue: str, tmp_path: Path
) -> None:
    ids = await enqueue(client, queue, *["swallows", "thread"] * 3)
    timing = {"cancel": 0.5}
    async with Workers(redis_url, tmp_path, config=config(queue, 0.5), timing=timing) as workers:
        worker = await workers.start()
        await until(lambda: workers.count("start") == len(ids))
        worker.send_signal(signal.SIGTERM)
        assert await worker.wait() == 0, worker.log
    assert sorted(await pending_ids(redis, queue)) == sorted(ids)
    assert await standing(redis, queue) == nothing_left(processed=0, pending=len(ids))


async def test_tstp_lets_running_tasks_end_and_takes_no_more(
    client: Client, redis: Redis, redis_url: str, queue: str, tmp_path: Path
) -> None:
    running = await enqueue(client, queue, *["gated"] * 5)
    async with Workers(redis_url, tmp_path, config=config(queue, NEVER)) as workers:
        worker = await workers.start()
        await until(lambda: workers.count("start") == len(running))
        worker.send_signal(signal.SIGTSTP)
        await worker.says("taking no new tasks")
        left = await enqueue(client, queue, *["quick"] * 5)
        workers.open_gate()
        await until(lambda: workers.count("done") == len(running))
        worker.send_signal(signal.SIGTERM)
        assert await worker.wait() == 0, worker.log
        assert workers.times("done") == dict.fromkeys(running, 1)
    assert await pending_ids(redis, queue) == left
    assert await standing(redis, queue) == nothing_left(processed=5, pending=5)
