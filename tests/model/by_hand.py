"""What a person does to a queue of the model. Codes are those of the scripts."""

from __future__ import annotations

from typing import Literal

from . import life
from .queue import Queue

Action = Literal["run", "archive", "delete"]
MOVED, NO_TASK, ACTIVE, ALREADY, NOT_THERE = 1, 0, -1, -2, -3


def act(q: Queue, now_us: int, action: Action, task_id: str) -> int:
    """Run, archive or delete one task, wherever it waits."""
    task = q.tasks.get(task_id) or q.rubble.get(task_id)
    if task is None:
        return NO_TASK
    if task.state == "active":
        return ACTIVE
    if (action, task.state) == ("run", "pending"):
        return ALREADY
    if q.waits_in(task_id, task) is None:
        return NOT_THERE  # in an aggregation set, or rubble
    if (action, task.state) == ("archive", "archived"):
        return ALREADY
    q.take_out(task_id, task)
    match action:
        case "run":
            task.state, task.pending_since = "pending", f"{now_us}000"
            q.pending.append(task_id)
        case "archive":
            life.archive(q, now_us, task_id)
        case "delete":
            q.unlock(task.lock, task_id)
            q.end(task_id, "deleted by hand")
    return MOVED


def edit(q: Queue, task_id: str, read: object, payload: bytes) -> int:
    """Replace the payload of a task whose message was `read` before."""
    task = q.tasks.get(task_id) or q.rubble.get(task_id)
    if task is None:
        return NO_TASK
    if task.state in ("active", "completed"):
        return -1
    if task.message != read:
        return -2
    if task.state == "aggregating" and task_id not in q.groups.get(task.group, {}):
        return -3
    life.edited(task, payload)
    return MOVED


def drop(q: Queue, *, force: bool) -> bool:
    """First step of deleting a queue: all places go, if that is allowed. False: it is not."""
    waits = q.pending or q.scheduled or q.retry or q.archived or q.listed or q.set_deadlines
    if q.active or (waits and not force):
        return False
    grouped = {id_ for members in q.groups.values() for id_ in members}
    for task_id in list(q.tasks):
        q.ended[task_id] = "its queue was deleted"
        if task_id not in grouped:
            q.rubble[task_id] = q.tasks.pop(task_id)
    q.pending, q.scheduled, q.retry, q.archived, q.completed = [], {}, {}, {}, {}
    q.listed, q.set_deadlines, q.half_deleted = set(), {}, True
    return True


def sweep(q: Queue) -> None:
    """Second step: all that is left of it."""
    empty = Queue(q.name, q.redis_ms, ended=q.ended)
    vars(q).update(vars(empty))


def pause(q: Queue, now_s: int) -> bool:
    fresh = not q.paused
    q.paused = q.paused or str(now_s)
    return fresh


def unpause(q: Queue) -> bool:
    was, q.paused = q.paused, ""
    return bool(was)
