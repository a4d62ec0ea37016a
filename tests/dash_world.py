"""A made-up Redis for the dashboard's state machine, and somebody at its keys.

player = Player(World(...))
player.press("enter", "l", "j", "d", "y")
assert player.state.notice...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncq import (
    Cursor,
    EnqueueEvent,
    GroupInfo,
    QueueInfo,
    RedisInfo,
    SchedulerEntry,
    ServerInfo,
    Task,
    TaskInfo,
    TaskState,
    WorkerInfo,
)
from asyncq.dash.keys import Command, Place, command_of
from asyncq.dash.machine import step
from asyncq.dash.snapshot import Part, Places, Request, Snapshot
from asyncq.dash.state import (
    Act,
    Arrived,
    Effect,
    Event,
    Leave,
    Pressed,
    Read,
    Started,
    State,
)

NOW = datetime(2026, 11, 21, 3, 4, 5, tzinfo=UTC)


def a_queue(name: str = "default", **changes: Any) -> QueueInfo:
    counts = {state.value: changes.pop(state.value, 0) for state in TaskState}
    fields: dict[str, Any] = {
        "queue": name,
        "size": sum(counts.values()),
        "groups": 0,
        "paused": False,
        "processed": 200,
        "failed": 3,
        "processed_total": 1000,
        "failed_total": 10,
        "latency": timedelta(seconds=3.2),
        "memory_usage": 123_456,
        "timestamp": NOW,
    }
    return QueueInfo(**(fields | counts | changes))


def a_task(task_id: str = "a", state: str = "pending", **changes: Any) -> TaskInfo:
    fields: dict[str, Any] = {
        "id": task_id,
        "queue": "default",
        "type": "email:deliver",
        "payload": b'{"user_id": 42}',
        "headers": {},
        "state": TaskState(state),
        "max_retry": 25,
    }
    return TaskInfo(**(fields | changes))


def some_tasks(count: int, state: str = "pending", **changes: Any) -> list[TaskInfo]:
    return [a_task(f"{state[0]}{n}", state, **changes) for n in range(count)]


def a_worker(task_id: str = "a", **changes: Any) -> WorkerInfo:
    fields: dict[str, Any] = {
        "host": "web1",
        "pid": 7,
        "server_id": "s1",
        "task_id": task_id,
        "task_type": "email:deliver",
        "task_payload": b"{}",
        "queue": "default",
        "started": NOW - timedelta(seconds=72),
        "deadline": NOW + timedelta(minutes=3),
    }
    return WorkerInfo(**(fields | changes))


def a_server(*workers: WorkerInfo, **changes: Any) -> ServerInfo:
    fields: dict[str, Any] = {
        "id": "s1",
        "host": "web1",
        "pid": 7,
        "concurrency": 10,
        "queues": {"default": 1, "critical": 6},
        "strict_priority": False,
        "status": "active",
        "started": NOW - timedelta(hours=2),
        "active_worker_count": len(workers),
        "active_workers": workers,
    }
    return ServerInfo(**(fields | changes))


def an_entry(entry_id: str = "e1", **changes: Any) -> SchedulerEntry:
    fields: dict[str, Any] = {
        "id": entry_id,
        "spec": "@every 1h",
        "task": Task("report:hourly"),
        "options": {"queue": "low"},
        "next": NOW + timedelta(minutes=12),
        "prev": NOW - timedelta(minutes=48),
    }
    return SchedulerEntry(**(fields | changes))


@dataclass
class World:
    """What is in Redis. Sizes of queues follow from `tasks`, unless they are given."""

    tasks: Sequence[TaskInfo] = ()
    queues: Sequence[QueueInfo] = ()
    servers: Sequence[ServerInfo] = ()
    entries: Sequence[SchedulerEntry] = ()
    events: Sequence[EnqueueEvent] = ()
    redis: Sequence[RedisInfo] = ()
    places: Places | None = None
    forbidden: int = 0
    looks: int = 20
    """How many tasks one answer looks at in a search."""

    def answer(self, request: Request) -> Snapshot:
        """What the reader would find."""
        task = self.task(request.task)
        found = Snapshot(at=NOW, task=task, worker=self.worker(task))
        match request.place:
            case Place.QUEUES:
                return replace(found, queues=tuple(self.infos()), forbidden=self.forbidden)
            case Place.TASKS:
                return self._tasks(request, replace(found, queue=self.info(request.queue)))
            case Place.GROUPS:
                groups = tuple(self.groups(request.queue))
                return replace(found, queue=self.info(request.queue), groups=groups)
            case Place.SERVERS | Place.WORKERS:
                return replace(found, servers=tuple(self.servers))
            case Place.SCHEDULERS:
                return replace(found, entries=tuple(self.entries))
            case Place.EVENTS:
                first = (request.page - 1) * request.size
                events = tuple(self.events[first : first + request.size])
                return replace(found, entries=tuple(self.entries), events=events)
            case _:
                return replace(found, redis=tuple(self.redis), places=self.places)

    def infos(self) -> list[QueueInfo]:
        names = {info.queue for info in self.queues} | {task.queue for task in self.tasks}
        return [self.info(name) for name in sorted(names)]

    def info(self, queue: str) -> QueueInfo:
        for info in self.queues:
            if info.queue == queue:
                return info
        counts: dict[str, int] = {}
        for task in self.tasks:
            if task.queue == queue:
                counts[task.state.value] = counts.get(task.state.value, 0) + 1
        return a_queue(queue, **counts)

    def groups(self, queue: str) -> list[GroupInfo]:
        names = [task.group for task in self.tasks if task.group and task.queue == queue]
        return [
            GroupInfo(queue=queue, group=name, size=names.count(name))
            for name in sorted(set(names))
        ]

    def task(self, wanted: tuple[str, str] | None) -> TaskInfo | None:
        there = [task for task in self.tasks if (task.queue, task.id) == wanted]
        return there[0] if there else None

    def worker(self, task: TaskInfo | None) -> WorkerInfo | None:
        workers = [worker for server in self.servers for worker in server.active_workers]
        there = [w for w in workers if task and (w.queue, w.task_id) == (task.queue, task.id)]
        return there[0] if there else None

    def _tasks(self, request: Request, found: Snapshot) -> Snapshot:
        there = [
            task
            for task in self.tasks
            if (task.queue, task.state, task.group) == (request.queue, request.state, request.group)
        ]
        if request.scan is not None:
            return replace(found, part=self._scan(there, request))
        if request.counts_only:
            return found
        first = (request.page - 1) * request.size
        return replace(found, tasks=tuple(there[first : first + request.size]))

    def _scan(self, there: Sequence[TaskInfo], request: Request) -> Part:
        assert request.scan is not None
        rank = request.scan.start.rank if request.scan.start else 0
        found: list[TaskInfo] = []
        looked = 0
        for task in there[rank : rank + self.looks]:
            if len(found) == request.scan.wanted:
                break
            looked += 1
            if request.scan.filter.matches(task):
                found.append(task)
        rank += looked
        cursor = Cursor(rank) if rank < len(there) else None
        return Part(tasks=tuple(found), looked=looked, cursor=cursor)


@dataclass
class Player:
    """Presses keys, and hands on what the world answers, at once unless `is_away`."""

    world: World
    state: State = field(default_factory=State)
    is_away: bool = False
    asked: list[Request] = field(default_factory=list)
    acts: list[Any] = field(default_factory=list)
    others: list[Effect] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.happen(Started())

    def happen(self, event: Event) -> None:
        self.state, effects = step(self.state, event)
        for effect in effects:
            match effect:
                case Read():
                    self.asked.append(effect.request)
                    if not self.is_away:
                        self.answer(effect.request)
                case Act():
                    self.acts.append(effect.action)
                case _:
                    self.others.append(effect)

    def answer(self, request: Request) -> None:
        self.happen(Arrived(request.number, self.world.answer(request)))

    def press(self, *keys: str) -> Player:
        """Keys as a person knows them: those of the table, by the names of Textual."""
        for key in keys:
            command = command_of(self.state.place, key)
            if command is not None:
                self.happen(Pressed(command))
        return self

    def command(self, command: Command) -> Player:
        self.happen(Pressed(command))
        return self

    @property
    def left(self) -> bool:
        return any(isinstance(effect, Leave) for effect in self.others)
