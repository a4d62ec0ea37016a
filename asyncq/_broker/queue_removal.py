"""Deleting a queue and every key of it, whoever wrote it.

asynq leaves completed tasks, groups, aggregation sets, counters, locks and `paused` behind (wire
format, 10.14), and other deletions leave hashes and locks behind. So all keys are looked through:
first the places of tasks go, in one step that also checks whether they may; then what SCAN finds.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable

from . import keys, scripts
from .connection import Call, Connection

_SCANNED = 1000
# Producers that do not stop enqueue between one round and the next.
_ROUNDS = 10


class QueueRemoval:
    """Deletes one queue."""

    def __init__(self, connection: Connection, queue: str) -> None:
        self._connection = connection
        self._queue = queue
        self._places = (
            keys.active(queue),
            keys.completed(queue),
            keys.pending(queue),
            keys.scheduled(queue),
            keys.retry(queue),
            keys.archived(queue),
            keys.groups(queue),
            keys.aggregation_sets(queue),
        )

    async def remove(self, *, force: bool, progress: Callable[[int], None]) -> bool:
        """False: it has tasks (with `force`: running ones, or new ones again and again)."""
        others = await self._other_queues()
        # asynq loses sight of groups that tasks come back to (wire format, 20.3).
        if not force and await self.tasks_in_groups():
            return False
        deleted = 0
        for _ in range(_ROUNDS if force else 1):
            drop = Call.of(scripts.DROP_QUEUE, self._places, (int(force),))
            if not await self._connection.run_one(drop):
                return False
            async for names in self._keys(others):
                sweep = Call.of(scripts.SWEEP_QUEUE, self._places, names)
                count = await self._connection.run_one(sweep)
                if count < 0:
                    break
                deleted += count
                progress(deleted)
            else:
                await self._forget()
                return True
        return False

    async def tasks_in_groups(self) -> int:
        """How many tasks wait in groups, listed or not, and in aggregation sets."""
        prefix = keys.group_prefix(self._queue).encode()
        count = 0
        async for names in self._keys(await self._other_queues()):
            groups = [name for name in names if name.startswith(prefix)]
            sizes = await self._connection.run([Call.command("ZCARD", name) for name in groups])
            count += sum(size for size in sizes if isinstance(size, int))
        return count

    async def _forget(self) -> None:
        await self._connection.run_one(Call.command("SREM", keys.QUEUES, self._queue))
        # A producer announces the queue first and enqueues then: it may have done the one before
        # and the other after.
        if await self._connection.run_one(Call.command("EXISTS", *self._places)):
            await self._connection.run_one(Call.command("SADD", keys.QUEUES, self._queue))

    async def _keys(self, others: tuple[bytes, ...]) -> AsyncIterator[list[bytes]]:
        """All keys of the queue, but for the places of tasks."""
        prefixes = keys.prefixes(self._queue)
        pattern = "asyn*q:{" + re.sub(r"([*?\[\]\\])", r"\\\1", self._queue) + "}:*"
        cursor = b"0"
        while True:
            args = ("SCAN", cursor, "MATCH", pattern, "COUNT", _SCANNED)
            # By key: in a cluster only the node of the queue's slot has any.
            call = Call(None, (self._places[0],), args)
            cursor, found = await self._connection.run_one(call)
            names = [
                name for name in found if name.startswith(prefixes) and not name.startswith(others)
            ]
            if names:
                yield names
            if cursor == b"0":
                return

    async def _other_queues(self) -> tuple[bytes, ...]:
        """Prefixes of queues whose names make their keys look like ours: `a}:x` beside `a`."""
        ours = keys.prefixes(self._queue)
        names = await self._connection.run_one(Call.command("SMEMBERS", keys.QUEUES))
        return tuple(
            prefix
            for name in names
            if name != self._queue.encode()
            for prefix in keys.prefixes(name.decode("utf-8", "replace"))
            if prefix.startswith(ours)
        )
