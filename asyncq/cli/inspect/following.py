"""`asyncq task ls --follow`: tasks as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from asyncq.info import TaskInfo

from .listing import Listing, running
from .records import task_record
from .session import Desk
from .table import PlainTable, TerminalTable
from .task_table import look

_TAIL = 300
"""How far from its end a state is looked at, where tasks come to its end. By feel."""
_COME_LAST = ("pending", "active", "archived", "aggregating")
_REST = 4
"""How many times as long as it looks it rests at least, however many tasks there are."""


async def follow_tasks(desk: Desk, listing: Listing, every: float) -> None:
    """Prints tasks that come into the state, until it is interrupted.

    What comes and goes between two looks is not seen.
    """
    await listing.check(desk)
    desk.out.endless = True
    table = desk.out.table(look(listing.state)[0])
    desk.out.note(f"waiting for {listing}; Ctrl-C ends it")
    _, known = await _new(desk, listing, None)
    while True:
        start = time.monotonic()
        tasks, known = await _new(desk, listing, known)
        took = time.monotonic() - start
        await _show(desk, listing, table, tasks)
        await asyncio.sleep(max(every, _REST * took))


async def _new(
    desk: Desk, listing: Listing, known: set[str] | None
) -> tuple[list[TaskInfo], set[str]]:
    """The tasks that are new since the last look, and the ids to know next time."""
    if listing.state in _COME_LAST:
        tail = await _tail(desk, listing)
        new = [] if known is None else newcomers(tail, known)
        ids = {task.id for task in tail}
    else:  # they come anywhere between the others
        new, ids = [], set()
        async for task in desk.inspector.iter_tasks(listing.queue, listing.state):
            ids.add(task.id)
            if known is not None and task.id not in known:
                new.append(task)
    return [t for t in new if listing.filter is None or listing.filter.matches(t)], ids


def newcomers(tail: Sequence[TaskInfo], known: set[str]) -> list[TaskInfo]:
    """Those of the last tasks of a state that were not there before.

    What stands before all that is known is older: it moved up when others left.
    """
    first = next((n for n, task in enumerate(tail) if task.id in known), 0)
    return [task for task in tail[first:] if task.id not in known]


async def _tail(desk: Desk, listing: Listing) -> list[TaskInfo]:
    last = max(1, -(-await listing.count(desk) // _TAIL))
    found: list[TaskInfo] = []
    for page in range(max(1, last - 1), last + 2):
        found += await desk.inspector.list_tasks(
            listing.queue, listing.state, page, _TAIL, group=listing.group
        )
    return found


async def _show(
    desk: Desk, listing: Listing, table: PlainTable | TerminalTable, tasks: list[TaskInfo]
) -> None:
    if not tasks:
        return
    workers = await running(desk) if listing.state == "active" else {}
    if desk.out.json:
        for task in tasks:
            desk.out.json_line(task_record(task, workers.get((task.queue, task.id))))
        return
    cells, now = look(listing.state)[1], datetime.now(UTC)
    table.add([cells(task, workers, now) for task in tasks])
    desk.out.flush()
