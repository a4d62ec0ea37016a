"""What the periodic parts of a server do to a queue of the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from asyncq._broker import keys
from asyncq._broker.arguments import NewTask
from asyncq._broker.maintenance import (
    CLAIMED_GRACE_S,
    UNCLAIMED_GRACE_S,
    Recovery,
)

from . import life
from .queue import Queue

RECLAIMED_AT_ONCE = 10


def in_order(zset: dict[str, int]) -> list[str]:
    """As Redis has it: by score, then by name."""
    return sorted(zset, key=lambda member: (zset[member], member))


# Forwarding


@dataclass
class Forwarded:
    moved: int
    leads: bool
    next_ms: int
    """-1: nothing waits."""


def forward(q: Queue, now_us: int, server: str, lead_ms: int, limit: int) -> Forwarded:
    """Scheduled and retry → pending, or their group: those in `due` to the millisecond."""
    now_ms, now_s, moved = now_us // 1000, now_us // 10**6, 0
    for task_id in [id_ for id_ in in_order(q.due) if q.due[id_] <= now_ms][:limit]:
        second = math.ceil(q.due.pop(task_id) / 1000)
        for state in ("scheduled", "retry"):
            if q.zset(state).get(task_id) == second:  # else the entry is left from an earlier wait
                _move(q, now_us, state, task_id)
                moved += 1
    for state in ("scheduled", "retry"):
        ripe = [id_ for id_ in in_order(q.zset(state)) if q.zset(state)[id_] <= now_s]
        for task_id in ripe[: max(0, limit - moved)]:
            _move(q, now_us, state, task_id)
            q.due.pop(task_id, None)
            moved += 1
    leads = q.forwarder in ("", server)
    if leads:
        q.forwarder = server
        q.expires(keys.forwarder(q.name), lead_ms)
    firsts = [min(q.due.values(), default=None)]
    firsts += [1000 * min(z.values()) if z else None for z in (q.scheduled, q.retry)]
    waits = [max(0, first - now_ms) for first in firsts if first is not None]
    return Forwarded(moved, leads, min(waits, default=-1))


def _move(q: Queue, now_us: int, state: str, task_id: str) -> None:
    task = q.tasks[task_id]
    del q.zset(state)[task_id]
    group = task.group or task.joins
    if group:
        task.state, task.group, task.joins = "aggregating", group, ""
        q.join(group, task_id, now_us // 10**6)
    else:
        task.state, task.pending_since = "pending", f"{now_us}000"
        q.pending.append(task_id)


# Recovery


def expired(q: Queue, now_us: int) -> list[str]:
    """Active tasks whose lease has been over for long enough."""
    now_ms = now_us // 1000
    return [id_ for id_ in in_order(q.lease) if (q.lease[id_] + CLAIMED_GRACE_S) * 1000 <= now_ms]


def next_expiry_ms(q: Queue, now_us: int) -> int:
    """How long until the next lease after those that are over is. -1: there is none."""
    now_ms = now_us // 1000
    cutoff = now_ms // 1000 - min(CLAIMED_GRACE_S, UNCLAIMED_GRACE_S)
    later = [(end + CLAIMED_GRACE_S) * 1000 for end in q.lease.values() if end > cutoff]
    return max(0, min(later) - now_ms) if later else -1


def recover(q: Queue, now_us: int, day: str, item: Recovery) -> bool:
    """Move a task on from a worker that is gone, if its lease is still over."""
    task = q.tasks.get(item.id)
    if task is None or not life.holds(q, item.id, item.claim):
        return False
    end = q.lease.get(item.id)
    if end is None or end + CLAIMED_GRACE_S > now_us / 10**6:
        return False
    if item.kind == "park":
        life.park(q, now_us, item.id, item.reason)
    else:
        assert item.message is not None
        task.message = item.message
        if item.kind == "restart":
            life.to_head(q, now_us, item.id)
        else:
            life.leave_active(q, item.id)
        if item.kind == "retry":
            life.retry(q, now_us, item.id, round(item.delay_s * 1000))
        if item.kind == "archive":
            life.archive(q, now_us, item.id)
        if item.kind == "archive" or item.is_failure:
            q.count(day, failed=True)
    task.recovered += 1
    return True


# Aggregation


def take_set(
    q: Queue,
    now_us: int,
    group: str,
    key: str,
    *,
    grace_s: int,
    max_delay_s: int,
    max_size: int,
    deadline_s: int,
) -> list[str] | None:
    """Make a set of a group's oldest tasks, if it is full, waited long enough, or is quiet."""
    now_s, members = now_us // 10**6, q.groups.get(group, {})
    if not members:
        q.listed.discard(group)
        return None
    full = 0 < max_size <= len(members)
    waited = max_delay_s and min(members.values()) <= now_s - max_delay_s
    if not (full or waited or max(members.values()) <= now_s - grace_s):
        return None
    taken = in_order(members)[: max_size or None]
    q.sets[key] = {id_: members.pop(id_) for id_ in taken}
    q.set_deadlines[key] = now_s + deadline_s
    if not members:
        del q.groups[group]
        q.listed.discard(group)
    return taken


def finish_set(q: Queue, now_us: int, key: str, new: NewTask) -> str:
    """Enqueue what a set became; its parts and their locks go in the same step."""
    if key not in q.set_deadlines:
        return "gone"
    state, _ = life.enqueue(q, now_us, new, key)
    if state in (life.ID_TAKEN, life.LOCK_TAKEN):
        return state
    for task_id in q.sets.pop(key):
        if task_id in q.tasks:
            q.unlock(q.tasks[task_id].lock, task_id)
            q.end(task_id, "aggregated")
    del q.set_deadlines[key]
    return state


def reclaim(q: Queue, now_us: int) -> int:
    """Overdue sets → their groups, and the groups are listed again."""
    now_s = now_us // 10**6
    overdue = [key for key in in_order(q.set_deadlines) if q.set_deadlines[key] <= now_s]
    for key in overdue[:RECLAIMED_AT_ONCE]:
        group = key.removeprefix(keys.group_prefix(q.name)).rpartition(":")[0]
        for task_id, score in q.sets.pop(key, {}).items():
            q.join(group, task_id, score)
        del q.set_deadlines[key]
    return len(overdue[:RECLAIMED_AT_ONCE])


# Deleting what is old


def delete_expired(q: Queue, now_us: int, limit: int) -> int:
    over = [id_ for id_ in in_order(q.completed) if q.completed[id_] <= now_us // 10**6][:limit]
    for task_id in over:
        del q.completed[task_id]
        q.end(task_id, "kept for its retention")
    return len(over)


def trim_archive(
    q: Queue, now_us: int, max_age_s: int, max_size: int, limit: int
) -> tuple[int, int]:
    """How many were too old, and too many."""
    cutoff = now_us // 10**6 - max_age_s
    old = [id_ for id_ in in_order(q.archived) if q.archived[id_] <= cutoff][:limit]
    _delete_archived(q, old)
    excess = min(len(q.archived) - max_size, limit - len(old))
    many = in_order(q.archived)[: max(0, excess)]
    _delete_archived(q, many)
    return len(old), len(many)


def _delete_archived(q: Queue, ids: Sequence[str]) -> None:
    for task_id in ids:
        q.unlock(q.tasks[task_id].lock, task_id)
        del q.archived[task_id]
        q.end(task_id, "archived for too long")
