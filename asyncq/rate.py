"""`Semaphore`: at most so many tasks at a time do something, over all workers, Go's included."""

from __future__ import annotations

import logging
import math
from typing import Self

from ._broker.connection import Connection
from ._broker.semaphore import Tokens
from ._clock import Clock
from .client import RedisSource, connection_source
from .context import TaskContext, current
from .errors import RedisError, SemaphoreFullError
from .options import text

_log = logging.getLogger("asyncq")


class Semaphore:
    """A distributed semaphore for handlers, compatible with asynq's `x/rate`.

        client = Client(url)                # the application's, which it closes when it ends
        api = Semaphore(client, "crm-api", 10)

        @mux.handle("crm:sync")
        async def sync(task: Task) -> None:
            async with api:                 # SemaphoreFullError when ten others are inside
                ...

    It does not queue: a handler that gets no token fails with `SemaphoreFullError` and is
    retried. Let the server wait a little and not count it as a failure (tasks need a `max_retry`
    of at least 1: one that may not be retried is archived):

        ServerConfig(
            is_failure=lambda error: not isinstance(error, SemaphoreFullError),
            retry_delay=lambda n, error, task: 5 if isinstance(error, SemaphoreFullError)
            else default_retry_delay(n, error, task),
        )

    A token is held until it is given back, or until the task's deadline if its worker dies or
    Redis is away at that moment. A task has at most one: its next attempt finds its own.
    `redis` is what `Client` takes. Give it your `Client` to share its connections; with anything
    else it has its own, and `aclose` (in the server's `lifespan`, say) closes them.

    Raises what `Client` raises, `ValueError` for a blank scope or fewer than one token, and
    `TypeError` for what is no number of tokens.
    """

    def __init__(
        self, redis: RedisSource | None, scope: str, tokens: int, *, _clock: Clock | None = None
    ) -> None:
        if isinstance(tokens, bool) or not isinstance(tokens, int):
            raise TypeError(f"tokens= takes an int, got {tokens!r}")
        if tokens < 1:
            raise ValueError(f"tokens= must be at least 1, got {tokens}")
        self._scope = text("scope", scope)
        self._limit = tokens
        self._connection = Connection.open(connection_source(redis))
        self._tokens = Tokens(self._connection, _clock or Clock(), scope, tokens)

    async def acquire(self) -> bool:
        """Take a token for the running task; True if it holds one now.

        Raises `RuntimeError` outside a handler, and `RedisError`.
        """
        context = current()
        return await self._tokens.acquire(context.task_id, _deadline(context))

    async def release(self) -> bool:
        """Give the running task's token back. False: it held none any more.

        Raises `RuntimeError` outside a handler, and `RedisError`.
        """
        return await self._tokens.release(current().task_id)

    async def aclose(self) -> None:
        """Close the connections; those of a `Client` stay open."""
        await self._connection.aclose()

    async def __aenter__(self) -> Self:
        if not await self.acquire():
            raise SemaphoreFullError(self._scope, self._limit)
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.release()
        except RedisError as failure:
            # What the handler did is done: it must not be done again for the sake of a token.
            _log.warning(
                "a token of semaphore %r is held until the deadline of task %s: %s",
                *(self._scope, current().task_id, failure),
            )

    def __repr__(self) -> str:
        return f"<Semaphore {self._scope!r} of {self._limit} at {self._connection.where}>"


def _deadline(context: TaskContext) -> int:
    # Rounded up: a token must not run out while its task may still run.
    return math.ceil(context.deadline.timestamp()) if context.deadline else 2**53
