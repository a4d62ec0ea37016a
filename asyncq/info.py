"""Frozen records of what stands in Redis, asynq's fields in snake_case. Absent times are None."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, TypeVar, overload

from . import payload as payloads
from .options import EnqueueOptions
from .task import Task, TaskState

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInfo:
    """A task as it stood when it was enqueued or looked up."""

    id: str
    queue: str
    type: str
    payload: bytes
    headers: Mapping[str, str]
    state: TaskState
    max_retry: int
    retried: int = 0
    last_error: str = ""
    last_failed_at: datetime | None = None
    timeout: timedelta | None = None
    deadline: datetime | None = None
    group: str = ""
    next_process_at: datetime | None = None
    is_orphaned: bool = False
    """Active, but its lease ran out and no worker renewed it. Only lists of active tasks say so."""
    retention: timedelta = timedelta(0)
    completed_at: datetime | None = None
    result: bytes | None = None

    @overload
    def parse_result(self, model: builtins.type[T]) -> T: ...
    @overload
    def parse_result(self, model: Any) -> Any: ...
    def parse_result(self, model: Any) -> Any:
        """The result as a value of type `model`: a class, or any annotation pydantic knows, such
        as `int | None`. Raises `InvalidPayloadError`.
        """
        return payloads.decode(self.result, model)

    def __repr__(self) -> str:
        # Payload and result stay out: they may hold secrets and reprs end up in logs.
        return f"<TaskInfo {self.type!r} {self.id} in {self.queue!r}: {self.state}>"


class _NewTaskInfo:
    """A `TaskInfo` in the making: a frozen one of this size takes ten times as long."""

    __slots__ = TaskInfo.__slots__


def enqueued_info(
    id: str,
    queue: str,
    type: str,
    payload: bytes,
    headers: Mapping[str, str],
    state: TaskState,
    max_retry: int,
    timeout: timedelta | None,
    deadline: datetime | None,
    group: str,
    next_process_at: datetime | None,
    retention: timedelta,
) -> TaskInfo:
    """The record of a task that was just enqueued: it never ran, failed or completed."""
    new: Any = _NewTaskInfo()
    new.id = id
    new.queue = queue
    new.type = type
    new.payload = payload
    new.headers = headers
    new.state = state
    new.max_retry = max_retry
    new.retried = 0
    new.last_error = ""
    new.last_failed_at = None
    new.timeout = timeout
    new.deadline = deadline
    new.group = group
    new.next_process_at = next_process_at
    new.is_orphaned = False
    new.retention = retention
    new.completed_at = None
    new.result = None
    new.__class__ = TaskInfo  # of the same slots
    info: TaskInfo = new
    return info


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInfo:
    """A queue at one moment."""

    queue: str
    size: int
    """All its tasks, in whatever state."""
    pending: int
    active: int
    scheduled: int
    retry: int
    archived: int
    completed: int
    aggregating: int
    groups: int
    paused: bool
    processed: int
    """Today (UTC), failed ones included."""
    failed: int
    """Today (UTC)."""
    processed_total: int
    failed_total: int
    latency: timedelta
    """How long the task that runs next has been pending."""
    memory_usage: int
    """Bytes, estimated from samples."""
    timestamp: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyStats:
    """What a queue did on one day (UTC)."""

    queue: str
    date: date
    processed: int
    """Failed ones included."""
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupInfo:
    """Tasks that wait to be aggregated."""

    queue: str
    group: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterNode:
    """A node of a Redis Cluster that has a queue's slot."""

    id: str
    address: str
    """`host:port`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisInfo:
    """What a Redis says of itself."""

    where: str
    """Its address, without secrets."""
    values: Mapping[str, str]
    """INFO, by name: `redis_version`, `used_memory`, ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A task that a server is running now."""

    host: str
    pid: int
    server_id: str
    task_id: str
    task_type: str
    task_payload: bytes
    """At most its first 1 024 bytes where the server is asyncq's."""
    queue: str
    started: datetime
    deadline: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """A running server, as its last heartbeat described it."""

    id: str
    host: str
    pid: int
    concurrency: int
    queues: Mapping[str, int]
    strict_priority: bool
    status: str
    """`active`, `stopped` (takes no new tasks) or `closed`."""
    started: datetime
    active_worker_count: int
    active_workers: Sequence[WorkerInfo] = ()
    """Filled in by `Inspector.servers`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerEntry:
    """A task that a scheduler enqueues again and again."""

    id: str
    name: str = ""
    """What was given as `name=`; empty if nothing was, and for entries of a Go scheduler."""
    spec: str
    task: Task
    """Its headers and its own options are known only in the process of the scheduler."""
    options: EnqueueOptions
    """The options given when it was registered, as far as they can be read."""
    next: datetime | None
    """When it is due next; None if never again."""
    prev: datetime | None
    """The due time for which it was enqueued last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueEvent:
    """A task that a scheduler enqueued."""

    task_id: str
    enqueued_at: datetime
