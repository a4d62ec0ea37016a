"""The table of each page: its columns, and a row for each item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from asyncq import (
    EnqueueEvent,
    GroupInfo,
    QueueInfo,
    SchedulerEntry,
    ServerInfo,
    TaskInfo,
    TaskState,
    WorkerInfo,
)
from asyncq.size_text import size_text

from .grid import Column, Table
from .items import items
from .keys import Place
from .numbers import ago, ahead, count, duration, percent
from .plain import plain_bytes
from .state import State

Cells = tuple[str, ...]
_PAYLOAD = Column("Payload", 8, weight=3)
_SHOWN_BYTES = 400

_QUEUES = (
    Column("Queue", 10),
    Column("State", 6),
    Column("Size", 6, right=True),
    Column("Latency", 7, right=True),
    Column("Memory", 8, right=True),
    Column("Processed", 9, right=True),
    Column("Failed", 6, right=True),
    Column("ErrorRate", 6, right=True, brief="Errors"),
)
_GROUPS = (Column("Name", 20), Column("Size", 8, right=True))
_SERVERS = (
    Column("Host", 8),
    Column("PID", 5, right=True),
    Column("State", 7),
    Column("Busy", 5, right=True),
    Column("Limit", 5, right=True),
    Column("Queues", 12),
    Column("Started", 10),
)
_WORKERS = (
    Column("Server", 8),
    Column("Task ID", 8),
    Column("Type", 8, weight=2),
    Column("Queue", 7),
    Column("Since", 6, right=True),
    Column("Deadline", 9, right=True),
    _PAYLOAD,
)
_ENTRIES = (
    Column("Entry ID", 8),
    Column("Spec", 9),
    Column("Type", 8, weight=2),
    _PAYLOAD,
    Column("Options", 7),
    Column("Next", 9),
    Column("Prev", 10),
)
_EVENTS = (Column("Task ID", 20), Column("Enqueued", 12))
_ID, _TYPE = Column("ID", 8), Column("Type", 8, weight=2)
_NEXT = Column("Next Process Time", 9, brief="Next")
_FAILURE = Column("Last Failure", 10, weight=3)
_FAILED_AT = Column("Last Failure Time", 9, brief="Failed")
_RETRY = Column("Retry", 5, right=True)

_TASKS: dict[TaskState, tuple[Column, ...]] = {
    TaskState.ACTIVE: (
        _ID,
        _TYPE,
        Column("Retried", 5, right=True),
        Column("Max Retry", 3, right=True, brief="Max"),
        _PAYLOAD,
    ),
    TaskState.AGGREGATING: (_ID, _TYPE, _PAYLOAD, Column("Group", 8)),
    TaskState.SCHEDULED: (_ID, _TYPE, _NEXT, _PAYLOAD),
    TaskState.RETRY: (_ID, _TYPE, _RETRY, _FAILURE, _FAILED_AT, _NEXT, _PAYLOAD),
    TaskState.ARCHIVED: (_ID, _TYPE, _RETRY, _FAILURE, _FAILED_AT, _PAYLOAD),
    TaskState.COMPLETED: (
        _ID,
        _TYPE,
        Column("Completion Time", 9, brief="Completed"),
        _PAYLOAD,
        Column("Result", 8, weight=3),
    ),
}
_TASKS[TaskState.PENDING] = _TASKS[TaskState.ACTIVE]

_CELLS: dict[str, Callable[[TaskInfo, datetime], str]] = {
    "ID": lambda task, _: task.id + (" (orphaned)" if task.is_orphaned else ""),
    "Type": lambda task, _: task.type,
    "Retried": lambda task, _: str(task.retried),
    "Max Retry": lambda task, _: str(task.max_retry),
    "Payload": lambda task, _: plain_bytes(task.payload, _SHOWN_BYTES),
    "Group": lambda task, _: task.group,
    "Next Process Time": lambda task, now: ahead(task.next_process_at, now),
    "Retry": lambda task, _: f"{task.retried}/{task.max_retry}",
    "Last Failure": lambda task, _: task.last_error,
    "Last Failure Time": lambda task, now: ago(task.last_failed_at, now),
    "Completion Time": lambda task, now: ago(task.completed_at, now),
    "Result": lambda task, _: plain_bytes(task.result or b"", _SHOWN_BYTES),
}


def table(state: State) -> Table:
    """That of the page that is shown."""
    view, seen = state.view, state.seen
    columns = _TASKS[view.state] if view.place is Place.TASKS else _COLUMNS[view.place]
    if seen is None:
        return Table(columns, ())
    shown = items(state)
    if view.place is Place.TASKS:
        return Table(columns, tuple(_task(task, columns, seen.at) for task in shown))
    row = _ROWS[view.place]
    servers = {server.id: f"{server.host}:{server.pid}" for server in seen.servers or ()}
    return Table(columns, tuple(row(item, seen.at, servers) for item in shown))


def _task(item: Any, columns: Sequence[Column], now: datetime) -> Cells:
    task: TaskInfo = item
    return tuple(_CELLS[column.title](task, now) for column in columns)


def _queue(info: QueueInfo, now: datetime, servers: object) -> Cells:
    return (
        info.queue,
        "PAUSED" if info.paused else "RUN",
        count(info.size),
        duration(info.latency),
        size_text(info.memory_usage),
        count(info.processed),
        count(info.failed),
        percent(info.failed, info.processed),
    )


def _group(info: GroupInfo, now: datetime, servers: object) -> Cells:
    return (info.group, count(info.size))


def _server(info: ServerInfo, now: datetime, servers: object) -> Cells:
    queues = sorted(info.queues.items(), key=lambda item: (-item[1], item[0]))
    return (
        info.host,
        str(info.pid),
        info.status,
        str(info.active_worker_count),
        str(info.concurrency),
        ("strict " if info.strict_priority else "")
        + " ".join(f"{name}:{priority}" for name, priority in queues),
        ago(info.started, now),
    )


def _worker(info: WorkerInfo, now: datetime, servers: dict[str, str]) -> Cells:
    return (
        servers.get(info.server_id, f"{info.host}:{info.pid}"),
        info.task_id,
        info.task_type,
        info.queue,
        duration(now - info.started),
        ahead(info.deadline, now),
        plain_bytes(info.task_payload, _SHOWN_BYTES),
    )


def _entry(info: SchedulerEntry, now: datetime, servers: object) -> Cells:
    return (
        info.name or info.id,
        info.spec,
        info.task.type,
        plain_bytes(info.task.payload, _SHOWN_BYTES),
        " ".join(f"{name}={value}" for name, value in info.options.items()) or "-",
        ahead(info.next, now),
        ago(info.prev, now),
    )


def _event(info: EnqueueEvent, now: datetime, servers: object) -> Cells:
    return (info.task_id, ago(info.enqueued_at, now))


_COLUMNS: dict[Place, tuple[Column, ...]] = {
    Place.QUEUES: _QUEUES,
    Place.GROUPS: _GROUPS,
    Place.SERVERS: _SERVERS,
    Place.WORKERS: _WORKERS,
    Place.SCHEDULERS: _ENTRIES,
    Place.EVENTS: _EVENTS,
}
_ROWS: dict[Place, Callable[[Any, datetime, dict[str, str]], Cells]] = {
    Place.QUEUES: _queue,
    Place.GROUPS: _group,
    Place.SERVERS: _server,
    Place.WORKERS: _worker,
    Place.SCHEDULERS: _entry,
    Place.EVENTS: _event,
}
