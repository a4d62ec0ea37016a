"""`Inspector`: looks at queues, tasks and servers, and moves tasks by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from . import payload as payloads
from ._broker.connection import Connection
from ._broker.inspection import Inspection
from ._broker.queue_removal import QueueRemoval
from ._broker.scheduling import Scheduling
from ._broker.task_lists import GONE, SLICE, Action, Place, TaskLists
from ._broker.task_lists import Cursor as Cursor  # noqa: PLC0414 - public, by this name
from ._clock import Clock
from ._closing import Closing
from .client import RedisSource, connection_source
from .errors import QueueNotEmptyError, TaskNotFoundError, TaskStateError
from .info import (
    ClusterNode,
    DailyStats,
    EnqueueEvent,
    GroupInfo,
    QueueInfo,
    RedisInfo,
    SchedulerEntry,
    ServerInfo,
    TaskInfo,
)
from .options import text
from .task import TaskState
from .task_filter import TaskFilter

OnProgress = Callable[[int], None]
"""Told during work on many tasks how many are done."""

_MOST_DAYS = 36_500

_RUNNABLE = frozenset(TaskState) - {TaskState.ACTIVE, TaskState.PENDING}
_ARCHIVABLE = frozenset(TaskState) - {TaskState.ACTIVE, TaskState.ARCHIVED}
_DELETABLE = frozenset(TaskState) - {TaskState.ACTIVE}


@dataclass(frozen=True, slots=True)
class ScanPage:
    """Part of a scan: the tasks that match, and where to go on; None at the end."""

    tasks: list[TaskInfo]
    """Those that match."""
    cursor: Cursor | None
    """What `Inspector.scan` takes to go on; None at the end."""


class Inspector(Closing):
    """Looks at queues, tasks and servers of Python's and Go's alike, and moves tasks by hand.

    `redis` is what `Client` takes. Use it as `async with Inspector(url) as inspector:`, or call
    `aclose`. States are `TaskState`s or their names. Work on many tasks goes in slices that do
    not hold up Redis, and never takes tasks into memory that it does not return.

    Raises what `Client` raises. Its methods raise `RedisUnavailableError` when Redis does not
    answer, `RedisReplyError` when it refuses, `ValueError` and `TypeError` for an argument that
    cannot be meant, and what they say themselves.
    """

    def __init__(self, redis: RedisSource | None = None, *, _clock: Clock | None = None) -> None:
        self._connection = Connection.open(connection_source(redis))
        clock = _clock or Clock()
        self._scheduling = Scheduling(self._connection, clock)
        self._inspection = Inspection(self._connection, clock)
        self._tasks = TaskLists(self._connection, clock)

    @property
    def where(self) -> str:
        """The address of Redis, without secrets."""
        return self._connection.where

    # Queues

    async def queues(self) -> list[str]:
        """The names of all queues, sorted."""
        return await self._inspection.queues()

    async def queue_info(self, queue: str) -> QueueInfo:
        """A queue at this moment. Raises `QueueNotFoundError`."""
        await self._inspection.check_queue(text("queue", queue))
        return await self._inspection.queue_info(queue)

    async def history(self, queue: str, days: int = 10) -> list[DailyStats]:
        """What the queue did on each of the last `days` days (UTC), newest first; zeros beyond
        90 days. Raises `QueueNotFoundError`, and `ValueError` for less than one day."""
        if not 1 <= _whole("days", days) <= _MOST_DAYS:
            raise ValueError(f"days= takes 1 to {_MOST_DAYS}, got {days}")
        await self._inspection.check_queue(text("queue", queue))
        return await self._inspection.history(queue, days)

    async def groups(self, queue: str) -> list[GroupInfo]:
        """The queue's groups, by name. Empty for a queue that does not exist."""
        return await self._inspection.groups(text("queue", queue))

    async def pause_queue(self, queue: str) -> bool:
        """No more tasks of it are taken; running ones finish. False: it was paused already."""
        return await self._inspection.pause(text("queue", queue))

    async def unpause_queue(self, queue: str) -> bool:
        """Tasks are taken again. False: it was not paused."""
        return await self._inspection.unpause(text("queue", queue))

    async def delete_queue(
        self, queue: str, force: bool = False, *, on_progress: OnProgress | None = None
    ) -> None:
        """Delete a queue and everything of it, statistics and `paused` too. Completed tasks
        always go with it, others only with `force`.

        Stop its producers first: what is enqueued meanwhile makes it anew, or goes with it; and a
        queue made anew within 10 s may be missing in `queues` until its next task after that. All
        of Redis is looked through for what is left, in slices; `on_progress` is told how many
        keys are deleted. If it is cut short, call it again.
        Raises `QueueNotFoundError`; `QueueNotEmptyError` if it has tasks, or, even with `force`,
        if any of them are running.
        """
        await self._inspection.check_queue(text("queue", queue))
        removal = QueueRemoval(self._connection, queue)
        if not await removal.remove(force=force, progress=on_progress or _nobody):
            info = await self._inspection.queue_info(queue)
            grouped = await removal.tasks_in_groups() - info.aggregating
            raise QueueNotEmptyError(queue, info.size - info.completed + grouped, info.active)

    async def cluster_key_slot(self, queue: str) -> int:
        """The hash slot of the queue's keys in a Redis Cluster.
        Raises `RedisReplyError` elsewhere."""
        return await self._inspection.cluster_key_slot(text("queue", queue))

    async def cluster_nodes(self, queue: str) -> list[ClusterNode]:
        """The nodes of a Redis Cluster that have the queue: the master, then its replicas.
        Raises `RedisReplyError` elsewhere."""
        return await self._inspection.cluster_nodes(text("queue", queue))

    # Tasks, one

    async def task_info(self, queue: str, task_id: str) -> TaskInfo:
        """One task. Raises `TaskNotFoundError`, or `TaskStateError` if its record is broken."""
        return await self._tasks.task_info(text("queue", queue), text("task_id", task_id))

    async def run_task(self, queue: str, task_id: str) -> None:
        """Make a waiting, archived or completed task pending now.

        Raises `TaskNotFoundError`, or `TaskStateError` if it is active or pending.
        """
        await self._one("run", queue, task_id)

    async def archive_task(self, queue: str, task_id: str) -> None:
        """Keep a task and do not run it. Raises `TaskNotFoundError`, or `TaskStateError` if it
        is active (cancel it) or archived."""
        await self._one("archive", queue, task_id)

    async def delete_task(self, queue: str, task_id: str) -> None:
        """Delete a task and give up its uniqueness lock. Raises `TaskNotFoundError`, or
        `TaskStateError` if it is active."""
        await self._one("delete", queue, task_id)

    async def update_payload(self, queue: str, task_id: str, payload: object) -> None:
        """Replace the payload of a task that waits or is archived, by the rule of `Task`. All
        else of it stays.

        Its uniqueness lock stays that of the old payload. Raises `TaskNotFoundError`,
        `TaskStateError` if it is active, completed or being aggregated, and `InvalidResultError`
        for a payload that cannot be written.
        """
        new = payloads.encode(payload) or b""
        text("queue", queue)
        text("task_id", task_id)
        while True:
            data, message = await self._tasks.read_message(queue, task_id)
            code = await self._tasks.replace_payload(queue, task_id, data, message, new)
            if code == 1:
                return
            if code == GONE:
                raise TaskNotFoundError(queue, task_id)
            if code in _KEEPS_PAYLOAD:
                raise TaskStateError(queue, task_id, _KEEPS_PAYLOAD[code])

    async def cancel(self, task_id: str) -> None:
        """Ask whoever runs the task to cancel it: it fails and is retried, or archived when
        exhausted. Returns when the request is sent; nobody confirms it."""
        await self._inspection.cancel(text("task_id", task_id))

    # Tasks, many

    async def list_tasks(
        self,
        queue: str,
        state: TaskState | str,
        page: int = 1,
        page_size: int = 30,
        *,
        group: str | None = None,
    ) -> list[TaskInfo]:
        """One page of the tasks in a state; `group` goes with aggregating ones.

        Pending: next to run first; active: longest active first; scheduled, retry: soonest
        first; archived: oldest first; completed: soonest to expire first; aggregating: oldest
        first. A page is a moment of Redis's up to 100 tasks or 1 MiB; longer ones are read in
        parts. Raises `QueueNotFoundError`, and `ValueError` for a page or size below 1.
        """
        place = _place(queue, state, group)
        if _whole("page", page) < 1 or _whole("page_size", page_size) < 1:
            raise ValueError(f"page= and page_size= start at 1, got {page} and {page_size}")
        await self._inspection.check_queue(queue)
        found, _ = await self._scan(place, None, Cursor((page - 1) * page_size), page_size)
        return found

    async def scan(
        self,
        queue: str,
        state: TaskState | str,
        filter: TaskFilter | None = None,
        cursor: Cursor | None = None,
        budget: int = SLICE,
        *,
        group: str | None = None,
    ) -> ScanPage:
        """Look at the next `budget` tasks of a state and return those that match.

        Go on with the page's `cursor` until it is None. A task that stays in the state all the
        while is met once, whatever workers take and producers add; one that comes or goes may be
        met or not, and one that comes back may be met again.

        Raises `ValueError` for a budget below 1.
        """
        if _whole("budget", budget) < 1:
            raise ValueError(f"budget= must be at least 1, got {budget}")
        return ScanPage(
            *await self._scan(
                _place(queue, state, group), _checked(filter), cursor or Cursor(), budget
            )
        )

    async def iter_tasks(
        self,
        queue: str,
        state: TaskState | str,
        filter: TaskFilter | None = None,
        *,
        group: str | None = None,
    ) -> AsyncIterator[TaskInfo]:
        """All tasks of a state that match, in the order of `list_tasks`, read in slices.

        Who is met is said at `scan`. Tasks may be moved and deleted on the way.
        """
        cursor: Cursor | None = Cursor()
        while cursor is not None:
            page = await self.scan(queue, state, filter, cursor, group=group)
            for task in page.tasks:
                yield task
            cursor = page.cursor

    async def run_all(
        self,
        queue: str,
        state: TaskState | str,
        *,
        group: str | None = None,
        filter: TaskFilter | None = None,
        on_progress: OnProgress | None = None,
    ) -> int:
        """Make the tasks of a state that match pending; returns how many were. The state is
        scheduled, retry, archived, completed or aggregating (with `group`).

        Tasks that come into the state meanwhile may be among them, but are not chased. Raises
        `QueueNotFoundError`, and `ValueError` for another state.
        """
        return await self._many("run", _RUNNABLE, queue, state, group, filter, on_progress)

    async def archive_all(
        self,
        queue: str,
        state: TaskState | str,
        *,
        group: str | None = None,
        filter: TaskFilter | None = None,
        on_progress: OnProgress | None = None,
    ) -> int:
        """Archive the tasks of a state that match; returns how many were. The state is pending,
        scheduled, retry, completed or aggregating (with `group`). As `run_all`.

        The place of a task that leaves the middle of more than 200 000 pending ones is taken by
        the newest of them; closing the gap would hold up Redis.
        """
        return await self._many("archive", _ARCHIVABLE, queue, state, group, filter, on_progress)

    async def delete_all(
        self,
        queue: str,
        state: TaskState | str,
        *,
        group: str | None = None,
        filter: TaskFilter | None = None,
        on_progress: OnProgress | None = None,
    ) -> int:
        """Delete the tasks of a state that match, and give up their uniqueness locks; returns how
        many were. Any state but active. As `archive_all`."""
        return await self._many("delete", _DELETABLE, queue, state, group, filter, on_progress)

    # Servers

    async def servers(self) -> list[ServerInfo]:
        """Live servers, Go's too, with what each is running."""
        return await self._inspection.servers()

    async def redis_info(self) -> list[RedisInfo]:
        """What Redis says of itself; of a cluster each master, by address."""
        return await self._inspection.redis_info()

    # Schedulers

    async def scheduler_entries(self) -> list[SchedulerEntry]:
        """The entries of all live schedulers, Go's too; where several schedulers have the same
        entry, it is listed for each of them."""
        return await self._scheduling.entries()

    async def enqueue_events(
        self, entry_id: str, page: int = 1, page_size: int = 30
    ) -> list[EnqueueEvent]:
        """One page of what a scheduler enqueued for one of its entries, newest first; of the last
        1000. Empty for an id that nobody knows. Raises `ValueError` for a page or size below 1."""
        if _whole("page", page) < 1 or _whole("page_size", page_size) < 1:
            raise ValueError(f"page= and page_size= start at 1, got {page} and {page_size}")
        first = (page - 1) * page_size
        return await self._scheduling.events(
            text("entry_id", entry_id), first, first + page_size - 1
        )

    # Its life

    async def aclose(self) -> None:
        """Close the connections. Safe to call again; connections that are shared stay open."""
        await self._connection.aclose()

    def __repr__(self) -> str:
        return f"<Inspector of {self.where}>"

    async def _scan(
        self, place: Place, filter: TaskFilter | None, cursor: Cursor, budget: int
    ) -> tuple[list[TaskInfo], Cursor | None]:
        found: list[TaskInfo] = []
        after: Cursor | None = cursor
        while budget > 0 and after is not None:
            part = await self._tasks.scan(place, after, min(SLICE, budget))
            found += [task for _, task in part.tasks if filter is None or filter.matches(task)]
            budget -= len(part.ids)
            after = part.cursor
        return found, after

    async def _one(self, action: Action, queue: str, task_id: str) -> None:
        code = await self._tasks.act_on_one(action, text("queue", queue), text("task_id", task_id))
        if code == 1:
            return
        if code == GONE:
            raise TaskNotFoundError(queue, task_id)
        raise TaskStateError(queue, task_id, _REASONS[action, code])

    async def _many(
        self,
        action: Action,
        allowed: frozenset[TaskState],
        queue: str,
        state: TaskState | str,
        group: str | None,
        filter: TaskFilter | None,
        on_progress: OnProgress | None,
    ) -> int:
        place = _place(queue, state, group)
        if place.state not in allowed:
            names = ", ".join(sorted(allowed))
            raise ValueError(f"{action}_all takes one of {names}, got {place.state.value!r}")
        checked = _checked(filter)
        matches = checked.matches if checked else None
        await self._inspection.check_queue(queue)
        return await self._tasks.act_on_all(action, place, matches, on_progress or _nobody)


