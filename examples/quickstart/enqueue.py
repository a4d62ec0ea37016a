"""The quick start, second half: what gives the worker of `tasks.py` its work.

python enqueue.py --redis embedded:// [DIRECTORY]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tasks import call_broken_service, crunch, import_feed, read_file, remind, tick

from asyncq import Client, DuplicateTaskError, TaskInfo

REMIND_AFTER_S = 2


def files_of(directory: Path) -> Iterator[str]:
    """The names of all regular files below `directory`, relative to it."""
    for where, directories, names in os.walk(directory):
        directories[:] = [d for d in directories if d not in ("__pycache__", "site-packages")]
        for name in names:
            path = Path(where, name)
            if path.is_file():
                yield str(path.relative_to(directory))


async def enqueue_files(
    client: Client, root: Path, names: Iterator[str], queue: str = "files"
) -> int:
    """One task per file; how many. A round trip carries hundreds of them."""
    count = 0
    while some := list(islice(names, 500)):
        tasks = [read_file(root=root, name=name) for name in some]
        count += len(await client.enqueue_many(tasks, queue=queue))
    return count


async def enqueue_reminder(client: Client, queue: str = "default") -> TaskInfo:
    """A task that runs later: to the millisecond if that is less than a minute away."""
    task = remind(text="look at the oven", due=time.time() + REMIND_AFTER_S)
    return await client.enqueue(task, process_in=REMIND_AFTER_S, queue=queue)


async def enqueue_import_twice(client: Client, queue: str = "default") -> tuple[TaskInfo, bool]:
    """A unique task, and whether a second one was refused while the first was not done."""
    feed = import_feed("https://example.com/feed")
    first = await client.enqueue(feed, queue=queue)
    try:
        await client.enqueue(feed, queue=queue)
    except DuplicateTaskError:
        return first, True
    return first, False


async def enqueue_failing(client: Client, queue: str = "default") -> TaskInfo:
    """A task that fails, is retried twice, and ends among the archived."""
    return await client.enqueue(call_broken_service(), queue=queue)


async def enqueue_hanging(client: Client, queue: str = "default") -> TaskInfo:
    """A task that would take an hour, with a time-out of a second."""
    return await client.enqueue(crunch(), queue=queue)


async def enqueue_tick(client: Client, queue: str = "default") -> TaskInfo:
    """A task that tells how long it took from here to its handler."""
    return await client.enqueue(tick(sent=time.time()), queue=queue)


async def main() -> None:
    parser = argparse.ArgumentParser(description="Give the worker of the quick start some work.")
    parser.add_argument("directory", nargs="?", type=Path, default=Path())
    parser.add_argument("--redis", help="URL; default: ASYNCQ_REDIS_URL, then REDIS_URL")
    given = parser.parse_args()
    root = given.directory.resolve()

    async with Client(given.redis) as client:
        print("enqueued", await enqueue_tick(client))
        print("enqueued", await enqueue_reminder(client))
        first, refused = await enqueue_import_twice(client)
        print("enqueued", first, "and a second one was", "refused" if refused else "accepted")
        print("enqueued", await enqueue_failing(client))
        print("enqueued", await enqueue_hanging(client))
        print("enqueued", await enqueue_files(client, root, files_of(root)), "files of", root)


if __name__ == "__main__":
    asyncio.run(main())
