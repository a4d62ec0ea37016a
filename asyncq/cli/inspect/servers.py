"""`asyncq server ...` at work."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from asyncq.info import ServerInfo, WorkerInfo

from .records import plain
from .session import Desk
from .table import Cell, Column, Mark
from .text import ago, due, length, one_line

_COLUMNS = (
    Column("Host", gives=2),
    Column("PID", right=True),
    Column("State"),
    Column("Active", right=True),
    Column("Queues", gives=1),
    Column("Started"),
)
_WORKER_COLUMNS = (
    Column("Worker", gives=4, least=12),
    Column("Queue", gives=3, least=8),
    Column("Task ID"),
    Column("Type", gives=2, least=12),
    Column("Runs for"),
    Column("Ends", spare=2),
    Column("Payload", gives=1, least=10, spare=1),
)


async def list_servers(desk: Desk) -> None:
    """A line a server, by host and process."""
    servers = await desk.inspector.servers()
    if desk.out.json:
        desk.out.record(plain(servers))
        return
    now = datetime.now(UTC)
    desk.out.rows(_COLUMNS, [_server_row(server, now) for server in servers])
    if not servers:
        desk.out.note("no server is alive")


async def list_workers(desk: Desk) -> None:
    """A line for each task that runs, the longest first."""
    servers = await desk.inspector.servers()
    workers = sorted((w for s in servers for w in s.active_workers), key=lambda w: w.started)
    if desk.out.json:
        desk.out.record(plain(workers))
        return
    now = datetime.now(UTC)
    desk.out.rows(_WORKER_COLUMNS, [_worker_row(worker, now) for worker in workers])
    if not workers:
        desk.out.note("no server runs a task")


def _server_row(server: ServerInfo, now: datetime) -> Sequence[Cell]:
    state: Cell = server.status if server.status == "active" else Mark(server.status, "yellow")
    queues = sorted(server.queues.items(), key=lambda item: (-item[1], item[0]))
    return (
        server.host,
        str(server.pid),
        state,
        f"{server.active_worker_count}/{server.concurrency}",
        " ".join(f"{name}:{priority}" for name, priority in queues)
        + (" (strict)" if server.strict_priority else ""),
        ago(server.started, now),
    )


def _worker_row(worker: WorkerInfo, now: datetime) -> Sequence[Cell]:
    return (
        f"{worker.host}:{worker.pid}",
        worker.queue,
        worker.task_id,
        worker.task_type,
        length(max(timedelta(0), now - worker.started)),
        due(worker.deadline, now),
        one_line(worker.task_payload),
    )
