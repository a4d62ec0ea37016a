"""Tokens of asynq's `x/rate` and of `asyncq.Semaphore` are the same tokens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis.asyncio import Redis

from asyncq._broker import keys

from .conftest import StartPeer
from .peers import Peer, Seen

LANGUAGES = ("go", "python")


@pytest.mark.parametrize(("first", "second"), [("go", "python"), ("python", "go")])
async def test_a_token_of_one_side_is_missing_on_the_other(
    first: str, second: str, start_peer: StartPeer, go: Peer, queue: str, redis: Redis
) -> None:
    workers = {language: start_peer(language) for language in LANGUAGES}
    queues = {language: f"{queue}-{language}" for language in LANGUAGES}
    for language, worker in workers.items():
        await worker.start_worker(queues={queues[language]: 1}, concurrency=2)
    payload = json.dumps({"scope": queue, "tokens": 2}).encode()

    async def ask(language: str) -> Seen:
        return await go.enqueue("semaphore", payload, queue=queues[language], max_retry=0)

    # Two tokens, one for each side; then there is none for anybody.
    holders = {language: await ask(language) for language in (first, second)}
    for language, task in holders.items():
        await workers[language].event("token", task)
    for language in LANGUAGES:
        await workers[language].event("no-token", await ask(language))
    held = await tokens(redis, queue)
    assert sorted(held) == sorted(task["id"] for task in holders.values())

    # What the first gives back, the second may have, beside the token that it holds.
    await workers[first].call("open_gate")
    await workers[first].event("done", holders[first])
    late = await ask(second)
    await workers[second].event("token", late)
    held = await tokens(redis, queue)
    assert sorted(held) == sorted([holders[second]["id"], late["id"]])


async def tokens(redis: Redis, scope: str) -> dict[str, float]:
    """Who holds a token, and until when."""
    held: list[Any] = await redis.zrange(keys.semaphore(scope), 0, -1, withscores=True)
    return {member.decode(): until for member, until in held}


@pytest.mark.parametrize(("dies", "heir"), [("go", "python"), ("python", "go")])
async def test_a_token_of_a_killed_worker_runs_out_with_its_task(
    dies: str, heir: str, start_peer: StartPeer, go: Peer, queue: str, redis: Redis
) -> None:
    payload = json.dumps({"scope": queue, "tokens": 1}).encode()
    victim = start_peer(dies)
    await victim.start_worker(queues={queue: 1})
    task = await go.enqueue("semaphore", payload, queue=queue, timeout=100)
    await victim.event("token", task)
    victim.kill()
    held = await tokens(redis, queue)
    assert list(held) == [task["id"]]
    # Let the time-out pass.
    await redis.zadd(keys.semaphore(queue), {task["id"]: held[task["id"]] - 102})

    other = f"{queue}-other"
    survivor = start_peer(heir)
    await survivor.start_worker(queues={other: 1})
    await survivor.event("token", await go.enqueue("semaphore", payload, queue=other))
