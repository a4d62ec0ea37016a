"""Why tasks of a queue may not get done: what somebody should know who looks at it at night."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from shlex import quote

from asyncq.info import QueueInfo, ServerInfo, WorkerInfo
from asyncq.inspector import Inspector

from .text import counted, due, length

_LONG = timedelta(seconds=10)
"""A task that waits so long although slots are free is worth a note. By feel."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something to know of a queue."""

    kind: str
    """`paused`, `no_server`, `stopping`, `busy`, `waiting`, `lost`, `retrying` or `archived`."""
    text: str


async def notes_on(
    inspector: Inspector, info: QueueInfo, servers: Sequence[ServerInfo]
) -> list[Note]:
    """All notes, the gravest first."""
    notes = of_servers(info, servers, datetime.now(UTC))
    if info.retry:
        notes.append(Note("retrying", await _retrying(inspector, info)))
    if info.archived:
        look = f"asyncq task ls -q {quote(info.queue)} -s archived"
        notes.append(
            Note("archived", f"{counted(info.archived, 'task')} archived, failed for good: {look}")
        )
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
        busy = f"all {slots} slots of its servers are busy; longest: {_longest(workers, now)}"
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


async def _retrying(inspector: Inspector, info: QueueInfo) -> str:
    soonest = await inspector.list_tasks(info.queue, "retry", 1, 1)
    text = f"{counted(info.retry, 'task')} to be tried again"
    for task in soonest:
        error = task.last_error.strip().split("\n")[0]
        text += f", the next {due(task.next_process_at, datetime.now(UTC))}; its error: {error}"
    return text
