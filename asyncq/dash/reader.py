"""Looks at Redis for what a request asks."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from asyncq import (
    Inspector,
    QueueInfo,
    QueueNotFoundError,
    RedisReplyError,
    TaskInfo,
    TaskNotFoundError,
    TaskState,
    WorkerInfo,
)

from .keys import Place
from .snapshot import Part, Places, QueuePlace, Request, Scan, Snapshot

_CLUSTER = ("redis-cluster://", "rediss-cluster://")
_QUEUES_AT_ONCE = 8
_PLACES = 20
"""Of so many queues it is read where in a cluster they are: two small questions each."""
_LOOKS = 2000
"""How many tasks one answer may have looked at: what was found so far is shown in between."""
_STEP = 200


class Reader:
    """Reads through an inspector, which it does not close."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector

    async def read(self, request: Request) -> Snapshot:
        """Raises `AsyncqError`: Redis is away or refuses, the queue is gone."""
        found = await self._page(request)
        task = await self._task(request.task)
        worker = await self._worker(task, found)
        # The time after all of it: what was read then is not in the future.
        return replace(found, task=task, worker=worker, at=datetime.now(UTC))

    async def _page(self, request: Request) -> Snapshot:
        look, found = self._inspector, Snapshot(at=datetime.now(UTC))
        match request.place:
            case Place.QUEUES:
                queues, forbidden = await self._queues()
                return replace(found, queues=tuple(queues), forbidden=forbidden)
            case Place.TASKS:
                return await self._tasks(request, found)
            case Place.GROUPS:
                info = await look.queue_info(request.queue)
                return replace(found, queue=info, groups=tuple(await look.groups(request.queue)))
            case Place.SERVERS | Place.WORKERS:
                return replace(found, servers=tuple(await look.servers()))
            case Place.SCHEDULERS:
                return replace(found, entries=tuple(await look.scheduler_entries()))
            case Place.EVENTS:
                return replace(
                    found,
                    entries=tuple(await look.scheduler_entries()),
                    events=tuple(
                        await look.enqueue_events(request.entry, request.page, request.size)
                    ),
                )
            case _:
                places = await self._places() if look.where.startswith(_CLUSTER) else None
                return replace(found, redis=tuple(await look.redis_info()), places=places)

    async def _queues(self) -> tuple[list[QueueInfo], int]:
        """Those that may be looked at, and how many more there are."""
        # No program can make or name a queue without a name, but people can write anything there.
        names = [name for name in await self._inspector.queues() if name.strip()]
        found: list[QueueInfo] = []
        forbidden = 0

        async def look(name: str) -> None:
            nonlocal forbidden
            try:
                found.append(await self._inspector.queue_info(name))
            except QueueNotFoundError:
                pass  # deleted since it was listed
            except RedisReplyError as error:
                if error.code != "NOPERM":
                    raise
                forbidden += 1

        for n in range(0, len(names), _QUEUES_AT_ONCE):
            await asyncio.gather(*map(look, names[n : n + _QUEUES_AT_ONCE]))
        return sorted(found, key=lambda info: info.queue), forbidden

    async def _places(self) -> Places:
        """In which slots of the cluster the first queues are, and who has those."""
        names = [name for name in await self._inspector.queues() if name.strip()]
        found = await asyncio.gather(*map(self._place, names[:_PLACES]))
        return Places(found=tuple(found), queues=len(names))

    async def _place(self, queue: str) -> QueuePlace:
        slot = await self._inspector.cluster_key_slot(queue)
        nodes = await self._inspector.cluster_nodes(queue)
        return QueuePlace(queue=queue, slot=slot, nodes=tuple(node.address for node in nodes))

    async def _tasks(self, request: Request, found: Snapshot) -> Snapshot:
        info = await self._inspector.queue_info(request.queue)
        if request.scan is not None:
            return replace(found, queue=info, part=await self._scan(request, request.scan))
        if request.counts_only:
            return replace(found, queue=info)
        tasks = await self._inspector.list_tasks(
            request.queue,
            request.state,
            request.page,
            request.size,
            group=request.group or None,
        )
        return replace(found, queue=info, tasks=tuple(tasks))

    async def _scan(self, request: Request, scan: Scan) -> Part:
        """As many matches as are wanted, and not one more: the next page begins after them."""
        found: list[TaskInfo] = []
        cursor, looked, budget = scan.start, 0, _STEP
        while looked < _LOOKS and len(found) < scan.wanted:
            page = await self._inspector.scan(
                request.queue,
                request.state,
                scan.filter,
                cursor,
                budget,
                group=request.group or None,
            )
            left = scan.wanted - len(found)
            if len(page.tasks) > left:
                budget = left  # the same again, in steps that cannot bring too many
                continue
            looked += budget
            found += page.tasks
            cursor, budget = page.cursor, _STEP
            if cursor is None:
                break
        return Part(tasks=tuple(found), looked=looked, cursor=cursor)

    async def _task(self, wanted: tuple[str, str] | None) -> TaskInfo | None:
        if wanted is None:
            return None
        try:
            return await self._inspector.task_info(*wanted)
        except TaskNotFoundError:
            return None

    async def _worker(self, task: TaskInfo | None, found: Snapshot) -> WorkerInfo | None:
        if task is None or task.state is not TaskState.ACTIVE:
            return None
        servers = await self._inspector.servers() if found.servers is None else found.servers
        workers = (worker for server in servers for worker in server.active_workers)
        return next((w for w in workers if (w.queue, w.task_id) == (task.queue, task.id)), None)
