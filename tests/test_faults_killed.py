"""Workers that vanish: what they held runs again, and is acknowledged once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
from redis.asyncio import Redis
from standing import at_rest, nothing_left, standing, until
from worker_processes import Workers

from asyncq import Client, Task

SHORT = {"lease": 3, "heartbeat": 1, "claimed_grace": 1, "recover": 0.5}
TASKS = 1000


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    async with Client(redis_url) as client:
        yield client


@pytest.mark.parametrize(
    ("timing", "lease_s"),
    [
        pytest.param(SHORT, 3, id="short lease"),
        pytest.param({}, 30, id="real lease", marks=pytest.mark.campaign),
    ],
)
async def test_tasks_of_a_killed_worker_are_handled_by_another(
    timing: Mapping[str, float],
    lease_s: int,
    client: Client,
    redis: Redis,
    redis_url: str,
    queue: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    config = {"queues": {queue: 1}, "concurrency": TASKS}
    await client.enqueue_many([Task("gated", queue=queue)] * TASKS)
    async with Workers(redis_url, tmp_path, config=config, timing=timing) as workers:
        victim = await workers.start()
        await until(lambda: workers.count("start") == TASKS)
        await workers.start()
        await victim.kill()
        killed_ns = time.monotonic_ns()
        workers.open_gate()
        after = await at_rest(redis, queue)
        done = workers.notes("done")
    took_s = (done[-1].at_ns - killed_ns) / 1e9
    assert workers.times("done") == dict.fromkeys((note.task_id for note in done), 1)
    assert len(done) == TASKS
    # The attempt that was killed counts as a failure, and the second one succeeded.
    assert {note.retry_count for note in done} == {1}
    assert after == nothing_left(processed=2 * TASKS, failed=TASKS)
    record_property(
        "summary",
        f"kill -9 in the middle of {TASKS} running tasks, lease {lease_s} s: {len(done)} handled"
        f" after recovery, 0 acknowledged twice; {took_s:.1f} s from kill to last handled",
    )


@pytest.mark.campaign
async def test_workers_killed_again_and_again_lose_nothing(
    client: Client,
    redis: Redis,
    redis_url: str,
    queue: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    kills, per_kill = 10, 3000
    config = {"queues": {queue: 1}, "concurrency": 100}
    async with Workers(redis_url, tmp_path, config=config, timing=SHORT, retry_delay=0) as workers:
        survivors = [await workers.start(), await workers.start()]
        for n in range(kills):
            await client.enqueue_many([Task("quick", queue=queue)] * per_kill)
            await workers.reach("done", per_kill * n + per_kill // 3)
            await survivors.pop(0).kill()
            survivors.append(await workers.start())
        after = await at_rest(redis, queue)
        times = workers.times("done")
    tasks = kills * per_kill
    assert len(times) == tasks
    assert after.processed - after.failed == tasks  # each acknowledged once
    assert after.archived == 0
    record_property(
        "summary",
        f"workers killed under load: {kills}; tasks: {tasks}, each acknowledged once;"
        f" {after.failed} recovered, of which {times.total() - tasks} had been handled already",
    )
    assert await standing(redis, queue) == after
