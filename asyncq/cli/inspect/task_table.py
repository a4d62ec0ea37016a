"""Tables of tasks: the columns and cells of each state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from asyncq.info import TaskInfo, WorkerInfo

from .table import Cell, Column, Mark
from .text import ago, due, length, one_line

Workers = Mapping[tuple[str, str], WorkerInfo]
"""Who runs which task of which queue."""
Cells = Callable[[TaskInfo, Workers, datetime], Sequence[Cell]]


def look(state: str) -> tuple[Sequence[Column], Cells]:
    """The columns of a state, and what makes the cells of a row."""
    return _LOOKS[state]


_ID = Column("ID")
_TYPE = Column("Type", gives=4, least=12)
_PAYLOAD = Column("Payload", gives=1, least=10, spare=1)
_ERROR = Column("Last error", gives=2, least=16, spare=4)


def _active(task: TaskInfo, workers: Workers, now: datetime) -> Sequence[Cell]:
    worker = workers.get((task.queue, task.id))
    where = f"{worker.host}:{worker.pid}" if worker else "-"
    since = length(now - worker.started) if worker and worker.started < now else "-"
    state: Cell = Mark("orphaned", "red") if task.is_orphaned else since
    return (task.id, task.type, where, state, _tries(task), one_line(task.payload))


def _pending(task: TaskInfo, workers: Workers, now: datetime) -> Sequence[Cell]:
    return (task.id, task.type, _tries(task), one_line(task.payload))


def _scheduled(task: TaskInfo, workers: Workers, now: datetime) -> Sequence[Cell]:
    return (task.id, task.type, due(task.next_process_at, now), one_line(task.payload))


def _retry(task: TaskInfo, workers: Workers, now: datetime) -> Sequence[Cell]:
    return (
        task.id, task.type, _tries(task), due(task.next_process_at, now),
        ago(task.last_failed_at, now), task.last_error, one_line(task.payload),
    )  # fmt: skip


def _archived(task: TaskInfo, workers: Workers, now: datetime) -> Sequence[Cell]:
    return (
        task.id, task.type, _tries(task), ago(task.last_failed_at, now), task.last_error,
        one_line(task.payload),
    )  # fmt: skip


def _completed(task: TaskInfo, workers: Workers, now: datetime) -> Sequence[Cell]:
    return (
        task.id, task.type, ago(task.completed_at, now), one_line(task.result),
        one_line(task.payload),
    )  # fmt: skip


def _aggregating(task: TaskInfo, workers: Workers, now: datetime) -> Sequence[Cell]:
    return (task.id, task.type, task.group, one_line(task.payload))


def _tries(task: TaskInfo) -> str:
    return f"{task.retried}/{task.max_retry}"


_TRIES = Column("Retried", right=True, spare=3)
_FAILED = Column("Failed", spare=2)
_LOOKS: dict[str, tuple[Sequence[Column], Cells]] = {
    "active": (
        (_ID, _TYPE, Column("Worker", gives=5, least=12), Column("Runs for"), _TRIES, _PAYLOAD),
        _active,
    ),
    "pending": ((_ID, _TYPE, _TRIES, _PAYLOAD), _pending),
    "scheduled": ((_ID, _TYPE, Column("Due"), _PAYLOAD), _scheduled),
    "retry": (
        (_ID, _TYPE, _TRIES, Column("Next try"), _FAILED, _ERROR, _PAYLOAD),
        _retry,
    ),
    "archived": ((_ID, _TYPE, _TRIES, _FAILED, _ERROR, _PAYLOAD), _archived),
    "completed": (
        (_ID, _TYPE, Column("Completed"), Column("Result", gives=2, least=10), _PAYLOAD),
        _completed,
    ),
    "aggregating": (
        (_ID, _TYPE, Column("Group", gives=3, least=8), _PAYLOAD),
        _aggregating,
    ),
}
