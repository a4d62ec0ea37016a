"""Memory of a worker process after 10 000 and after 1 000 000 no-op tasks.

python benchmarks/memory.py
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import time

from bench import own_redis, print_table, until_empty, worker
from redis.asyncio import Redis

from asyncq import Client, Task

AT_ONCE = 10_000


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    total: int = parser.parse_args().tasks
    with own_redis() as server:
        rows: dict[str, str] = {}
        async with (
            Redis.from_url(server.url) as redis,
            Client(server.url) as client,
            worker(server.url) as pid,
        ):
            rows["RSS of the worker, idle"] = _resident(pid)
            start = time.monotonic()
            for done in range(AT_ONCE, total + 1, AT_ONCE):
                await client.enqueue_many(Task("noop", b"x" * 100) for _ in range(AT_ONCE))
                await until_empty(redis)
                if done in (AT_ONCE, total // 10, total // 2, total):
                    rows[f"after {done:,} tasks"] = _resident(pid)
            rows["that took"] = f"{time.monotonic() - start:.0f} s, enqueueing included"
        print_table(rows, server)


def _resident(pid: int) -> str:
    shown = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True
    )
    return f"{int(shown.stdout) / 1024:.1f} MiB"


if __name__ == "__main__":
    asyncio.run(main())
