"""What stands in Redis for the demo's queues: read to tell what happened, deleted in the end.

The keys are those of asynq's wire format; any Redis client can read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Queues:
    """The names of one run's queues; no other run and no other program uses them."""

    run: str

    @classmethod
    def unique(cls) -> Queues:
        """Those of a new run."""
        return cls(f"demo-{uuid4().hex[:10]}")

    @property
    def files(self) -> str:
        """Of the tasks that read files."""
        return f"{self.run}-files"

    @property
    def summaries(self) -> str:
        """Of the groups, and the tasks made of them."""
        return f"{self.run}-summaries"

    def weights(self) -> dict[str, int]:
        """All three, with their shares of the worker."""
        return {self.run: 3, self.files: 2, self.summaries: 1}


@dataclass(frozen=True, slots=True)
class Counts:
    """How many tasks of a queue are in which state, at one moment."""

    pending: int
    active: int
    scheduled: int
    retry: int
    archived: int
    completed: int
    grouped: int
    """Groups that wait, and sets that are being aggregated."""
    processed: int
    """Attempts that ended, by Redis's counter."""
    failed: int
    """Those of them that failed."""

    @property
    def unfinished(self) -> int:
        """How many have work ahead of them."""
        return self.pending + self.active + self.scheduled + self.retry + self.grouped

    @property
    def finished(self) -> int:
        """How many have come to an end, good or bad."""
        return self.archived + self.completed


@dataclass(frozen=True, slots=True)
class Stored:
    """A task as it stands in Redis."""

    state: str
    result: bytes
    message: bytes

    def says(self, text: str) -> bool:
        """Whether its stored message, which holds the last error, has this text."""
        return text.encode() in self.message


class Look:
    """Reads the queues of one run, and deletes them."""

    def __init__(self, redis: Redis, queues: Queues) -> None:
        self._redis: Any = redis
        self._queues = queues

    async def counts(self) -> dict[str, Counts]:
        """Of each queue, all at the same moment."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            for queue in self._queues.weights():
                _ask_counts(pipeline, queue)
            answers = await pipeline.execute()
        size = len(answers) // 3
        parts = [answers[n : n + size] for n in range(0, len(answers), size)]
        return {q: _counts(part) for q, part in zip(self._queues.weights(), parts, strict=True)}

    async def task(self, queue: str, task_id: str) -> Stored:
        """One task; its state is empty if it is gone."""
        (found,) = await self._tasks(queue, [task_id])
        return found

    async def completed(self, queue: str) -> list[Stored]:
        """All completed tasks of a queue."""
        ids = await self._redis.zrange(f"asynq:{{{queue}}}:completed", 0, -1)
        return [
            stored
            for n in range(0, len(ids), _AT_ONCE)
            for stored in await self._tasks(queue, [id_.decode() for id_ in ids[n : n + _AT_ONCE]])
        ]

    async def delete(self) -> None:
        """Everything that the queues of this run ever had in Redis, and nothing else."""
        prefixes = tuple(
            f"{product}:{{{queue}}}:".encode()
            for product in ("asynq", "asyncq")
            for queue in self._queues.weights()
        )
        keys: list[bytes] = []
        async for key in self._redis.scan_iter(f"asyn*:{{{self._queues.run}*", count=1000):
            if key.startswith(prefixes):
                keys.append(key)
        for n in range(0, len(keys), _AT_ONCE):
            await self._redis.unlink(*keys[n : n + _AT_ONCE])
        await self._redis.srem("asynq:queues", *self._queues.weights())

    async def _tasks(self, queue: str, ids: Sequence[str]) -> list[Stored]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for id_ in ids:
                pipeline.hmget(f"asynq:{{{queue}}}:t:{id_}", "state", "result", "msg")
            answers: Iterable[Any] = await pipeline.execute()
        return [
            Stored((state or b"").decode(), result or b"", message or b"")
            for state, result, message in answers
        ]


def _ask_counts(pipeline: Any, queue: str) -> None:
    prefix = f"asynq:{{{queue}}}:"
    for name in ("pending", "active"):
        pipeline.llen(prefix + name)
    for name in ("scheduled", "retry", "archived", "completed", "aggregation_sets"):
        pipeline.zcard(prefix + name)
    pipeline.scard(prefix + "groups")
    for name in ("processed", "failed"):
        pipeline.get(prefix + name)


def _counts(answers: Sequence[Any]) -> Counts:
    pending, active, scheduled, retry, archived, completed, sets, groups, processed, failed = (
        int(answer or 0) for answer in answers
    )
    return Counts(
        pending, active, scheduled, retry, archived, completed, sets + groups, processed, failed
    )
