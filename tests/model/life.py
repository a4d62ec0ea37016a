"""What producers, schedulers and workers do to a queue of the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from asyncq._broker import keys
from asyncq._broker.arguments import NewTask
from asyncq._broker.message import Leased
from asyncq._broker.outcome import (
    Archived,
    Completed,
    Done,
    Outcome,
    Parked,
    Requeued,
    Retried,
)

from .queue import Queue, Task

ID_TAKEN, LOCK_TAKEN = "id taken", "lock taken"
FETCH_KEPT_MS = 3600 * 1000


def enqueue(q: Queue, now_us: int, new: NewTask, call: str) -> tuple[str, int]:
    """The state in which the task is stored, and when it is due (ms); or why it is not stored.

    Sent again it finds itself: an id of our own is ours, a caller's is known by its call.
    """
    message, now_ms = new.message, now_us // 1000
    known = q.tasks.get(message.id) or q.rubble.get(message.id)
    if known is not None:
        if not new.own_id and known.call != call:
            return ID_TAKEN, 0
        return known.state, q.scheduled.get(message.id, 0) * 1000 * (known.state == "scheduled")
    due_ms = new.process_at_ms or now_ms + (new.process_in_ms or 0)
    later = due_ms > now_ms
    if message.unique_key:
        if message.unique_key in q.locks:
            return LOCK_TAKEN, 0
        q.locks[message.unique_key] = message.id
        waits_s = math.ceil((due_ms - now_ms) / 1000) if later else 0
        q.expires(message.unique_key, 1000 * (new.unique_s + waits_s))
    group = message.group_key
    state = "scheduled" if later else "aggregating" if group else "pending"
    task = Task(message, state, lock=message.unique_key, call="" if new.own_id else call)
    q.tasks[message.id] = task
    if later:
        task.joins = group
        q.put_due("scheduled", message.id, due_ms, now_ms)
    elif group:
        task.group = group
        q.join(group, message.id, now_us // 10**6)
    else:
        task.pending_since = f"{now_us}000"
        q.pending.append(message.id)
    return state, due_ms if later else 0


def mark_entry(q: Queue, now_us: int, identity: str, spec: str, ttl_ms: int) -> int:
    """When a scheduler's entry was due last, ms. For a new one: now, cut to whole seconds."""
    now_s = now_us // 10**6
    if identity not in q.cron or int(q.cron[identity]["due"]) > now_us // 1000 + 60_000:
        q.cron[identity] = {"due": str(now_s * 1000), "spec": spec}
    q.expires(keys.cron(q.name, identity), ttl_ms)
    return int(q.cron[identity]["due"])


def enqueue_due(
    q: Queue,
    now_us: int,
    identity: str,
    spec: str,
    due_ms: int,
    token: str,
    new: NewTask,
    ttl_ms: int,
) -> str:
    """The verdict. Each due time is enqueued once, however many schedulers try."""
    last = q.cron.get(identity, {})
    if last and due_ms <= int(last["due"]):
        return "enqueued" if last.get("token") == token else "taken"
    if due_ms > now_us // 1000:
        return "early"
    state, at_ms = enqueue(q, now_us, new, token)
    code = {ID_TAKEN: 0, LOCK_TAKEN: -1}.get(state, 1)
    q.cron[identity] = {
        "due": str(due_ms),
        "token": token,
        "spec": spec,
        "code": str(code),
        "text": state if code == 1 else "",
        "at": str(at_ms),
    }
    q.expires(keys.cron(q.name, identity), ttl_ms)
    return "enqueued"


@dataclass
class Taken:
    """What a dequeue answers."""

    ids: list[str]
    paused: bool
    left: int


