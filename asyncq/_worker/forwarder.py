"""Moves due tasks to pending, those less than a minute ahead to the millisecond."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from .._broker.maintenance import FORWARD_LIMIT, Maintenance
from ..errors import RedisError
from .loop import Backoff, Complaints, each_queue


class Forwarder:
    """One server per queue leads, and sleeps exactly until the next task is due; the others
    look every interval, and take over when the leader is gone."""

    def __init__(
        self,
        maintenance: Maintenance,
        queues: Iterable[str],
        server_id: str,
        *,
        interval: float,
    ) -> None:
        self._maintenance = maintenance
        self._server_id = server_id
        self._interval = interval
        self._leads = dict.fromkeys(queues, False)
        self._complaints, self._backoff = Complaints(), Backoff()
        self.wake = asyncio.Event()

    def announce(self, queue: str) -> None:
        """A task of this queue is due before all others: look how soon."""
        if self._leads[queue]:
            self.wake.set()

    async def step(self) -> float:
        """Move what is due in all queues. Returns in how many seconds the next task is."""
        next_in_s: list[float] = []

        async def forward(queue: str) -> None:
            next_in_s.append(await self._forward(queue))

        try:
            await each_queue(self._leads, forward)
        except RedisError as error:
            if not next_in_s:
                raise
            # The other queues' next tasks do not wait for this one's pause.
            self._complaints.log("forwarder", error)
            return min(*next_in_s, self._backoff.next())
        self._backoff.reset()
        return min(next_in_s)

    async def resign(self) -> None:
        """Leave the queues to others at once: the next server to start leads."""
        await each_queue([queue for queue, leads in self._leads.items() if leads], self._resign)

    async def _resign(self, queue: str) -> None:
        await self._maintenance.forward(queue, self._server_id, lead_s=0.001)

    async def _forward(self, queue: str) -> float:
        while True:
            done = await self._maintenance.forward(
                queue, self._server_id, lead_s=2 * self._interval + 1
            )
            if done.moved < FORWARD_LIMIT:
                break
        self._leads[queue] = done.leads
        if not done.leads or done.next_in_s is None:
            return self._interval
        return min(done.next_in_s, self._interval)