_REASONS: dict[tuple[Action, int], str] = {
    ("run", -1): "it is running already",
    ("run", -2): "it is pending already",
    ("run", -3): "it is not where its state says it is; a worker may be aggregating it",
    ("archive", -1): "it is running; cancel it first",
    ("archive", -2): "it is archived already",
    ("archive", -3): "it is not where its state says it is; a worker may be aggregating it",
    ("delete", -1): "it is running; cancel it first",
    ("delete", -3): "it is not where its state says it is; a worker may be aggregating it",
}


_KEEPS_PAYLOAD = {
    -1: "its payload cannot be changed, it is active or completed",
    -3: "its payload cannot be changed, a worker is aggregating it",
}


def _nobody(done: int) -> None:
    """Who is told of progress when nobody asked for it."""


def _checked(filter: TaskFilter | None) -> TaskFilter | None:
    if filter is not None and not isinstance(filter, TaskFilter):
        raise TypeError(f"filter= takes a TaskFilter, got {filter!r}; write TaskFilter(type=...)")
    return filter


def _whole(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}= takes an int, got {value!r}")
    return value


def _place(queue: str, state: TaskState | str, group: str | None) -> Place:
    """Queue, state and group, checked. Raises `ValueError`."""
    text("queue", queue)
    try:
        known = TaskState(state)
    except ValueError:
        names = ", ".join(TaskState)
        raise ValueError(f"state= takes one of {names}, got {state!r}") from None
    if known is not TaskState.AGGREGATING:
        if group is not None:
            raise ValueError(f"group= goes with aggregating tasks, not with {known.value!r}")
        return Place(queue, known)
    if group is None:
        raise ValueError("aggregating tasks are in groups: say which with group=")
    return Place(queue, known, text("group", group))
