"""`asyncq cron ...` at work."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from asyncq.info import EnqueueEvent, SchedulerEntry
from asyncq.inspector import Inspector
from asyncq.option_text import option_texts

from ..failure import Exit
from .nearest import suggestion
from .records import plain
from .session import Desk, RefusedError, unwrapped
from .table import Cell, Column
from .text import ago, due, moment, one_line

_COLUMNS = (
    Column("Entry ID", gives=2, least=9),
    Column("Name", gives=6, least=12),
    Column("Spec", gives=5, least=9),
    Column("Type", gives=4, least=10),
    Column("Next"),
    Column("Prev", spare=3),
    Column("Options", gives=3, least=10, spare=2),
    Column("Payload", gives=1, least=10, spare=1),
)
_PREFIX = 8
"""So many characters of an id are enough, as a narrow table shows them."""


async def list_entries(desk: Desk) -> None:
    """A line an entry, the next due first."""
    entries = sorted(await desk.inspector.scheduler_entries(), key=_when)
    if desk.out.json:
        desk.out.record(plain(entries))
        return
    now = datetime.now(UTC)
    desk.out.rows(_COLUMNS, [_row(entry, now) for entry in entries])
    if not entries:
        desk.out.note("no scheduler is alive, or none has entries")


def _when(entry: SchedulerEntry) -> tuple[bool, float, str]:
    """Those that never come are last."""
    at = entry.next
    return at is None, at.timestamp() if at else 0.0, entry.spec


def _row(entry: SchedulerEntry, now: datetime) -> Sequence[Cell]:
    return (
        entry.id,
        entry.name,
        entry.spec,
        entry.task.type,
        due(entry.next, now),
        ago(entry.prev, now),
        ", ".join(option_texts(dict(entry.options))),
        one_line(entry.task.payload),
    )


async def show_history(desk: Desk, names: Sequence[str], page: int, size: int) -> int:
    """What was enqueued for each entry."""
    entries = await desk.inspector.scheduler_entries()

    async def look(name: str) -> list[EnqueueEvent]:
        ids = [entry.id for entry in entries if _is_meant(name, entry)]
        events = await _events(desk.inspector, ids or [name], page, size)
        if not events and not ids:
            known = [entry.name or entry.id for entry in entries]
            raise RefusedError(f"nothing is known of an entry {name!r}{suggestion(name, known)}")
        if not desk.out.json:
            _print_history(desk, name, events, first=name == names[0])
        return events

    done, failed = await desk.one_by_one(names, look)
    if desk.out.json:
        results: dict[str, Any] = {name: {"events": plain(found)} for name, found in done.items()}
        desk.out.record(unwrapped(results, failed, "entry"))
    return Exit.FAILED if failed else Exit.OK


def _is_meant(name: str, entry: SchedulerEntry) -> bool:
    is_prefix = len(name) >= _PREFIX and entry.id.startswith(name)
    return name in (entry.id, entry.name) or is_prefix


async def _events(
    inspector: Inspector, ids: Sequence[str], page: int, size: int
) -> list[EnqueueEvent]:
    """A page of what several schedulers enqueued for the same entry."""
    first = (page - 1) * size
    found = [
        event
        for entry_id in ids
        for event in await inspector.enqueue_events(entry_id, 1, first + size)
    ]
    found.sort(key=lambda event: event.enqueued_at, reverse=True)
    return found[first : first + size]


def _print_history(desk: Desk, name: str, events: Sequence[EnqueueEvent], *, first: bool) -> None:
    if not first:
        desk.out.line()
        desk.out.line("=" * 40)
    desk.out.heading(f"Entry: {name}")
    columns = (Column("Task ID"), Column("Enqueued"))
    desk.out.rows(columns, [(event.task_id, moment(event.enqueued_at)) for event in events])
    if not events:
        desk.out.note("nothing was enqueued for it yet")
