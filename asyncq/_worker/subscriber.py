"""Hears what is published: cancellations, and new first entries of `due`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from .._broker import keys
from .._broker.connection import Connection
from ..errors import RedisError
from .inflight import Ending, Inflight
from .loop import Backoff, Complaints
from .runner import Runner

_log = logging.getLogger("asyncq")


class Subscriber:
    """Cancels running tasks on request, and tells the forwarder what is due sooner."""

    def __init__(
        self,
        connection: Connection,
        inflight: Inflight,
        runner: Runner,
        queues: Iterable[str],
        on_due: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._inflight = inflight
        self._runner = runner
        self._queues = {keys.due_channel(queue): queue for queue in queues}
        self._on_due = on_due
        self.subscribed = asyncio.Event()
        """Set while messages are heard."""

    async def run(self) -> None:
        """Listen, for ever. What is published while the connection is lost is not heard."""
        listener = self._connection.listener()
        complaints, backoff = Complaints(), Backoff()
        try:
            while True:
                try:
                    await listener.subscribe(keys.CANCEL_CHANNEL, *self._queues)
                    self.subscribed.set()
                    backoff.reset()
                    for queue in self._queues.values():
                        self._on_due(queue)  # what was announced meanwhile went unheard
                    while True:
                        self._heard(*await listener.next())
                except RedisError as error:
                    self.subscribed.clear()
                    complaints.log("listening for cancellations", error)
                    await asyncio.sleep(backoff.next())
        finally:
            await listener.aclose()

    def _heard(self, channel: str, data: bytes) -> None:
        if channel == keys.CANCEL_CHANNEL:
            for running in self._inflight.with_id(data.decode("utf-8", "replace")):
                _log.info("cancelling %s on request", running, extra=running.log_fields())
                self._runner.cancel(running, Ending.CANCELLED)
        elif channel in self._queues:
            self._on_due(self._queues[channel])
