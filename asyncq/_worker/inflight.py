"""What this server holds now: every task from its dequeue until its outcome is written."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterable
from enum import Enum

from .._broker.message import Leased, TaskMessage
from ..context import TaskContext


class Ending(Enum):
    """Why a running task was cancelled. The first reason stands."""

    TIMEOUT = "its time-out or deadline passed"
    CANCELLED = "it was cancelled"
    LEASE_LOST = "its lease was lost"
    SHUTDOWN = "the server shuts down"


class Running:
    """One attempt. Owned by the event loop; the guard thread reads it, and moves the lease
    while the loop is blocked."""

    __slots__ = (
        "began",
        "begun",
        "context",
        "deadline",
        "decided",
        "ended",
        "ending",
        "expires",
        "handled",
        "lease_until",
        "leased",
        "shown",
        "started",
        "task",
        "timer",
    )  # fmt: skip

    began: float
    """When its handler was called, by `time.monotonic()`; only set where statistics are kept."""
    ended: float
    """When its handler ended, or was abandoned; likewise."""

    def __init__(self, leased: Leased, started: float, deadline: float, expires: float) -> None:
        self.leased = leased
        self.started = started
        """Unix seconds, by the worker's clock, as `deadline`."""
        self.deadline = deadline
        self.expires = expires
        """The deadline by `time.monotonic()`."""
        self.lease_until = leased.lease_until
        """By `time.monotonic()`."""
        self.context: contextvars.Context | None = None
        """In which the handler runs, and whatever is called about this attempt."""
        self.shown: TaskContext | None = None
        """What the handler sees of it; made when it asks."""
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        """When it is abandoned, once it is cancelled."""
        self.ending: Ending | None = None
        self.begun = False
        self.handled = False
        """Whether the handler has ended, or is not waited for any more: the slot is free."""
        self.decided = False
        """Whether the outcome is the settler's."""

    @property
    def message(self) -> TaskMessage:
        return self.leased.message

    def __repr__(self) -> str:
        return f"task {self.message.type!r} {self.message.id} of queue {self.message.queue!r}"

    def log_fields(self) -> dict[str, object]:
        """For `extra=` of log calls."""
        message = self.message
        return {
            "task_id": message.id,
            "task_type": message.type,
            "queue": message.queue,
            "attempt": message.retried + 1,
        }


class Inflight:
    """All attempts of this server. Changed by the event loop only."""

    def __init__(self) -> None:
        self._running: dict[Running, None] = {}  # in the order in which they came

    def add(self, running: Running) -> None:
        self._running[running] = None

    def remove(self, running: Running) -> None:
        self._running.pop(running, None)

    def all(self) -> list[Running]:
        """A copy, made in one step of the interpreter: the guard thread calls this too."""
        return list(self._running)

    def with_id(self, task_id: str) -> list[Running]:
        """The attempts at tasks with this id, of whatever queue."""
        return [running for running in self.all() if running.message.id == task_id]

    def __len__(self) -> int:
        return len(self._running)


def by_queue(attempts: Iterable[Running]) -> dict[str, list[Running]]:
    queues: dict[str, list[Running]] = {}
    for running in attempts:
        queues.setdefault(running.message.queue, []).append(running)
    return queues
