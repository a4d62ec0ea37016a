"""Aggregation, the producer: notifications for one user, all in one group. See `server.py`.

python client.py --redis embedded:// 12
"""

from __future__ import annotations

import argparse
import asyncio

from asyncq import Client, Task


async def main() -> None:
    parser = argparse.ArgumentParser(description="Enqueue notifications that are aggregated.")
    parser.add_argument("count", nargs="?", type=int, default=3)
    parser.add_argument("--redis", help="URL; default: ASYNCQ_REDIS_URL, then REDIS_URL")
    given = parser.parse_args()

    async with Client(given.redis) as client:
        for number in range(1, given.count + 1):
            task = Task("aggregation-tutorial", f"notification {number}")
            # Not pending but aggregating: no worker runs it before its group is aggregated.
            info = await client.enqueue(task, queue="notifications", group="user1:email")
            print(info, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
