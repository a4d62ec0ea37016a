"""`asyncq task inspect`: all that is known of a task."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from asyncq.info import TaskInfo, WorkerInfo
from asyncq.task import TaskState

from ..failure import CommandError, Exit
from .finding import find_task
from .listing import running
from .records import task_record
from .session import Desk, RefusedError, unwrapped
from .table import Cell, Mark
from .task_table import Workers
from .text import block, counted, dated, length


async def inspect_tasks(desk: Desk, queue: str | None, ids: Sequence[str]) -> int:
    """Each in turn."""
    workers = await running(desk)

    async def look(task_id: str) -> TaskInfo:
        task = await find_task(desk, queue, task_id)
        if not desk.out.json:
            if task_id != ids[0]:
                desk.out.line()
                desk.out.line("=" * 40)
            desk.out.pairs(_pairs(task, worker_of(task, workers), datetime.now(UTC)))
        return task

    done, failed = await desk.one_by_one(ids, look)
    if desk.out.json:
        records = {
            task_id: task_record(task, worker_of(task, workers)) for task_id, task in done.items()
        }
        desk.out.record(unwrapped(records, failed, "id"))
    return Exit.FAILED if failed else Exit.OK


def worker_of(task: TaskInfo, workers: Workers) -> WorkerInfo | None:
    """Who runs it. Of a task that has ended meanwhile nobody: what servers say is seconds old."""
    return workers.get((task.queue, task.id)) if task.state is TaskState.ACTIVE else None


def _pairs(
    task: TaskInfo, worker: WorkerInfo | None, now: datetime
) -> list[tuple[str, Cell | Sequence[str]]]:
    pairs: list[tuple[str, Cell | Sequence[str]]] = [
        ("ID", task.id),
        ("Queue", task.queue),
        ("Type", task.type),
        ("State", _state(task)),
        *_place(task, worker, now),
        ("Retried", f"{task.retried} of {task.max_retry}"),
        ("Timeout", length(task.timeout) if task.timeout else "-"),
        ("Deadline", dated(task.deadline, now)),
        ("Retention", length(task.retention) if task.retention else "-"),
    ]
    if task.group:
        pairs.append(("Group", task.group))
    if task.completed_at:
        pairs.append(("Completed", dated(task.completed_at, now)))
    if task.last_failed_at or task.last_error:
        pairs.append(("Last failed", dated(task.last_failed_at, now)))
        pairs.append(("Last error", block(task.last_error.encode("utf-8", "replace"))))
    if task.headers:
        lines = [f"{name}: {value}" for name, value in sorted(task.headers.items())]
        pairs.append(("Headers", lines))
    pairs.append(_data("Payload", task.payload))
    if task.result is not None:
        pairs.append(_data("Result", task.result))
    return pairs


def _data(name: str, data: bytes) -> tuple[str, Cell | Sequence[str]]:
    return (f"{name} ({counted(len(data), 'byte')})", block(data)) if data else (name, "-")


def _state(task: TaskInfo) -> Cell:
    if task.is_orphaned:
        return Mark(f"{task.state.value}, orphaned: no worker holds its lease", "red")
    return task.state.value


def _place(
    task: TaskInfo, worker: WorkerInfo | None, now: datetime
) -> list[tuple[str, Cell | Sequence[str]]]:
    if worker is None and (task.next_process_at is None or task.state is TaskState.PENDING):
        return []  # what is pending is due when somebody takes it
    if worker is None:
        return [("Next try" if task.retried else "Due", dated(task.next_process_at, now))]
    since = length(max(timedelta(0), now - worker.started))
    return [
        ("Worker", f"{worker.host}:{worker.pid}"),
        ("Runs for", since),
        ("Must end", dated(worker.deadline, now)),
    ]


async def write_raw(desk: Desk, queue: str | None, task_id: str, *, result: bool) -> None:
    """The bytes of its payload or result, for a file or a program."""
    task = await find_task(desk, queue, task_id)
    data = task.result if result else task.payload
    if data is None:
        raise RefusedError(f"task {task_id!r} of queue {task.queue!r} has no result")
    if sys.stdout.isatty() and not _harmless(data):
        raise CommandError(
            "the bytes could be commands for the terminal: redirect them to a file",
            status=Exit.FAILED,
        )
    desk.out.raw(data)


def _harmless(data: bytes) -> bool:
    try:
        return all(c.isprintable() or c in "\n\t" for c in data.decode())
    except UnicodeDecodeError:
        return False
