"""First figures: how fast one worker process drains a queue, wakes up, and how late it is.

python benchmarks/first_figures.py
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time

from bench import count, milliseconds, own_redis, print_table, result, until_empty, worker
from redis.asyncio import Redis

from asyncq import Client, Task

ONE_BY_ONE = 500
DELAYED = 300


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=50_000, help="of the backlog to drain")
    backlog: int = parser.parse_args().tasks
    with own_redis() as server:
        rows: dict[str, str] = {}
        async with Redis.from_url(server.url) as redis, Client(server.url) as client:
            start = time.monotonic()
            await client.enqueue_many(Task("noop") for _ in range(backlog))
            rows["enqueue_many, one producer"] = _rate(backlog, time.monotonic() - start)

            async with worker(server.url, "--concurrency", "100"):
                start = time.monotonic()
                left = await count(redis, "pending")
                await until_empty(redis)
                seconds = time.monotonic() - start
                rows["drain, one worker process, no-op tasks"] = _rate(left, seconds)
                rows[f"idle worker picks up, {ONE_BY_ONE} single tasks"] = milliseconds(
                    await _pick_up(client, redis)
                )
                rows[f"delayed tasks start late, {DELAYED} in 1 to 6 s"] = milliseconds(
                    await _lateness(client, redis)
                )
        print_table(rows, server)


def _rate(count: int, seconds: float) -> str:
    return f"{count / seconds:,.0f} tasks per second ({count:,} in {seconds:.2f} s)"


async def _pick_up(client: Client, redis: Redis) -> list[float]:
    """From before `enqueue` to the handler, one at a time."""
    seen: list[float] = []
    for _ in range(ONE_BY_ONE):
        info = await client.enqueue(Task("lag", repr(time.time())), retention=60)
        seen.append(await result(redis, info.id))
    return seen


async def _lateness(client: Client, redis: Redis) -> list[float]:
    infos = [
        await client.enqueue(Task("lag", repr(time.time() + delay)), process_in=delay, retention=60)
        for delay in (random.uniform(1, 6) for _ in range(DELAYED))
    ]
    late = [await result(redis, info.id) for info in infos]
    if min(late) < 0:
        raise AssertionError(f"a task started {-min(late) * 1000:.1f} ms early")
    return late


if __name__ == "__main__":
    asyncio.run(main())
