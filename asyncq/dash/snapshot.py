"""What is read from Redis for the screen: what was asked for, and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from asyncq import (
    Cursor,
    EnqueueEvent,
    GroupInfo,
    QueueInfo,
    RedisInfo,
    SchedulerEntry,
    ServerInfo,
    TaskFilter,
    TaskInfo,
    TaskState,
    WorkerInfo,
)

from .keys import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Some of the tasks of a state that match a filter."""

    filter: TaskFilter
    start: Cursor | None
    """Where to begin; None at the first task."""
    wanted: int
    """How many matches are enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to read. `number` is that of the answer."""

    number: int
    place: Place
    queue: str = ""
    state: TaskState = TaskState.ACTIVE
    group: str = ""
    page: int = 1
    size: int = 1
    """Lines on a page."""
    scan: Scan | None = None
    """Of a filtered page: what to look for."""
    counts_only: bool = False
    """Of a filtered page that is complete: leave it as it is."""
    entry: str = ""
    task: tuple[str, str] | None = None
    """Queue and id of the task that is looked at closely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a scan found."""

    tasks: tuple[TaskInfo, ...]
    looked: int
    """How many tasks were looked at, at most."""
    cursor: Cursor | None
    """Where to go on; None at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePlace:
    """Where in a Redis Cluster a queue is."""

    queue: str
    slot: int
    nodes: tuple[str, ...]
    """The addresses of the master of the slot, then of its replicas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The places of queues, of the first if there are many."""

    found: tuple[QueuePlace, ...]
    queues: int
    """How many queues there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What was found; None is what was not asked for, or is not there."""

    at: datetime
    queues: tuple[QueueInfo, ...] | None = None
    forbidden: int = 0
    """How many more queues there are, which this user of Redis may not look at."""
    queue: QueueInfo | None = None
    tasks: tuple[TaskInfo, ...] | None = None
    part: Part | None = None
    groups: tuple[GroupInfo, ...] | None = None
    servers: tuple[ServerInfo, ...] | None = None
    entries: tuple[SchedulerEntry, ...] | None = None
    events: tuple[EnqueueEvent, ...] | None = None
    redis: tuple[RedisInfo, ...] | None = None
    """The servers that have tasks; of a cluster its masters."""
    places: Places | None = None
    """Of a cluster, with `redis`."""
    task: TaskInfo | None = None
    worker: WorkerInfo | None = None
    """Who runs that task, if it is active and a server says so."""
