"""`asyncq task ls`: which tasks are meant, and tables of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from asyncq.info import QueueInfo, TaskInfo
from asyncq.inspector import Cursor
from asyncq.task_filter import TaskFilter

from ..failure import CommandError
from .confirming import progress
from .nearest import suggestion
from .records import task_record
from .session import Desk, RefusedError
from .table import Cell
from .task_table import Workers, look

_SLICE = 500
_AT_ONCE = 200
"""Rows that are printed together; the first ones decide how wide the columns are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Tasks of one state of a queue."""

    queue: str
    state: str
    group: str | None
    filter: TaskFilter | None

    @classmethod
    def checked(
        cls,
        queue: str,
        state: str,
        group: str | None,
        type: str | None,
        payload: str | None,
        error: str | None,
    ) -> Listing:
        """As the flags say it. Raises `CommandError`."""
        if group is not None and state != "aggregating":
            raise CommandError(f"--group goes with aggregating tasks, not with {state!r}")
        try:
            wanted = TaskFilter(type=type, payload=payload, error=error)
        except ValueError:
            raise CommandError("a text to look for is empty; leave it out if any will do") from None
        return cls(
            queue=queue,
            state=state,
            group=group,
            filter=None if wanted == TaskFilter() else wanted,
        )

    async def check(self, desk: Desk) -> None:
        """Raises `RefusedError` unless there is such a queue, and a group where one is needed."""
        await desk.check_queue(self.queue)
        if self.state == "aggregating" and self.group is None:
            names = [group.group for group in await desk.inspector.groups(self.queue)]
            raise RefusedError(
                f"aggregating tasks are in groups: say which with --group{suggestion('', names)}"
            )

    async def count(self, desk: Desk) -> int:
        """How many tasks are in the state, whether they are meant or not."""
        if self.group is None:
            return size_of(await desk.inspector.queue_info(self.queue), self.state)
        groups = await desk.inspector.groups(self.queue)
        return next((group.size for group in groups if group.group == self.group), 0)

    async def tasks(
        self, desk: Desk, told: Callable[[int], None] | None = None
    ) -> AsyncIterator[TaskInfo]:
        """All that are meant, read in slices. `told` hears how many have been looked at."""
        cursor: Cursor | None = Cursor()
        looked = 0
        while cursor is not None:
            page = await desk.inspector.scan(
                self.queue, self.state, self.filter, cursor, _SLICE, group=self.group
            )
            for task in page.tasks:
                yield task
            looked += _SLICE
            if told is not None:
                told(looked)
            cursor = page.cursor

    def __str__(self) -> str:
        group = f" of group {self.group!r}" if self.group else ""
        return f"{self.state} tasks{group} of queue {self.queue!r}{self._meant()}"

    def _meant(self) -> str:
        if self.filter is None:
            return ""
        parts = {
            "whose type is": self.filter.type,
            "whose payload contains": self.filter.payload,
            "whose error contains": self.filter.error,
        }
        return " " + " and ".join(f"{words} {value!r}" for words, value in parts.items() if value)


def size_of(info: QueueInfo, state: str) -> int:
    """How many tasks of a queue are in a state."""
    size: int = getattr(info, state)
    return size


async def list_tasks(desk: Desk, listing: Listing, page: int, size: int | None) -> None:
    """A page of tasks, or all of them."""
    await listing.check(desk)
    tasks = _page(desk, listing, page, size)
    workers = await running(desk) if listing.state == "active" else {}
    shown = await (_as_array if desk.out.json else _as_table)(desk, listing, tasks, workers)
    if not desk.out.is_terminal or size is None:
        return
    total = await listing.count(desk)
    if shown == 0:
        desk.out.note(f"no {listing}" if page == 1 else f"page {page} is empty")
    elif listing.filter is not None and shown == size:
        desk.out.note(f"page {page}; --page {page + 1} shows more, if there are any")
    elif listing.filter is None and total > shown:
        desk.out.note(f"page {page} of {-(-total // size):,}, {total:,} tasks; --all shows all")


async def _page(
    desk: Desk, listing: Listing, page: int, size: int | None
) -> AsyncIterator[TaskInfo]:
    if size is None:
        found = listing.tasks(desk)
    elif listing.filter is None:
        found = _each(
            await desk.inspector.list_tasks(
                listing.queue, listing.state, page, size, group=listing.group
            )
        )
    else:
        found = _each(await _look_for(desk, listing, (page - 1) * size, size))
    async for task in found:
        yield task


async def _each(tasks: Sequence[TaskInfo]) -> AsyncIterator[TaskInfo]:
    for task in tasks:
        yield task


async def _look_for(desk: Desk, listing: Listing, skip: int, size: int) -> list[TaskInfo]:
    """A page of those that are meant, among perhaps very many."""
    met: list[TaskInfo] = []
    with progress("looking", await listing.count(desk)) as told:
        async for task in listing.tasks(desk, told):
            met.append(task)
            if len(met) == skip + size:
                break
    return met[skip:]


async def _as_array(
    desk: Desk, listing: Listing, tasks: AsyncIterator[TaskInfo], workers: Workers
) -> int:
    array, count = desk.out.array(), 0
    async for task in tasks:
        array.add(task_record(task, workers.get((task.queue, task.id))))
        count += 1
    array.end()
    return count


async def _as_table(
    desk: Desk, listing: Listing, tasks: AsyncIterator[TaskInfo], workers: Workers
) -> int:
    columns, cells = look(listing.state)
    table, count, now = desk.out.table(columns), 0, datetime.now(UTC)
    rows: list[Sequence[Cell]] = []
    async for task in tasks:
        rows.append(cells(task, workers, now))
        count += 1
        if len(rows) == _AT_ONCE:
            table.add(rows)
            rows = []
    if rows:
        table.add(rows)
    table.end()
    return count


async def running(desk: Desk) -> Workers:
    """Who runs what, as the servers said in their last heartbeats."""
    servers = await desk.inspector.servers()
    return {(w.queue, w.task_id): w for server in servers for w in server.active_workers}
