"""`asyncq queue ...` at work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from asyncq.info import DailyStats, QueueInfo
from asyncq.size_text import size_text
from asyncq.task import TaskState

from ..failure import Exit
from .confirming import accounted, confirm
from .diagnosis import Note, notes_on
from .overview import all_queues, remark_left_out, run_state
from .records import plain, queue_record
from .session import Desk, unwrapped
from .table import Cell, Column
from .text import counted, length, share

_AT_ONCE = 8
_CLUSTER = ("redis-cluster://", "rediss-cluster://")

_COLUMNS = (
    Column("Queue", gives=1),
    Column("State"),
    Column("Size", right=True),
    Column("Pending", right=True, brief="Pend"),
    Column("Active", right=True, brief="Act"),
    Column("Scheduled", right=True, spare=6, brief="Sched"),
    Column("Retry", right=True),
    Column("Archived", right=True, brief="Arch"),
    Column("Completed", right=True, spare=5, brief="Compl"),
    Column("Aggregating", right=True, spare=4, brief="Aggr"),
    Column("Latency", right=True),
    Column("Processed", right=True, spare=2),
    Column("Failed", right=True, spare=3),
    Column("Error rate", right=True, brief="Errors"),
    Column("Memory", right=True, spare=1),
)
_DAILY = (
    Column("Date (UTC)"),
    Column("Processed", right=True),
    Column("Failed", right=True),
    Column("Error rate", right=True),
)


async def list_queues(desk: Desk, *, names_only: bool) -> None:
    """A line a queue."""
    out = desk.out
    if names_only:
        names = await desk.inspector.queues()
        if out.json:
            out.record(names)
        for name in [] if out.json else names:
            out.line(name)
        return
    infos, forbidden = await all_queues(desk.inspector)
    remark_left_out(out, forbidden)
    places = await _places(desk, [info.queue for info in infos])
    if out.json:
        out.record([{**queue_record(info), **places.get(info.queue, {})} for info in infos])
        return
    columns, rows = list(_COLUMNS), [_row(info) for info in infos]
    if places:
        columns[1:1] = [Column("Slot", right=True), Column("Nodes", gives=2)]
        for row, info in zip(rows, infos, strict=True):
            place = places[info.queue]
            nodes = ", ".join(node["address"] for node in place["cluster_nodes"])
            row[1:1] = [str(place["cluster_key_slot"]), nodes]
    out.rows(columns, rows)
    if not (infos or forbidden):
        out.note("there are no queues: nothing was ever enqueued")


async def _places(desk: Desk, queues: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Slots and nodes, where Redis is a cluster."""
    if not desk.client.where.startswith(_CLUSTER):
        return {}
    slots = asyncio.Semaphore(_AT_ONCE)

    async def look(queue: str) -> dict[str, Any]:
        async with slots:
            return {
                "cluster_key_slot": await desk.inspector.cluster_key_slot(queue),
                "cluster_nodes": plain(await desk.inspector.cluster_nodes(queue)),
            }

    found = await asyncio.gather(*map(look, queues))
    return dict(zip(queues, found, strict=True))


def _row(info: QueueInfo) -> list[Cell]:
    return [
        info.queue, run_state(info), info.size, info.pending, info.active, info.scheduled,
        info.retry, info.archived, info.completed, info.aggregating, length(info.latency),
        info.processed, info.failed, share(info.failed, info.processed),
        size_text(info.memory_usage),
    ]  # fmt: skip


async def inspect_queues(desk: Desk, queues: Sequence[str]) -> int:
    """All about each."""
    servers = await desk.inspector.servers()

    async def look(queue: str) -> tuple[QueueInfo, list[Note]]:
        info = await desk.inspector.queue_info(queue)
        found = (info, await notes_on(desk.inspector, info, servers))
        if not desk.out.json:
            _separate(desk, queue, queues)
            _print_queue(desk, *found)
        return found

    done, failed = await desk.one_by_one(queues, look)
    if desk.out.json:
        results = {
            queue: {**queue_record(info), "notes": [plain(note) for note in notes]}
            for queue, (info, notes) in done.items()
        }
        desk.out.record(unwrapped(results, failed, "queue"))
    return Exit.FAILED if failed else Exit.OK


