"""What an Inspector needs of queues and servers. Wire format, section 10."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from .._clock import Clock
from ..errors import QueueNotFoundError, RedisError, RedisReplyError
from ..info import (
    ClusterNode,
    DailyStats,
    GroupInfo,
    QueueInfo,
    RedisInfo,
    ServerInfo,
    WorkerInfo,
)
from . import keys, scripts
from .codec import UndecodableError, decode_server, decode_worker
from .connection import Call, Connection, Reply
from .vitals import masters, read_info

R = TypeVar("R")

_GROUPS_AT_ONCE = 500
_COUNTERS_LIVE_DAYS = 90
# Daily counters of the time zones of other producers' clocks, and of clocks a little off.
_SEARCHED_DAYS = _COUNTERS_LIVE_DAYS + 2


class Inspection:
    """Operations over one connection. Errors of Redis are raised."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self.connection = connection
        self._clock = clock

    # Queues

    async def queues(self) -> list[str]:
        """The names of all known queues, sorted."""
        names = await self.connection.run_one(Call.command("SMEMBERS", keys.QUEUES))
        return sorted(name.decode("utf-8", "replace") for name in names)

    async def check_queue(self, queue: str) -> None:
        """Raises `QueueNotFoundError` unless the queue is known."""
        if not await self.connection.run_one(Call.command("SISMEMBER", keys.QUEUES, queue)):
            raise QueueNotFoundError(queue)

    async def queue_info(self, queue: str) -> QueueInfo:
        """Counts, and an estimate of memory."""
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        places = [
            keys.pending(queue),
            keys.active(queue),
            keys.scheduled(queue),
            keys.retry(queue),
            keys.archived(queue),
            keys.completed(queue),
        ]
        day = now.strftime("%Y-%m-%d")
        counters = [
            keys.processed_on(queue, day),
            keys.failed_on(queue, day),
            keys.processed(queue),
            keys.failed(queue),
        ]
        prefixes = (keys.task_prefix(queue), keys.group_prefix(queue))
        counts, (memory, of_a_grouped_task) = await self._run(
            Call.of(
                scripts.QUEUE_INFO,
                (*places, *counters, keys.paused(queue), keys.groups(queue)),
                (*prefixes, _GROUPS_AT_ONCE),
            ),
            Call.of(scripts.MEMORY_USAGE, (*places, keys.groups(queue)), prefixes),
        )
        since_ns, groups, aggregating = (int(value) for value in counts[11:])
        if aggregating < 0:
            aggregating = sum([group.size async for group in self._groups(queue)])
        waited_s = max(0.0, now.timestamp() - since_ns / 1e9) if since_ns else 0.0
        return QueueInfo(
            queue=queue,
            size=sum(counts[:6]) + aggregating,
            pending=counts[0],
            active=counts[1],
            scheduled=counts[2],
            retry=counts[3],
            archived=counts[4],
            completed=counts[5],
            aggregating=aggregating,
            groups=groups,
            paused=bool(counts[10]),
            processed=int(counts[6]),
            failed=int(counts[7]),
            processed_total=int(counts[8]),
            failed_total=int(counts[9]),
            latency=timedelta(seconds=waited_s),
            memory_usage=memory + of_a_grouped_task * aggregating,
            timestamp=now,
        )

    async def history(self, queue: str, days: int) -> list[DailyStats]:
        """The last `days` days, newest first."""
        today = datetime.fromtimestamp(self._clock.now(), UTC).date()
        dates = [today - timedelta(days=ago) for ago in range(days)]
        names = [day.isoformat() for day in dates[:_SEARCHED_DAYS]]  # the others are gone
        done, failed = await self._run(
            Call.command("MGET", *(keys.processed_on(queue, name) for name in names)),
            Call.command("MGET", *(keys.failed_on(queue, name) for name in names)),
        )
        nothing: list[None] = [None] * (days - len(names))
        return [
            _daily(queue, day, processed, failures)
            for day, processed, failures in zip(
                dates, [*done, *nothing], [*failed, *nothing], strict=True
            )
        ]

    async def groups(self, queue: str) -> list[GroupInfo]:
        """The groups of a queue with their sizes, by name."""
        found = {group.group: group async for group in self._groups(queue)}
        return [found[name] for name in sorted(found)]

    async def _groups(self, queue: str) -> AsyncIterator[GroupInfo]:
        """In slices, since there may be very many; each once."""
        seen: set[bytes] = set()
        cursor = b"0"
        while True:
            call = Call.command("SSCAN", keys.groups(queue), cursor, "COUNT", _GROUPS_AT_ONCE)
            cursor, names = await self.connection.run_one(call)
            new = sorted(set(names) - seen)
            seen.update(new)
            prefix = keys.group_prefix(queue).encode()
            sizes = await self._run(*(Call.command("ZCARD", prefix + name) for name in new))
            for name, size in zip(new, sizes, strict=True):
                yield GroupInfo(queue=queue, group=name.decode("utf-8", "replace"), size=size)
            if cursor == b"0":
                return

    async def pause(self, queue: str) -> bool:
        """False: it was paused already."""
        now = int(self._clock.now())
        return bool(await self.connection.run_one(Call.command("SETNX", keys.paused(queue), now)))

    async def unpause(self, queue: str) -> bool:
        """False: it was not paused."""
        return bool(await self.connection.run_one(Call.command("DEL", keys.paused(queue))))

    # Servers

    async def cancel(self, task_id: str) -> None:
        """Ask whoever runs the task to cancel it."""
        await self.connection.run_one(Call.command("PUBLISH", keys.CANCEL_CHANNEL, task_id))

    async def servers(self) -> list[ServerInfo]:
        """Live servers with what they run, by host and process."""
        now = int(self._clock.now())
        server_keys, worker_keys = await self._run(
            Call.of(scripts.LIST_PRESENCE, (keys.SERVERS,), (now,)),
            Call.of(scripts.LIST_PRESENCE, (keys.WORKERS,), (now,)),
        )
        found = await self._run(
            *(Call.command("GET", key) for key in server_keys),
            *(Call.command("HVALS", key) for key in worker_keys),
        )
        infos, hashes = found[: len(server_keys)], found[len(server_keys) :]
        workers: dict[str, list[WorkerInfo]] = {}
        for data in (value for values in hashes for value in values):
            worker = _readable(decode_worker, data)
            if worker is not None:
                workers.setdefault(worker.server_id, []).append(worker)
        servers = [s for data in infos if data and (s := _readable(decode_server, data))]
        return sorted(
            (replace(server, active_workers=workers.get(server.id, [])) for server in servers),
            key=lambda server: (server.host, server.pid, server.id),
        )

    async def redis_info(self) -> list[RedisInfo]:
        """INFO of each server that has tasks."""
        return [
            RedisInfo(where=node.where, values=await read_info(self.connection, node))
            for node in await masters(self.connection)
        ]

    async def cluster_key_slot(self, queue: str) -> int:
        """The hash slot of the queue's keys. Raises `RedisReplyError` where there is no cluster."""
        slot, _ = await self._cluster(queue)
        return slot

    async def cluster_nodes(self, queue: str) -> list[ClusterNode]:
        """The master of the queue's slot, then its replicas."""
        slot, ranges = await self._cluster(queue)
        for first, last, *nodes in ranges:
            if first <= slot <= last:
                return [
                    ClusterNode(id=node[2].decode(), address=_address(node[0], node[1]))
                    for node in nodes
                ]
        raise RedisReplyError(f"CLUSTERDOWN no node has slot {slot}, that of queue {queue!r}")

    async def _cluster(self, queue: str) -> tuple[int, Reply]:
        """A queue's slot, and who has which."""
        try:
            # Some servers tell a slot without a cluster, none tells who has it.
            ranges = await self.connection.run_one(Call.command("CLUSTER", "SLOTS"))
            slot = await self.connection.run_one(
                Call.command("CLUSTER", "KEYSLOT", keys.pending(queue))
            )
        except RedisReplyError as error:
            if "cluster support disabled" not in error.text:
                raise
            text = f"{error.text} (only a Redis Cluster has slots, this is {self.connection.where})"
            raise RedisReplyError(text) from error
        return int(slot), ranges

    async def _run(self, *calls: Call) -> list[Reply]:
        """All in one round trip; the first error is raised."""
        replies = await self.connection.run(calls)
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return replies


def _daily(queue: str, day: date, processed: bytes | None, failed: bytes | None) -> DailyStats:
    return DailyStats(queue=queue, date=day, processed=_count(processed), failed=_count(failed))


def _count(text: bytes | None) -> int:
    """A counter; 0 where something else stands."""
    return int(text) if text is not None and text.isdigit() else 0


def _address(host: bytes | None, port: int) -> str:
    name = (host or b"").decode()
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _readable(decode: Callable[[bytes], R], data: bytes) -> R | None:
    """Records that do not decode are left out, as asynq leaves them out."""
    try:
        return decode(data)
    except UndecodableError:
        return None
