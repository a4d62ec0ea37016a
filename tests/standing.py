"""What the fault tests count: where the tasks of a queue stand, and how often each was handled."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass
from typing import Any

import waiting
from redis.asyncio import Redis

from asyncq import Task, current
from asyncq._broker import keys

until = functools.partial(waiting.until, longest_s=120)
"""Some of these tests wait for leases to run out, or for very many tasks."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How many tasks stand where, and what was counted."""

    pending: int
    active: int
    lease: int
    scheduled: int
    retry: int
    archived: int
    completed: int
    processed: int
    failed: int

    @property
    def at_rest(self) -> bool:
        """Whether nothing waits, runs or is held."""
        return not (self.pending or self.active or self.lease or self.scheduled or self.retry)


async def standing(redis: Redis, queue: str) -> Standing:
    pipe: Any = redis.pipeline(transaction=True)
    pipe.llen(keys.pending(queue)).llen(keys.active(queue)).zcard(keys.lease(queue))
    pipe.zcard(keys.scheduled(queue)).zcard(keys.retry(queue))
    pipe.zcard(keys.archived(queue)).zcard(keys.completed(queue))
    pipe.get(keys.processed(queue)).get(keys.failed(queue))
    return Standing(*(int(value or 0) for value in await pipe.execute()))


async def at_rest(redis: Redis, queue: str) -> Standing:
    """Return when nothing waits, runs or is held any more."""
    found = await standing(redis, queue)

    async def rests() -> bool:
        nonlocal found
        found = await standing(redis, queue)
        return found.at_rest

    await until(rests, lambda: str(found))
    return found


async def pending_ids(redis: Redis, queue: str) -> list[str]:
    """The ids in `pending`, the next to be taken first."""
    pending: list[Any] = await redis.lrange(keys.pending(queue), 0, -1)
    return [id_.decode() for id_ in reversed(pending)]


class Handled:
    """A handler that counts attempts by id, and knows which of them were not the first."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()
        self.retries = 0

    async def __call__(self, task: Task) -> None:
        self.times[current().task_id] += 1
        self.retries += current().retry_count

    async def reaches(self, attempts: int) -> None:
        await until(lambda: self.times.total() >= attempts, self.times.total)

    def each_once(self, count: int) -> bool:
        return len(self.times) == count == self.times.total()


def gave_tasks(reply: bytes) -> bool:
    """Whether the reply of a dequeue has a task in it."""
    return not reply.startswith((b"*4\r\n:0\r\n*0\r\n", b"*4\r\n:1\r\n*0\r\n"))


def nothing_left(processed: int, **other: int) -> Standing:
    places = dict.fromkeys(
        ("pending", "active", "lease", "scheduled", "retry", "archived", "completed", "failed"), 0
    )
    return Standing(processed=processed, **(places | other))
