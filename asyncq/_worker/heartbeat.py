"""Signs of life: renews leases, and shows what the server is and does."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from uuid import uuid4

from .._broker.broker import Broker
from .._broker.presence import Presence
from .._clock import Clock
from ..info import ServerInfo, WorkerInfo
from .inflight import Ending, Inflight, Running, by_queue
from .runner import Runner

_PAYLOAD_SHOWN = 1024


class Identity:
    """Who a server is: host, process, a random id, and since when."""

    def __init__(self, clock: Clock) -> None:
        try:
            self.host = socket.gethostname()
        except OSError:
            self.host = "unknown-host"  # asynq's word for it
        self.pid = os.getpid()
        self.id = str(uuid4())
        self.started = datetime.fromtimestamp(clock.now(), UTC)


class Heartbeat:
    """Renews the lease of everything in flight, and writes presence as asynq does."""

    def __init__(
        self,
        broker: Broker,
        inflight: Inflight,
        runner: Runner,
        identity: Identity,
        *,
        concurrency: int,
        queues: Mapping[str, int],
        strict_priority: bool,
        status: Callable[[], str],
        on_servers: Callable[[int], None],
    ) -> None:
        self._broker = broker
        self._inflight = inflight
        self._runner = runner
        self._identity = identity
        self._concurrency = concurrency
        self._queues = queues
        self._strict_priority = strict_priority
        self._status = status
        self._on_servers = on_servers
        self._presence = Presence(
            broker.connection, broker.clock, identity.host, identity.pid, identity.id
        )

    async def step(self) -> None:
        """One beat. Leases first: they are what others act on. A queue that fails, or whose node
        of a cluster is gone, does not cost the others theirs."""
        held = by_queue(self._inflight.all())
        failed = await asyncio.gather(
            *(self._extend(queue, attempts) for queue, attempts in held.items()),
            return_exceptions=True,
        )
        self._end_lost()
        for error in failed:
            if error is not None:
                raise error
        self._on_servers(await self._presence.write(self._server(), self._workers()))

    async def clear(self) -> None:
        """Take the server off the lists."""
        await self._presence.clear()

    async def _extend(self, queue: str, attempts: Sequence[Running]) -> None:
        # From before the call, and Redis cuts to whole seconds: the safe side.
        until = time.monotonic() + self._broker.lease_s - 1
        held = [(running.message.id, running.leased.claim) for running in attempts]
        for running, ours in zip(
            attempts, await self._broker.extend_leases(queue, held), strict=True
        ):
            if ours:
                running.lease_until = until
            elif not running.decided:
                # A decided one is gone because its outcome has just been written.
                self._runner.cancel(running, Ending.LEASE_LOST)

    def _end_lost(self) -> None:
        now = time.monotonic()
        for running in self._inflight.all():
            if running.lease_until < now and not running.decided:
                self._runner.cancel(running, Ending.LEASE_LOST)

    def _server(self) -> ServerInfo:
        return ServerInfo(
            id=self._identity.id,
            host=self._identity.host,
            pid=self._identity.pid,
            concurrency=self._concurrency,
            queues=self._queues,
            strict_priority=self._strict_priority,
            status=self._status(),
            started=self._identity.started,
            active_worker_count=sum(not running.handled for running in self._inflight.all()),
        )

    def _workers(self) -> list[WorkerInfo]:
        return [self._worker(r) for r in self._inflight.all() if not r.handled]

    def _worker(self, running: Running) -> WorkerInfo:
        message = running.message
        return WorkerInfo(
            host=self._identity.host,
            pid=self._identity.pid,
            server_id=self._identity.id,
            task_id=message.id,
            task_type=message.type,
            task_payload=message.payload[:_PAYLOAD_SHOWN],
            queue=message.queue,
            started=datetime.fromtimestamp(running.started, UTC),
            deadline=datetime.fromtimestamp(running.deadline, UTC),
        )
