"""`asyncq group ...` at work."""

from __future__ import annotations

from .records import plain
from .session import Desk
from .table import Column


async def list_groups(desk: Desk, queue: str) -> None:
    """A line a group."""
    await desk.check_queue(queue)
    groups = await desk.inspector.groups(queue)
    if desk.out.json:
        desk.out.record(plain(groups))
        return
    columns = (Column("Group", gives=1), Column("Size", right=True))
    desk.out.rows(columns, [(group.group, group.size) for group in groups])
    if not groups:
        desk.out.note(f"no tasks of queue {queue!r} wait in groups")
