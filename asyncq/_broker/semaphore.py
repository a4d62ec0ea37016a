"""The key and the script behind `asyncq.rate` (wire format, section 18)."""

from __future__ import annotations

from .._clock import Clock
from . import keys, scripts
from .connection import Call, Connection


class Tokens:
    """The tokens of one semaphore."""

    def __init__(self, connection: Connection, clock: Clock, scope: str, most: int) -> None:
        self._connection = connection
        self._clock = clock
        self._key = keys.semaphore(scope)
        self._most = most

    async def acquire(self, task_id: str, deadline: int) -> bool:
        """Take a token until `deadline` (Unix seconds). False: none is left."""
        call = Call.of(
            scripts.ACQUIRE_TOKEN,
            (self._key,),
            (self._most, deadline, task_id, self._clock.skew_ms),
        )
        return bool(await self._connection.run_one(call))

    async def release(self, task_id: str) -> bool:
        """Give the token back. False: the task had none (any more)."""
        return bool(await self._connection.run_one(Call.command("ZREM", self._key, task_id)))
