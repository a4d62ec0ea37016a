"""What a handler may know about the attempt it is part of: `current()`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import payload

ResultWriter = Callable[[bytes], Awaitable[None]]
"""Stores a result for one attempt; the worker gives it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """One attempt at one task, as `asyncq.current()` shows it to handlers and middleware."""

    task_id: str
    """The id of the task."""
    task_type: str
    """Its type."""
    queue: str
    """The queue from which it was taken."""
    retry_count: int
    """How often the task was retried before this attempt; 0 in the first one."""
    max_retry: int
    """How often it may be retried before it is archived."""
    deadline: datetime | None
    """When this attempt is cancelled, aware: the earlier of its time-out and its deadline."""
    headers: Mapping[str, str] = field(repr=False)
    """The task's headers; read-only."""
    state: Any = field(default=None, repr=False)
    """The value of the server's `lifespan`; None without one."""
    _write: ResultWriter = field(repr=False, compare=False)

    async def write_result(self, value: object) -> None:
        """Store `value` as the task's result now. A later call replaces it, and so does what the
        handler returns, unless that is empty.

        For progress of a long task, and for results that should survive a failed attempt. It
        follows the rule of payloads: bytes as is, str as UTF-8, None empty, else JSON.
        From a `def` handler: `anyio.from_thread.run(asyncq.current().write_result, value)`.

        Raises `InvalidResultError` for a value that cannot be written, `LeaseExpiredError` when
        the task is no longer this attempt's, and `RedisError` when Redis did not take it.
        """
        await self._write(payload.encode(value) or b"")


_current: ContextVar[Callable[[], TaskContext]] = ContextVar("asyncq_task_context")


def current() -> TaskContext:
    """The attempt that is running here: in a handler, in its middleware, and in the tasks and
    threads (of `asyncio.to_thread` or anyio) that they start.

    Raises `RuntimeError` anywhere else.
    """
    try:
        attempt = _current.get()
    except LookupError:
        raise RuntimeError(
            "asyncq.current() was called where no task is handled: call it inside a handler or"
            " middleware. A thread made by threading.Thread or an executor does not see it:"
            " pass what it needs as an argument, or use asyncio.to_thread"
        ) from None
    return attempt()


def enter(attempt: Callable[[], TaskContext]) -> Token[Callable[[], TaskContext]]:
    """Make an attempt the current one, for the worker: until the end of its asyncio task, or until
    the token is reset. `attempt` makes the context when it is asked for; most handlers never do."""
    return _current.set(attempt)
