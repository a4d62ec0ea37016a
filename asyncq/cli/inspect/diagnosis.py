"""Why tasks of a queue may not get done: what somebody should know who looks at it at night."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from shlex import quote

from asyncq.info import QueueInfo, ServerInfo, TaskInfo, WorkerInfo
from asyncq.inspector import Inspector

from .text import counted, due, length

_SAMPLE = 50
"""Of so many tasks the errors are looked at."""
_KINDS = 3
_ERROR = 120
_LONG = timedelta(seconds=10)
"""A task that waits so long although slots are free is worth a note. By feel."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something to know of a queue."""

    kind: str
    """`paused`, `no_server`, `stopping`, `busy`, `waiting`, `lost`, `grouped`, `retrying` or
    `archived`."""
    text: str


async def notes_on(
    inspector: Inspector, info: QueueInfo, servers: Sequence[ServerInfo]
) -> list[Note]:
    """All notes, the gravest first."""
    notes = of_servers(info, servers, datetime.now(UTC))
    if info.aggregating:
        notes.append(Note("grouped", _grouped(info)))
    if info.retry:
        notes.append(Note("retrying", await _retrying(inspector, info)))
    if info.archived:
        notes.append(Note("archived", await _archived(inspector, info)))
    return notes


def of_servers(info: QueueInfo, servers: Sequence[ServerInfo], now: datetime) -> list[Note]:
    """What the queue and those who work on it say of each other."""
    notes: list[Note] = []
    if info.paused:
        remedy = f"asyncq queue resume {quote(info.queue)}"
        notes.append(Note("paused", f"it is paused, so no task is taken: {remedy}"))
    here = [server for server in servers if info.queue in server.queues]
    if not here:
        others = f"{len(servers)} work on other queues" if servers else "there are none at all"
        notes.append(Note("no_server", f"no live server works on it ({others})"))
    for server in here:
        if server.status != "active":
            where = f"{server.host}:{server.pid}"
            text = f"the server {where} takes no new tasks: it is {server.status}"
            notes.append(Note("stopping", text))
    working = [server for server in here if server.status == "active"]
    if working and info.pending and not info.paused:
        notes += _slots(info, working, now)
    if info.active and not any(w.queue == info.queue for s in here for w in s.active_workers):
        text = (
            f"{counted(info.active, 'task')} active, though no live server says that it runs any;"
            " recovered when their leases have run out, within about a minute"
        )
        notes.append(Note("lost", text))
    return notes


def _slots(info: QueueInfo, working: Sequence[ServerInfo], now: datetime) -> list[Note]:
    slots = sum(server.concurrency for server in working)
    workers = [worker for server in working for worker in server.active_workers]
    if len(workers) >= slots:
        busy = (
            f"all {slots} slots of its servers are busy; longest: {_longest(workers, now)};"
            " asyncq server ls --workers shows all"
        )
        return [Note("busy", busy)]
    if info.latency <= _LONG:
        return []
    text = (
        f"its next task has waited for {length(info.latency)}, although {slots - len(workers)} of"
        f" {slots} slots are free"
    )
    if any(server.strict_priority for server in working):
        text += "; strict priority lets it wait while others have tasks"
    return [Note("waiting", text)]


def _longest(workers: Sequence[WorkerInfo], now: datetime) -> str:
    worker = min(workers, key=lambda worker: worker.started)
    return (
        f"task {worker.task_id} ({worker.task_type}, queue {worker.queue}) on {worker.host}"
        f":{worker.pid}, for {length(max(timedelta(0), now - worker.started))}"
    )


def _grouped(info: QueueInfo) -> str:
    # Servers do not say whether they aggregate.
    return (
        f"{counted(info.aggregating, 'task')} in {counted(info.groups, 'group')}, until a server"
        " that aggregates makes one task of each (ServerConfig(group=...)), or for ever if none"
        f" does: asyncq group ls -q {quote(info.queue)}"
    )


async def _retrying(inspector: Inspector, info: QueueInfo) -> str:
    soonest = await inspector.list_tasks(info.queue, "retry", 1, _SAMPLE)
    text = f"{counted(info.retry, 'task')} to be tried again"
    if soonest:
        text += f", the next {due(soonest[0].next_process_at, datetime.now(UTC))}"
    return text + errors_of(soonest, info.retry)


async def _archived(inspector: Inspector, info: QueueInfo) -> str:
    tasks = await inspector.list_tasks(info.queue, "archived", 1, _SAMPLE)
    return (
        f"{counted(info.archived, 'task')} archived, failed for good"
        f"{errors_of(tasks, info.archived)}; asyncq task ls -q {quote(info.queue)} -s archived"
        " shows them"
    )


def errors_of(tasks: Sequence[TaskInfo], total: int) -> str:
    """With what they failed, the most frequent errors first; numbers in them make no difference."""
    errors = [task.last_error.strip().partition("\n")[0][:_ERROR] for task in tasks]
    kinds = Counter(re.sub(r"\d+", "0", error) for error in errors)
    examples = {re.sub(r"\d+", "0", error): error for error in reversed(errors)}
    if not any(errors):
        return ""
    if len(kinds) == 1 and len(tasks) == total:
        return f"; {'its' if total == 1 else 'their'} error: {errors[0]}"
    first = "" if len(tasks) == total else f" of the first {len(tasks)}"
    said = [f"{count} x {examples[kind] or '(none)'}" for kind, count in kinds.most_common(_KINDS)]
    others = sum(kinds.values()) - sum(count for _, count in kinds.most_common(_KINDS))
    return f"; errors{first}: {', '.join(said)}" + (f", {others} others" if others else "")
