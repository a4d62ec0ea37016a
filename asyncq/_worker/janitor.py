"""Deletes what has been kept for long enough."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from .._broker.maintenance import Maintenance
from .loop import each_queue

_log = logging.getLogger("asyncq")


class Janitor:
    """Deletes completed tasks past their retention, and archived ones past the limits."""

    def __init__(
        self,
        maintenance: Maintenance,
        queues: Iterable[str],
        *,
        batch_size: int,
        archive_max_age_s: float,
        archive_max_size: int,
    ) -> None:
        self._maintenance = maintenance
        self._queues = list(queues)
        self._batch_size = batch_size
        self._max_age_s = archive_max_age_s
        self._max_size = archive_max_size

    async def step(self) -> None:
        await each_queue(self._queues, self._delete_expired, self._trim_archive)

    async def _delete_expired(self, queue: str) -> None:
        while await self._maintenance.delete_expired(queue, self._batch_size) > 0:
            pass

    async def _trim_archive(self, queue: str) -> None:
        old, many = 0, 0
        while True:
            for_age, for_number = await self._maintenance.trim_archive(
                queue, max_age_s=self._max_age_s, max_size=self._max_size, limit=self._batch_size
            )
            if not for_age and not for_number:
                break
            old, many = old + for_age, many + for_number
        if old or many:
            _log.warning(
                "deleted archived tasks of queue %r: %d older than %g s (archive_max_age),"
                " %d beyond the newest %d (archive_max_size)",
                queue,
                old,
                self._max_age_s,
                many,
                self._max_size,
            )