def dequeue(q: Queue, now_us: int, limit: int, claim: str, again: int, lease_s: int) -> Taken:
    """Pending → active. A sending that comes after a later one takes nothing; a sending after a
    lost reply gets what the earlier ones took first."""
    if again < q.fetches.get(claim, 0):
        return Taken([], False, len(q.pending))
    held = []
    if again > 0:
        q.fetches[claim] = again
        q.expires(keys.fetch(q.name, claim), FETCH_KEPT_MS)
        held = [id_ for id_ in q.active if q.tasks[id_].claim == claim]
    new = [] if q.paused else q.pending[: max(0, limit - len(held))]
    del q.pending[: len(new)]
    for task_id in new:
        task = q.tasks[task_id]
        task.state, task.claim, task.pending_since, task.joins = "active", claim, "", ""
        q.active.append(task_id)
    for task_id in held + new:
        q.lease[task_id] = now_us // 10**6 + lease_s
    return Taken(held + new, bool(q.paused), len(q.pending))


def holds(q: Queue, task_id: str, claim: str) -> bool:
    """The fence: whether a task is active under this claim."""
    task = q.tasks.get(task_id)
    return task is not None and task.state == "active" and task.claim == claim


def extend(q: Queue, now_us: int, held: Sequence[tuple[str, str]], lease_s: int) -> list[bool]:
    answers = [holds(q, task_id, claim) for task_id, claim in held]
    for (task_id, _), ours in zip(held, answers, strict=True):
        if ours:
            q.lease[task_id] = now_us // 10**6 + lease_s
    return answers


def write_result(q: Queue, leased: Leased, result: bytes) -> bool:
    if not holds(q, leased.message.id, leased.claim):
        return False
    q.tasks[leased.message.id].result = result
    return True


def settle(q: Queue, now_us: int, day: str, outcome: Outcome) -> bool:
    """Write how an attempt ended. False: the task is not active under the claim any more."""
    if isinstance(outcome, Parked):
        lost = outcome.unreadable
        if not holds(q, lost.id, lost.claim):
            return False
        park(q, now_us, lost.id, lost.reason)
        return True
    task_id = outcome.leased.message.id
    if not holds(q, task_id, outcome.leased.claim):
        return False
    match outcome:
        case Done():
            leave_active(q, task_id)
            q.unlock(outcome.leased.message.unique_key, task_id)
            q.end(task_id, "done")
            q.count(day)
        case Completed(_, message, result):
            task = leave_active(q, task_id)
            task.message, task.state = message, "completed"
            task.result = result or task.result
            q.completed[task_id] = now_us // 10**6 + message.retention
            q.unlock(message.unique_key, task_id)
            q.count(day)
        case Retried(_, message, delay_s, is_failure):
            task = leave_active(q, task_id)
            task.message = message
            retry(q, now_us, task_id, round(delay_s * 1000))
            if is_failure:
                q.count(day, failed=True)
        case Archived(_, message):
            leave_active(q, task_id).message = message
            archive(q, now_us, task_id)
            q.count(day, failed=True)
        case Requeued():
            to_head(q, now_us, task_id)
    return True


def leave_active(q: Queue, task_id: str) -> Task:
    q.active.remove(task_id)
    q.lease.pop(task_id, None)
    task = q.tasks[task_id]
    task.claim = ""
    return task


def retry(q: Queue, now_us: int, task_id: str, delay_ms: int) -> None:
    q.tasks[task_id].state = "retry"
    now_ms = now_us // 1000
    q.put_due("retry", task_id, now_ms + delay_ms, now_ms)


def archive(q: Queue, now_us: int, task_id: str) -> None:
    q.tasks[task_id].state = "archived"
    q.archived[task_id] = now_us // 10**6


def park(q: Queue, now_us: int, task_id: str, why: str) -> None:
    """Set aside what cannot be read. Nothing was processed."""
    leave_active(q, task_id).parked = why
    archive(q, now_us, task_id)


def to_head(q: Queue, now_us: int, task_id: str) -> None:
    task = leave_active(q, task_id)
    task.state, task.pending_since = "pending", f"{now_us // 1000}000000"
    q.pending.insert(0, task_id)


def edited(task: Task, payload: bytes) -> None:
    task.message = task.message._replace(payload=payload)
