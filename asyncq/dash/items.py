"""What stands on the lines of the page's table, and how many lines there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

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

from .keys import Place
from .state import State, View

Item: TypeAlias = (
    QueueInfo | TaskInfo | GroupInfo | ServerInfo | WorkerInfo | SchedulerEntry | EnqueueEvent
)

_LOW, _HIGH = 20, 36
# Title, titles of the table, paging, notice, keys; and what else stands on a page once.
_FIXED = 5
_CHARTED = (Place.QUEUES, Place.TASKS, Place.GROUPS)


def chart_rows(state: State) -> int:
    """The height of each of the three charts."""
    if state.height < _LOW or state.view.place not in _CHARTED:
        return 0
    return 1 if state.height < _HIGH else 3


def page_size(state: State) -> int:
    """How many lines of the table fit on a page."""
    left = state.height - _FIXED - 3 * chart_rows(state)
    match state.view.place:
        case Place.QUEUES:
            left = (left - 2) // 2  # totals and legend; a bar for each line
        case Place.TASKS | Place.GROUPS:
            left -= 2  # summary and tabs
        case Place.REDIS:
            left = 1  # a server fills the page
        case _:
            left -= 1  # heading
    return max(1, left)


def items(state: State) -> Sequence[Item]:
    """What stands on the page, line by line."""
    view, seen = state.view, state.seen
    if seen is None:
        return ()
    if view.place is Place.TASKS:
        return (view.search.found if view.search else seen.tasks) or ()
    if view.place is Place.EVENTS:
        return seen.events or ()
    size = page_size(state)
    first = (view.page - 1) * size
    return _listed(state)[first : first + size]


def key_of(item: Item) -> str:
    """By which it is known again at the next look."""
    match item:
        case QueueInfo():
            return item.queue
        case GroupInfo():
            return item.group
        case WorkerInfo():
            return f"{item.queue}\n{item.task_id}"
        case EnqueueEvent():
            return item.task_id
        case _:
            return item.id


def selected(state: State) -> Item | None:
    """What the selected line shows."""
    shown = items(state)
    row = state.view.row
    return shown[row - 1] if 1 <= row <= len(shown) else None


def total(state: State) -> int | None:
    """How many lines there are on all pages; None where nobody knows."""
    view, seen = state.view, state.seen
    if seen is None or view.place is Place.EVENTS:
        return None
    if view.place is Place.TASKS:
        return None if view.search or view.group else size_of(state)
    if view.place is Place.REDIS:
        # Each server fills a page; of a cluster there is one before them.
        return len(seen.redis or ()) + (seen.places is not None)
    return len(_listed(state))


def pages(state: State) -> int | None:
    """How many pages there are, at least 1; None where nobody knows."""
    lines = total(state)
    return None if lines is None else max(1, -(-lines // page_size(state)))


def has_next_page(state: State) -> bool:
    """Whether there is, or may be, a page after this one."""
    view = state.view
    if view.search is not None:
        return view.search.done and not view.search.is_last
    known = pages(state)
    if known is None:
        return len(items(state)) >= page_size(state)
    return view.page < known


def size_of(state: State) -> int:
    """How many tasks are in the state that is shown, as last counted; 0 for a group, since nobody
    counted."""
    view, seen = state.view, state.seen
    if seen is None or seen.queue is None or view.group:
        return 0
    return count_of(seen.queue, view.state)


def count_of(info: QueueInfo, state: TaskState) -> int:
    """How many of a queue's tasks are in a state."""
    count: int = getattr(info, state.value)
    return count


def workers_of(view: View, servers: Sequence[ServerInfo]) -> list[WorkerInfo]:
    """Who runs what, longest first; of one server, if the view is of one."""
    found = [
        worker
        for server in servers
        if view.server in ("", server.id)
        for worker in server.active_workers
    ]
    return sorted(found, key=lambda worker: (worker.started, worker.task_id))


def _listed(state: State) -> Sequence[Item]:
    """Of what is always read whole, all."""
    view, seen = state.view, state.seen
    if seen is None:
        return ()
    match view.place:
        case Place.QUEUES:
            return seen.queues or ()
        case Place.GROUPS:
            return seen.groups or ()
        case Place.SERVERS:
            return seen.servers or ()
        case Place.WORKERS:
            return workers_of(view, seen.servers or ())
        case Place.SCHEDULERS:
            return seen.entries or ()
        case _:
            return ()
