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
    """What tells it apart in its queue."""
    queue: str
    """The name of its queue."""
    type: str
    """What names its handler."""
    payload: bytes
    """As bytes; empty if it has none."""
    headers: Mapping[str, str]
    """Metadata that travels with it."""
    state: TaskState
    """Where it is."""
    max_retry: int
    """How often it may be retried before it is archived."""
    retried: int = 0
    """How often it was retried so far."""
    last_error: str = ""
    """The text of its last failure; empty if it has never failed."""
    last_failed_at: datetime | None = None
    """When that was."""
    timeout: timedelta | None = None
    """How long one attempt may take; None if only a deadline counts."""
    deadline: datetime | None = None
    """After this no attempt may run; None if only a time-out counts."""
    group: str = ""
    """The group in which it waits to be aggregated; empty if it is in none."""
    next_process_at: datetime | None = None
    """When it is due; of a pending task now. None if it runs, or will not run."""
    is_orphaned: bool = False
    """Active, but its lease ran out and no worker renewed it. Only lists of active tasks say so."""
    retention: timedelta = timedelta(0)
    """How long it is kept after its success; 0: it is deleted at once."""
    completed_at: datetime | None = None
    """When it succeeded."""
    result: bytes | None = None
    """What its handler returned or wrote; `parse_result` reads it. None if there is nothing."""

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
    """Its name."""
    size: int
    """All its tasks, in whatever state."""
    pending: int
    """Tasks that a worker may take now."""
    active: int
    """Tasks that run."""
    scheduled: int
    """Tasks that wait for their time."""
    retry: int
    """Tasks that failed and wait for their next attempt."""
    archived: int
    """Tasks that will not run again by themselves, kept for people."""
    completed: int
    """Tasks that succeeded and are kept for their retention."""
    aggregating: int
    """Tasks that wait in groups."""
    groups: int
    """How many groups these are."""
    paused: bool
    """Whether workers leave its tasks alone."""
    processed: int
    """Today (UTC), failed ones included."""
    failed: int
    """Today (UTC)."""
    processed_total: int
    """Since there is the queue, failed ones included."""
    failed_total: int
    """Since there is the queue."""
    latency: timedelta
    """How long the task that runs next has been pending."""
    memory_usage: int
    """Bytes, estimated from samples."""
    timestamp: datetime
    """When all this was so, by the clock of who asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyStats:
    """What a queue did on one day (UTC)."""

    queue: str
    """The name of the queue."""
    date: date
    """The day (UTC)."""
    processed: int
    """Failed ones included."""
    failed: int
    """Attempts that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupInfo:
    """Tasks that wait to be aggregated."""

    queue: str
    """The name of the queue."""
    group: str
    """The name of the group."""
    size: int
    """How many tasks wait in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterNode:
    """A node of a Redis Cluster that has a queue's slot."""

    id: str
    """What the cluster calls it."""
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
    """The machine of the server."""
    pid: int
    """The process of the server."""
    server_id: str
    """The `ServerInfo.id` of the server."""
    task_id: str
    """The id of the task."""
    task_type: str
    """The type of the task."""
    task_payload: bytes
    """At most its first 1 024 bytes where the server is asyncq's."""
    queue: str
    """The queue of the task."""
    started: datetime
    """When this attempt began."""
    deadline: datetime
    """When it is cancelled, if it still runs then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """A running server, as its last heartbeat described it."""

    id: str
    """Random, made anew at each start."""
    host: str
    """The name of its machine."""
    pid: int
    """Its process."""
    concurrency: int
    """How many tasks it runs at a time."""
    queues: Mapping[str, int]
    """Its queues with their weights."""
    strict_priority: bool
    """Whether it serves a queue only while all of a greater weight are empty."""
    status: str
    """`active`, `stopped` (takes no new tasks) or `closed`."""
    started: datetime
    """When it was started."""
    active_worker_count: int
    """How many tasks it ran at its last heartbeat."""
    active_workers: Sequence[WorkerInfo] = ()
    """Filled in by `Inspector.servers`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerEntry:
    """A task that a scheduler enqueues again and again."""

    id: str
    """What `Inspector.enqueue_events` takes."""
    name: str = ""
    """What was given as `name=`; empty if nothing was, and for entries of a Go scheduler."""
    spec: str
    """When it is due: a cron spec, or `@every`."""
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
    """The id of the task."""
    enqueued_at: datetime
    """When it was enqueued."""
