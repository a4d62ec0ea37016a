"""Brings back what vanished workers held, and what was left where nobody looks."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from .._broker.aggregation import Aggregation
from .._broker.codec import valid_text
from .._broker.maintenance import Expired, Maintenance, Recovery
from .._broker.message import Unreadable
from .._broker.outcome import Archived, Retried
from .._clock import Clock
from ..errors import LeaseExpiredError, RedisError
from . import verdict
from .loop import each_queue

_log = logging.getLogger("asyncq")

_SOONEST_S = 0.25

_WHAT_FOLLOWS = {
    "restart": "it is next in its queue",
    "retry": "not for the first time, so it waits for its retry",
    "archive": "no retry is left: archived",
    "park": "its message cannot be read: set aside among the archived",
}
"""After a recovery of each kind, for the log."""


class Recoverer:
    """A task whose lease ran out has failed. The first time it goes back to the head of its
    queue at once; after that it waits, so that a task which kills its worker cannot loop."""

    def __init__(
        self,
        maintenance: Maintenance,
        aggregation: Aggregation,
        queues: Iterable[str],
        policy: verdict.Policy,
        *,
        clock: Clock,
        orphan_s: float,
    ) -> None:
        self._maintenance = maintenance
        self._aggregation = aggregation
        self._queues = list(queues)
        self._policy = policy
        self._clock = clock
        self._orphan_s = orphan_s
        self._orphans: dict[tuple[str, str], float] = {}  # (queue, id) -> first seen, monotonic

    async def step(self) -> float:
        """Recover what is over. Returns in how many seconds the next lease may be."""
        soonest = float("inf")

        async def recover(queue: str) -> None:
            nonlocal soonest
            next_in_s = await self._recover_all(queue)
            if next_in_s is not None:
                soonest = min(soonest, next_in_s)

        await each_queue(self._queues, recover)
        return max(_SOONEST_S, soonest)

    async def sweep(self) -> None:
        """Reclaim overdue aggregation sets, and give leases to tasks that have none."""
        await each_queue(self._queues, self._reclaim, self._adopt_orphans)

    async def _recover_all(self, queue: str) -> float | None:
        """In how many seconds the queue's next lease is over."""
        while True:
            expired, next_in_s = await self._maintenance.list_expired(queue)
            if not expired or not await self._recover(queue, expired):
                return next_in_s

    async def _reclaim(self, queue: str) -> None:
        while reclaimed := await self._aggregation.reclaim(queue):
            _log.warning("reclaimed %d overdue aggregation sets of %r", reclaimed, queue)

    async def _recover(self, queue: str, expired: list[Expired]) -> int:
        """How many were moved."""
        recoveries = [self._decide(queue, item) for item in expired]
        moved = 0
        for recovery, answer in zip(
            recoveries, await self._maintenance.recover(queue, recoveries), strict=True
        ):
            shown = valid_text(recovery.id)
            if isinstance(answer, RedisError):
                _log.error("task %s of %r cannot be recovered: %s", shown, queue, answer)
            elif answer:
                moved += 1
                _log.warning(
                    "task %s of queue %r: its worker did not renew its lease in time; %s",
                    shown,
                    queue,
                    _WHAT_FOLLOWS[recovery.kind],
                )
        return moved

    def _decide(self, queue: str, expired: Expired) -> Recovery:
        held = expired.held
        if isinstance(held, Unreadable):
            return Recovery("park", queue, held.id, held.claim, None, reason=held.reason)
        error = LeaseExpiredError()
        outcome = verdict.on_error(held, error, self._clock.now(), self._policy)
        task_id, claim = held.message.id, held.claim
        if isinstance(outcome, Archived):
            return Recovery("archive", queue, task_id, claim, outcome.message)
        assert isinstance(outcome, Retried)  # an expired lease is neither a signal nor a result
        return Recovery(
            "retry" if expired.times_recovered else "restart",
            queue,
            task_id,
            claim,
            outcome.message,
            delay_s=outcome.delay_s,
            is_failure=outcome.is_failure,
        )

    async def _adopt_orphans(self, queue: str) -> None:
        now = time.monotonic()
        ripe = [
            task_id
            for (orphan_queue, task_id), seen in self._orphans.items()
            if orphan_queue == queue and now - seen >= self._orphan_s
        ]
        found = await self._maintenance.list_orphans(queue, ripe)
        if ripe:
            shown = valid_text(", ".join(ripe))
            _log.warning("tasks of queue %r in active without a lease: %s", queue, shown)
        self._orphans = {key: seen for key, seen in self._orphans.items() if key[0] != queue} | {
            (queue, task_id): self._orphans.get((queue, task_id), now) for task_id in found
        }
