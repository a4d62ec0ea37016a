"""An idle worker: how fast it picks up what a Go client pushes, and what it asks of Redis.

    python benchmarks/idle.py

Go's client writes the task's hash and pushes its id, and tells nobody; this does the same with
a plain Redis client.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from typing import Any
from uuid import uuid4

from bench import QUEUE, milliseconds, own_redis, print_table, result, worker
from redis.asyncio import Redis

from asyncq._broker.codec import encode_task  # Go's bytes, without Go
from asyncq._broker.message import TaskMessage

TASKS = 500


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="to watch the idle worker")
    watched: float = parser.parse_args().seconds
    with own_redis() as server:
        rows: dict[str, str] = {}
        async with Redis.from_url(server.url) as redis, worker(server.url):
            sent, inside = await _watch(redis, watched)
            rows["calls sent by an idle worker"] = _per_second(sent, watched)
            rows["  of these"] = _kinds(sent, watched)
            rows["commands inside its scripts"] = _per_second(inside, watched)
            lags = [await _push_like_go(redis) for _ in range(TASKS)]
            rows[f"{TASKS} tasks pushed as Go does, picked up"] = milliseconds(lags)
        print_table(rows, server)


async def _watch(redis: Redis, seconds: float) -> tuple[Counter[str], Counter[str]]:
    """The commands that Redis ran: sent to it, and called by scripts."""
    sent: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    async with redis.monitor() as monitor:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left):
                    command: Any = await monitor.next_command()
            except TimeoutError:
                break
            name = command["command"].split()[0].upper()
            (inside if command["client_type"] == "lua" else sent)[name] += 1
    return sent, inside


async def _push_like_go(redis: Redis) -> float:
    message = TaskMessage(
        type="lag",
        id=str(uuid4()),
        queue=QUEUE,
        payload=repr(time.time()).encode(),
        retry=25,
        timeout=1800,
        retention=60,
    )
    connection: Any = redis
    await connection.hset(
        f"asynq:{{{QUEUE}}}:t:{message.id}",
        mapping={
            "msg": encode_task(message),
            "state": "pending",
            "pending_since": time.time_ns(),
        },
    )
    await connection.lpush(f"asynq:{{{QUEUE}}}:pending", message.id)
    return await result(redis, message.id)


def _per_second(commands: Counter[str], seconds: float) -> str:
    return f"{commands.total() / seconds:.1f} per second"


def _kinds(commands: Counter[str], seconds: float) -> str:
    return ", ".join(f"{name} {n / seconds:.1f}" for name, n in commands.most_common())


if __name__ == "__main__":
    asyncio.run(main())
