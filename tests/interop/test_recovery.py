"""A worker of one side is killed with -9; the other side recovers what it held."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis.asyncio import Redis
from waiting import until

from asyncq._broker import keys

from .conftest import StartPeer
from .peers import Peer, Seen, find, seen_by_all

BOTH_WAYS = pytest.mark.parametrize(("dies", "heir"), [("go", "python"), ("python", "go")])

QUICK = {"recover": 0.2, "sweep": 0.2}
"""How often a Python worker looks; a Go worker looks when it starts."""


@BOTH_WAYS
async def test_running_tasks_of_a_killed_worker_are_recovered(
    dies: str, heir: str, start_peer: StartPeer, go: Peer, python: Peer, queue: str, redis: Redis
) -> None:
    victim = start_peer(dies)
    await victim.start_worker(queues={queue: 1})
    again = [
        await go.enqueue("hang-first", b"%d" % n, queue=queue, max_retry=2, retention=3600)
        for n in range(5)
    ]
    exhausted = await python.enqueue("hang", b"last", queue=queue, max_retry=0)
    for task in (*again, exhausted):
        await victim.event("start", task)
    victim.kill()
    await end_leases(redis, queue, 6)

    survivor = await start_heir(start_peer, heir, queue)
    for task in again:
        assert (await survivor.event("done", task))["retried"] == 1
        stored = await comes_to("completed", task, go, python)
        assert stored["last_error"] == "asynq: task lease expired"
        assert stored["result"] == f"done:{stored['payload']}"
    stored = await comes_to("archived", exhausted, go, python)
    assert stored["last_error"] == "asynq: task lease expired"
    assert not await redis.exists(keys.active(queue), keys.lease(queue))


@BOTH_WAYS
async def test_a_group_in_the_hands_of_a_killed_worker_is_aggregated(
    dies: str, heir: str, start_peer: StartPeer, go: Peer, python: Peer, queue: str, redis: Redis
) -> None:
    group = {"grace_period": 1, "max_size": 2}
    victim = start_peer(dies)
    await victim.start_worker(queues={queue: 1}, group=group | {"hang": True})
    for peer, payload in ((go, b"a"), (python, b"b")):
        await peer.enqueue("echo", payload, queue=queue, group="g")
    await victim.event("aggregating", group="g", count=2)
    victim.kill()
    sets = keys.aggregation_sets(queue)
    (taken,) = await members(redis, sets)
    await redis.zadd(sets, {taken: time.time() - 1})

    survivor = await start_heir(start_peer, heir, queue, group=group)
    if heir == "go":
        # asynq puts the tasks back, but only looks at the group once it is joined again.
        await until(lambda: redis.exists(keys.group(queue, "g")), "put back")
        await go.enqueue("echo", b"c", queue=queue, group="g")
    await survivor.event("done", payload="g=a,b", queue=queue)


async def end_leases(redis: Redis, queue: str, count: int) -> None:
    """Let a minute pass for the leases of a queue."""
    lease = keys.lease(queue)
    ids = await members(redis, lease)
    assert len(ids) == count
    await redis.zadd(lease, {task_id: int(time.time()) - 60 for task_id in ids})


async def members(redis: Redis, zset: str) -> list[Any]:
    found: list[Any] = await redis.zrange(zset, 0, -1)
    return found


async def start_heir(start_peer: StartPeer, language: str, queue: str, **config: Any) -> Peer:
    heir = start_peer(language)
    timing = QUICK if language == "python" else None
    await heir.start_worker(queues={queue: 1}, timing=timing, **config)
    return heir


async def comes_to(state: str, task: Seen, *peers: Peer) -> Seen:
    async def is_there() -> bool:
        stored = await find(peers[0], task)
        return stored is not None and stored["state"] == state

    await until(is_there, f"{task} {state}")
    return await seen_by_all(peers, task)