def _separate(desk: Desk, name: str, names: Sequence[str]) -> None:
    """A line between several, as asynq has it."""
    if name != names[0]:
        desk.out.line()
        desk.out.line("=" * 40)


def _print_queue(desk: Desk, info: QueueInfo, notes: Sequence[Note]) -> None:
    out = desk.out
    today = f"{info.processed:,} processed, {info.failed:,} failed"
    out.pairs([
        ("Queue", info.queue),
        ("State", run_state(info)),
        ("Size", info.size),
        ("Groups", info.groups),
        ("Latency", length(info.latency)),
        ("Memory", size_text(info.memory_usage)),
        ("Today (UTC)", f"{today}, error rate {share(info.failed, info.processed)}"),
        ("Ever", f"{info.processed_total:,} processed, {info.failed_total:,} failed"),
    ])  # fmt: skip
    out.line()
    out.heading("Tasks by state")
    states = [state.value for state in TaskState]
    out.rows([Column(s, right=True) for s in states], [[getattr(info, s) for s in states]])
    if notes:
        out.line()
        out.heading("What to know")
        for note in notes:
            out.prose(f"- {note.text}")


async def show_history(desk: Desk, queues: Sequence[str], days: int) -> int:
    """A table of days for each."""

    async def look(queue: str) -> list[DailyStats]:
        found = await desk.inspector.history(queue, days)
        if not desk.out.json:
            _separate(desk, queue, queues)
            desk.out.heading(f"Queue: {queue}")
            rows = [
                (day.date.isoformat(), day.processed, day.failed, share(day.failed, day.processed))
                for day in found
            ]
            desk.out.rows(_DAILY, rows)
        return found

    done, failed = await desk.one_by_one(queues, look)
    if desk.out.json:
        results = {queue: {"days": plain(found)} for queue, found in done.items()}
        desk.out.record(unwrapped(results, failed, "queue"))
    return Exit.FAILED if failed else Exit.OK


async def pause_queues(desk: Desk, queues: Sequence[str]) -> int:
    """Have no more tasks taken."""

    async def pause(queue: str) -> dict[str, Any]:
        await desk.check_queue(queue)
        changed = await desk.inspector.pause_queue(queue)
        return _changed(desk, queue, "is paused" if changed else "was paused already", changed)

    return _report(desk, *await desk.one_by_one(queues, pause))


async def resume_queues(desk: Desk, queues: Sequence[str]) -> int:
    """Have tasks taken again."""

    async def resume(queue: str) -> dict[str, Any]:
        await desk.check_queue(queue)
        changed = await desk.inspector.unpause_queue(queue)
        return _changed(desk, queue, "runs again" if changed else "was not paused", changed)

    return _report(desk, *await desk.one_by_one(queues, resume))


async def remove_queues(desk: Desk, queues: Sequence[str], *, force: bool, yes: bool) -> int:
    """Delete them, after one question."""
    infos, failed = await desk.one_by_one(queues, desk.inspector.queue_info)
    if infos:
        named = (
            f"{queue!r} with its {counted(info.size, 'task')}" if info.size else repr(queue)
            for queue, info in infos.items()
        )  # fmt: skip
        await confirm(f"delete queue {', '.join(named)}", yes=yes)

    async def remove(queue: str) -> dict[str, Any]:
        with accounted(
            f"deleting {queue}", None, lambda count: f"queue {queue!r}: {count} tasks deleted"
        ) as told:
            await desk.inspector.delete_queue(queue, force, on_progress=told)
        return _changed(desk, queue, "is deleted", True)

    done, not_deleted = await desk.one_by_one(infos, remove)
    return _report(desk, done, failed | not_deleted)


def _changed(desk: Desk, queue: str, what: str, changed: bool) -> dict[str, Any]:
    if not desk.out.json:
        desk.out.prose(f"queue {queue!r} {what}")
    return {"changed": changed}


def _report(desk: Desk, done: dict[str, dict[str, Any]], failed: dict[str, str]) -> int:
    if desk.out.json:
        desk.out.record(unwrapped(done, failed, "queue"))
    return Exit.FAILED if failed else Exit.OK
