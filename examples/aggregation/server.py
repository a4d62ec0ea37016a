"""Aggregation, the worker: notifications that arrive together are sent as one digest.

    python server.py --redis embedded:// --grace-period 2 --max-delay 10 --max-size 5

and in a second terminal:

    python client.py --redis embedded:// 12

A group is aggregated when no task has joined it for the grace period, when its oldest task has
waited for the longest delay, or when it has the greatest size, whichever comes first. Try
flags: with `--max-size 5`, twelve notifications become digests of 5, 5 and 2, the last one after
the grace period. asynq's tutorial on task aggregation does the same in Go, with the same names of
queue and tasks: its client can feed this server, and this client its server.
"""

from __future__ import annotations

import argparse
import asyncio
import logging

from asyncq import GroupConfig, ServeMux, Server, ServerConfig, Task

mux = ServeMux()


def aggregate(group: str, tasks: list[Task]) -> Task:
    """Called with the tasks of one group; the task that it returns takes their place."""
    print(f"aggregating {len(tasks)} tasks of group {group!r}", flush=True)
    return Task("aggregated-task", "\n".join(task.payload.decode() for task in tasks))


@mux.handle("aggregated-task")
async def on_aggregated_task(task: Task) -> None:
    lines = task.payload.decode().splitlines()
    print(f"one digest of {len(lines)}: {', '.join(lines)}", flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description="Run the worker of the aggregation example.")
    parser.add_argument("--redis", help="URL; default: ASYNCQ_REDIS_URL, then REDIS_URL")
    parser.add_argument("--grace-period", type=float, default=10, metavar="SECONDS")
    parser.add_argument("--max-delay", type=float, default=30, metavar="SECONDS")
    parser.add_argument("--max-size", type=int, default=20, metavar="TASKS")
    given = parser.parse_args()

    logging.basicConfig(format="%(levelname)s %(message)s")
    group = GroupConfig(
        aggregate,
        grace_period=given.grace_period,
        max_delay=given.max_delay,
        max_size=given.max_size,
    )
    server = Server(given.redis, mux, ServerConfig(queues={"notifications": 1}, group=group))
    print(f"waiting for tasks at {server.where}; Ctrl-C stops", flush=True)
    await server.run()


if __name__ == "__main__":
    asyncio.run(main())
